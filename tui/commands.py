"""The commands that begin with a slash: the one list from which help and completion follow."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol, get_args

from assistant.agent import Agent
from assistant.errors import UserError
from assistant.events import Event
from assistant.records import Choice
from model.format import Mode, ThinkRequest
from tui.completion import Entry
from tui.shelf import NamedPrompt


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

    def send(self, text: str, words: str) -> None:
        """Send a message, for which the user wrote `words`."""

    def inform(self, fact: str) -> None:
        """Put a fact into the open thought."""

    def mode_of(self, step: int) -> Mode | None:
        """The mode of a step of this session; None where there is no such step."""

    async def prompts(self) -> Mapping[str, NamedPrompt]:
        """The prompts that have a name."""

    async def show_stats(self) -> None:
        """Show what thinking cost."""

    async def show_sessions(self, words: str) -> None:
        """Show the sessions of this folder."""

    async def show_engine(self) -> None:
        """Show the engine and its server."""


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
    if not argument and (prompt := (await target.prompts()).get("commit")):
        await _say(target, prompt, "/commit", "")
        return
    if not argument:
        await target.tell("Say /commit and the message; it commits the files that this session changed, nothing else.")
        return
    target.errand(f"/commit {argument}", lambda agent: agent.commit(argument))


async def _compact(target: Target, argument: str) -> None:
    target.errand(f"/compact {argument}".rstrip(), lambda agent: agent.compact(argument))


async def _fork(target: Target, argument: str) -> None:
    step, _, mode = argument.partition(" ")
    if not step.isdecimal() or mode.strip() not in ("", *Mode):
        await target.tell("Say /fork and the number of a step, and on or off if you do not mean the other mode.")
        return
    await _forked(target, int(step), Mode(mode.strip()) if mode.strip() else None)


async def _think_harder(target: Target, argument: str) -> None:
    if not argument.isdecimal():
        await target.tell("Say /think-harder and the number of a step.")
        return
    await _forked(target, int(argument), Mode.ON)


async def _forked(target: Target, step: int, mode: Mode | None) -> None:
    was = target.mode_of(step)
    if was is None:
        await target.tell(f"There is no step {step} that could go another way.")
        return
    think = ThinkRequest(mode or (Mode.OFF if was is Mode.ON else Mode.ON))
    target.errand(f"/fork {step} {think}", lambda agent: agent.fork(step, think))


async def _prefer(target: Target, argument: str) -> None:
    match argument.split():
        case [step, "original" | "other" as choice] if step.isdecimal():
            prefer(target, int(step), choice)
        case _:
            await target.tell(f"Say /prefer, the number of a forked step, and {' or '.join(get_args(Choice))}.")


def prefer(target: Target, step: int, choice: Choice) -> None:
    """Keep which branch of a forked step is better."""
    target.errand(f"/prefer {step} {choice}", lambda agent: agent.prefer(step, choice))


async def _fact(target: Target, argument: str) -> None:
    if not argument:
        await target.tell("Say /fact and a sentence; the model reads it in the middle of its thought.")
        return
    target.inform(argument)


async def _stats(target: Target, _: str) -> None:
    await target.show_stats()


async def _sessions(target: Target, argument: str) -> None:
    await target.show_sessions(argument)


async def _engine(target: Target, _: str) -> None:
    await target.show_engine()


async def _rename(target: Target, argument: str) -> None:
    if not argument:
        await target.tell("Say /rename and a name for this session.")
        return
    target.errand(f"/rename {argument}", lambda agent: agent.rename(argument))


async def _stop(target: Target, _: str) -> None:
    target.action_stop()


async def _quit(target: Target, _: str) -> None:
    await target.action_quit()


COMMANDS = (
    Command("help", "keys and commands", _help),
    Command("think auto|on|off", "when to think, from the next message on", _think),
    Command("fact TEXT", "put a fact into the open thought", _fact),
    Command("undo", "take back the last step that changed files", _undo),
    Command("redo", "do again what was undone last", _redo),
    Command("restore STEP", "bring files back to what they were behind a step", _restore),
    Command("diff [STEP [STEP]]", "what the session changed, a step, or the way between two", _diff),
    Command("commit [MESSAGE]", "commit the files that this session changed; the model writes a message", _commit),
    Command("fork STEP [on|off]", "run a step again in the other mode, in a copy, and compare", _fork),
    Command("think-harder STEP", "run a step again with thinking, in a copy, and compare", _think_harder),
    Command("prefer STEP original|other", "keep which way of a forked step is better", _prefer),
    Command("compact [HINT]", "make the conversation shorter for the model; say what matters", _compact),
    Command("stats", "what thinking cost in this session, and what it saved", _stats),
    Command("engine", "the engine: why this one, what its server does now, and whether it works", _engine),
    Command("sessions [WORDS]", "the sessions of this folder: search, and go on with one", _sessions),
    Command("rename NAME", "give this session a name", _rename),
    Command("stop", "stop what runs and keep what came", _stop),
    Command("clear", "empty the screen; the conversation goes on", _clear),
    Command("retry", "open the engine again", _retry),
    Command("quit", "leave; the session is kept", _quit),
)
_NAMES = frozenset(command.name for command in COMMANDS)
_COMMAND = re.compile(r"/([a-z0-9][a-z0-9_-]*)(?:\s+(.*))?", re.DOTALL)
_NEAR = 3
"""Names that a sentence about an unknown one proposes."""


def entries(prompts: Mapping[str, NamedPrompt]) -> list[Entry]:
    """What may be typed after a slash: commands, then the prompts that have a name of their own."""
    known = [Entry(command.usage, command.help) for command in COMMANDS]
    own = [(name, prompt) for name, prompt in prompts.items() if name not in _NAMES]
    return known + [Entry(f"{name} [WORDS]", prompt.description) for name, prompt in own]


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
    known = await target.prompts()
    if prompt := known.get(name):
        await _say(target, prompt, f"/{name}", argument)
    else:
        await target.tell(_unknown(name, (*_NAMES, *known)))
    return True


async def _say(target: Target, prompt: NamedPrompt, name: str, argument: str) -> None:
    """Send the message that is kept under a name."""
    try:
        target.send(prompt.message(argument), f"{name} {argument}".rstrip())
    except UserError as error:
        await target.tell(f"{error}.")


def _unknown(name: str, known: Iterable[str]) -> str:
    from difflib import get_close_matches

    near = get_close_matches(name, sorted(set(known)), _NEAR)
    meant = f"Did you mean {' or '.join(f'/{one}' for one in near)}?" if near else "F1 lists those that there are."
    return f"There is no /{name}. {meant}"
