"""Messages that begin with a slash: what an editor offers beside plain words."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from acp.schema import AvailableCommand, AvailableCommandInput, UnstructuredCommandInput

from assistant.agent import Agent
from assistant.errors import UserError
from assistant.events import Event
from assistant.slash import expand, slash_prompts


class _Action(Protocol):
    def __call__(self, agent: Agent, rest: str) -> AsyncIterator[Event] | None: ...


@dataclass(frozen=True, slots=True)
class Command:
    """A command: what it does, what may follow it, and the events that it brings; None if a prompt has its name."""

    name: str
    help: str
    hint: str
    run: _Action


def _restore(agent: Agent, rest: str) -> AsyncIterator[Event]:
    return agent.restore("restore", _number(rest, "/restore STEP goes back to where a step ended, 0 is the beginning"))


def _diff(agent: Agent, rest: str) -> AsyncIterator[Event]:
    return agent.changes(_number(rest, "/diff STEP shows one step, /diff all of them")) if rest else agent.changes()


def _commit(agent: Agent, rest: str) -> AsyncIterator[Event] | None:
    return agent.commit(rest) if rest else None


COMMANDS = (
    Command("undo", "Take back the last step that changed files", "", lambda agent, rest: agent.restore("undo")),
    Command("redo", "Do again what was undone", "", lambda agent, rest: agent.restore("redo")),
    Command("restore", "Go back to where a step ended", "step", _restore),
    Command("diff", "Show what the session or a step changed", "step", _diff),
    Command("commit", "Commit the files that the session changed; the model writes a message", "message", _commit),
    Command("compact", "Make the conversation shorter for the model", "what matters", lambda a, rest: a.compact(rest)),
)
_BY_NAME = {command.name: command for command in COMMANDS}


def events_of(agent: Agent, text: str) -> AsyncIterator[Event] | None:
    """The events of a command, None where the message is none. Raises UserError for what cannot follow it."""
    word, _, rest = text.strip().partition(" ")
    command = _BY_NAME.get(word[1:]) if word.startswith("/") else None
    return command.run(agent, rest.strip()) if command else None


def message_for(text: str) -> str:
    """The message that a slash prompt stands for, else the text as it is. Raises UserError."""
    return expand(text) or text


def available() -> Sequence[AvailableCommand]:
    """All that can be typed behind a slash."""
    ours = [(command.name, command.help, command.hint) for command in COMMANDS]
    prompts = [(prompt.name, prompt.description, "more") for prompt in slash_prompts().values() if not prompt.problem]
    named = {name: _offered(name, about, hint) for name, about, hint in (*prompts, *ours)}
    return list(named.values())


def _offered(name: str, about: str, hint: str) -> AvailableCommand:
    given = AvailableCommandInput(UnstructuredCommandInput(hint=hint)) if hint else None
    return AvailableCommand(name=name, description=about, input=given)


def _number(text: str, usage: str) -> int:
    if not text.isdecimal():
        raise UserError(usage)
    return int(text)
