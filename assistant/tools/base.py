"""What every tool is: its arguments, what it needs leave for, what it shows, and what it does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from pydantic import BaseModel, ConfigDict

from assistant.errors import UserError
from assistant.safety.confinement.process import HeadTail
from assistant.safety.permissions import Permission
from assistant.safety.sanitize import sanitize
from assistant.workspace.seen import Seen

if TYPE_CHECKING:
    from assistant.safety.sandbox import Sandbox
    from assistant.workspace.files import Workspace


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a call gave: one line for people, and what the model reads. `finish` ends the run."""

    ok: bool
    summary: str
    output: str
    finish: bool = False


class ToolError(Exception):
    """The call cannot be done as asked; the message goes to the model and says what to do instead."""


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


@dataclass(frozen=True, slots=True)
class ToolContext:
    """Where tools work. `output_limit` is in characters; longer output keeps its head and tail.

    `seen` is what the model knows of files, for as long as the conversation lasts.
    """

    workspace: Workspace
    sandbox: Sandbox
    test_command: str | None = None
    command_timeout: float = 120.0
    output_limit: int = 12_000
    seen: Seen = field(default_factory=Seen)


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

    def title(self) -> str:
        """One line for people: what this call does, and to what."""
        raise NotImplementedError

    def permission(self, context: ToolContext) -> Permission:
        """What leave it needs. An edit plans itself here and shows its diff. Raises `ToolError`."""
        raise NotImplementedError

    def changes(self, context: ToolContext) -> tuple[str, ...] | None:
        """Files that it may change, relative to the repository; None where nobody can tell. None of them by default."""
        return ()

    async def run(self, context: ToolContext) -> ToolResult:
        """Do it. Raises `ToolError`; nothing is half-done then."""
        raise NotImplementedError
