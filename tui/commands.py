"""The commands that begin with a slash: the one list from which help and completion follow."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from assistant.agent import Agent
from assistant.events import Event
from model.format import ThinkRequest


class Target(Protocol):
    """What commands act on."""

    def set_think(self, think: ThinkRequest) -> None:
        """Ask for a think mode from the next message on."""

    async def clear_transcript(self) -> None:
        """Empty the screen."""

    async def retry(self) -> None:
        """Open the agent again."""

    def errand(self, text: str, start: Callable[[Agent], AsyncIterator[Event]]) -> None:
        """Have the agent do something besides messages, in its turn."""

    def action_stop(self) -> None:
        """Stop what runs."""

    async def action_show_help(self) -> None:
        """Show keys and commands."""

    async def action_quit(self) -> None:
        """Leave."""

    async def tell(self, text: str) -> None:
        """Say a sentence to the user."""


Run = Callable[[Target, str], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Command:
    """A command: `usage` is how it is typed, without the slash; `help` says what it does."""

    usage: str
    help: str
    run: Run

    @property
    def name(self) -> str:
        """The first word of its usage."""
        return self.usage.split()[0]


async def _help(target: Target, _: str) -> None:
    await target.action_show_help()


async def _think(target: Target, argument: str) -> None:
    if argument not in list(ThinkRequest):
        await target.tell("Say /think auto, /think on or /think off.")
        return
    target.set_think(ThinkRequest(argument))


async def _clear(target: Target, _: str) -> None:
    await target.clear_transcript()


async def _retry(target: Target, _: str) -> None:
    await target.retry()


async def _undo(target: Target, _: str) -> None:
    target.errand("/undo", lambda agent: agent.restore("undo"))


async def _redo(target: Target, _: str) -> None:
    target.errand("/redo", lambda agent: agent.restore("redo"))


async def _restore(target: Target, argument: str) -> None:
    if not argument.isdecimal():
        await target.tell("Say /restore and the number of a step; 0 is the beginning of the session.")
        return
    target.errand(f"/restore {argument}", lambda agent: agent.restore("restore", int(argument)))


async def _diff(target: Target, argument: str) -> None:
    steps = argument.split()
    if len(steps) > 2 or not all(step.isdecimal() for step in steps):
        await target.tell("Say /diff, /diff STEP, or /diff STEP STEP.")
        return
    target.errand(f"/diff {argument}".rstrip(), lambda agent: agent.changes(*map(int, steps)))


async def _commit(target: Target, argument: str) -> None:
    if not argument:
        await target.tell("Say /commit and the message; it commits the files that this session changed, nothing else.")
        return
    target.errand(f"/commit {argument}", lambda agent: agent.commit(argument))


async def _stop(target: Target, _: str) -> None:
    target.action_stop()


async def _quit(target: Target, _: str) -> None:
    await target.action_quit()


COMMANDS = (
    Command("help", "keys and commands", _help),
    Command("think auto|on|off", "when to think, from the next message on", _think),
    Command("undo", "take back the last step that changed files", _undo),
    Command("redo", "do again what was undone last", _redo),
    Command("restore STEP", "bring files back to what they were behind a step", _restore),
    Command("diff [STEP [STEP]]", "what the session changed, a step, or the way between two", _diff),
    Command("commit MESSAGE", "commit the files that this session changed", _commit),
    Command("stop", "stop what runs and keep what came", _stop),
    Command("clear", "empty the screen; the conversation goes on", _clear),
    Command("retry", "open the engine again", _retry),
    Command("quit", "leave; the session is kept", _quit),
)
NAMES = tuple(f"/{command.name}" for command in COMMANDS)

_COMMAND = re.compile(r"/([a-z]+)(?:\s+(.*))?", re.DOTALL)


async def run_command(target: Target, text: str) -> bool:
    """Run `text` if it is written like a command; False if it is a message, as ``/etc/hosts is empty`` is."""
    found = _COMMAND.fullmatch(text.strip())
    if found is None:
        return False
    name, argument = found[1], (found[2] or "").strip()
    for command in COMMANDS:
        if command.name == name:
            await command.run(target, argument)
            return True
    await target.tell(f"There is no /{name}; there are {', '.join(NAMES)}.")
    return True
