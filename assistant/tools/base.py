"""What every tool is: its arguments, what it needs leave for, what it shows, and what it does."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Protocol

from pydantic import BaseModel, ConfigDict

from assistant.errors import UserError
from assistant.jobs import Jobs
from assistant.records import PlanItem
from assistant.safety.confinement.process import HeadTail
from assistant.safety.permissions import Permission
from assistant.safety.sanitize import sanitize
from assistant.workspace.seen import Seen

if TYPE_CHECKING:
    from assistant.safety.sandbox import Sandbox
    from assistant.workspace.files import Workspace
    from assistant.workspace.repomap import RepoMap


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a call gave: one line for people, and what the model reads. `finish` ends the run.

    `whole` is all of the output where `output` is only its head and tail, for `read_output`; else it is empty.
    """

    ok: bool
    summary: str
    output: str
    finish: bool = False
    whole: str = ""


class ToolError(Exception):
    """The call cannot be done as asked; the message goes to the model and says what to do instead."""


class Host(Protocol):
    """What a running call may ask of the run around it. Each call has one of its own."""

    @property
    def detached(self) -> asyncio.Event:
        """Set when the user sends this call to the background."""

    async def ask(self, question: str, options: Sequence[str]) -> str:
        """The user's answer, empty where he gives the question up. Raises `ToolError` where nobody can be asked."""

    def put_out(self, text: str) -> None:
        """More output of this call, sanitised, for people."""

    def plan(self, items: Sequence[PlanItem]) -> None:
        """The list of things to do, as it is now."""

    def whole_output(self, call: str) -> str | None:
        """The whole output of an earlier call, by its id such as "4.1"; None where there is no such call."""

    async def spawn(self, task: str, write: bool) -> ToolResult:
        """What a sub-agent made of a task; it may change files only with `write`. Raises `ToolError`."""


class NoHost:
    """Nobody is around: questions and sub-agents are refused, output and plans are dropped."""

    @property
    def detached(self) -> asyncio.Event:
        """An event that nobody sets; a new one, since an event belongs to one loop."""
        return asyncio.Event()

    async def ask(self, question: str, options: Sequence[str]) -> str:
        """Raises `ToolError`."""
        raise ToolError("Nobody can be asked here; decide yourself, and say at the end what you took for granted.")

    def put_out(self, text: str) -> None:
        """Nobody looks."""

    def plan(self, items: Sequence[PlanItem]) -> None:
        """Nobody looks."""

    def whole_output(self, call: str) -> str | None:
        """Nothing was kept."""
        return None

    async def spawn(self, task: str, write: bool) -> ToolResult:
        """Raises `ToolError`."""
        raise ToolError("No sub-agent can be started here; do the task yourself.")


NO_HOST = NoHost()


@contextmanager
def for_the_model() -> Iterator[None]:
    """Turn what the workspace or the sandbox refuses into a `ToolError`, without terminal control in it."""
    try:
        yield
    except UserError as error:
        raise ToolError(sanitize(str(error))) from error


def fitted(text: str, limit: int) -> str:
    """`text` sanitised, and at most about `limit` characters of it: head, tail, and how much is missing between."""
    kept = HeadTail(limit)
    kept.add(sanitize(text))
    return kept.text()


def cut_result(ok: bool, head: str, text: str, limit: int) -> ToolResult:
    """`head`, and below it what fits of `text`, sanitised; all of it is `whole` where it does not fit."""
    clean = sanitize(text).strip("\n") or "(no output)"
    whole = f"{head}\n{clean}" if len(clean) > limit else ""
    return ToolResult(ok, head, f"{head}\n{fitted(clean, limit)}", whole=whole)


@dataclass(frozen=True, slots=True)
class ToolContext:
    """Where tools work. `output_limit` is in characters; longer output keeps its head and tail.

    `seen` is what the model knows of files, and `jobs` the commands in the background, for as long as the conversation
    lasts. `network` is the user's setting: whether tools of ours may reach it.
    """

    workspace: Workspace
    sandbox: Sandbox
    test_command: str | None = None
    command_timeout: float = 120.0
    output_limit: int = 12_000
    seen: Seen = field(default_factory=Seen)
    host: Host = NO_HOST
    jobs: Jobs = field(default_factory=Jobs)
    network: bool = False
    repo_map: RepoMap | None = None


class Tool(BaseModel):
    """A call of a tool: the fields of a subclass are its arguments, each described for the model."""

    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)

    name: ClassVar[str]
    description: ClassVar[str]
    brief: ClassVar[str]
    """The description in the compact profile, where field descriptions are left out."""
    full_only: ClassVar[frozenset[str]] = frozenset()
    """Optional arguments that the compact profile does not mention; they are understood all the same."""
    compact: ClassVar[bool] = True
    """Whether the compact profile offers the tool; it is understood all the same."""
    compact_required: ClassVar[tuple[str, ...]] = ()
    """Optional arguments that the compact profile demands, since it does not mention the other way."""
    blank: ClassVar[frozenset[str]] = frozenset()
    """Optional arguments for which an empty text is a value."""
    reads: ClassVar[bool] = False
    """Whether it only looks: it needs no leave and may run beside others that do."""
    needs_network: ClassVar[bool] = False
    """Whether it is offered only where the user's settings open the network."""

    def title(self) -> str:
        """One line for people: what this call does, and to what."""
        raise NotImplementedError

    def permission(self, context: ToolContext) -> Permission:
        """What leave it needs. An edit plans itself here and shows its diff. Raises `ToolError`."""
        raise NotImplementedError

    def changes(self, context: ToolContext) -> tuple[str, ...] | None:
        """Files that it may change, relative to the repository; None where nobody can tell. None of them by default."""
        return ()

    def destructive(self, context: ToolContext) -> str:
        """What it may destroy, in a few words; empty where it destroys nothing. Looks at names only, and is quick."""
        return ""

    async def run(self, context: ToolContext) -> ToolResult:
        """Do it. Raises `ToolError`; nothing is half-done then."""
        raise NotImplementedError
