"""`edit_file`: replace stretches of a file."""

from __future__ import annotations

import json
from typing import Annotated, Any, ClassVar, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from assistant.tools.base import ToolError
from assistant.tools.changing import ChangingTool, one_line
from assistant.workspace.changes import FileChange, Planner
from assistant.workspace.edit import Edit

_USAGE = "edit_file takes path with old and new, or path with edits, a list of {old, new}"


class Replacement(BaseModel):
    """One of several edits of a file."""

    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)

    old: str
    new: str
    all: bool = False


def _as_list(value: Any) -> Any:
    """Models write a list as a string, or one edit without a list around it."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return value
    return [value] if isinstance(value, dict) else value


class EditFile(ChangingTool):
    """Replace text in a file."""

    name: ClassVar[str] = "edit_file"
    description: ClassVar[str] = (
        "Replace text that occurs once in a file. Copy old exactly, without line numbers, with enough lines around it "
        "to be the only match. Several changes of a file go into edits: all are done, or none."
    )
    brief: ClassVar[str] = "Replace text"
    full_only: ClassVar[frozenset[str]] = frozenset({"all", "edits"})
    blank: ClassVar[frozenset[str]] = frozenset({"old", "new"})
    compact_required: ClassVar[tuple[str, ...]] = ("old", "new")

    old: str | None = None
    new: str | None = None
    all: bool = Field(False, description="Replace it wherever it stands.")
    edits: Annotated[list[Replacement] | None, BeforeValidator(_as_list)] = Field(
        None, description="Done in this order, instead of old and new."
    )

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.edits:
            if self.old is not None or self.new is not None:
                raise ToolError(f"edit_file was given both old or new and edits; {_USAGE}.")
        elif self.old is None or self.new is None:
            missing = "old" if self.old is None else "new"
            raise ToolError(f"edit_file needs {missing}; {_USAGE}.")
        return self

    def title(self) -> str:
        """What is edited."""
        count = f" in {len(self.edits)} places" if self.edits and len(self.edits) > 1 else ""
        return f"Edit {one_line(self.path)}{count}"

    def plan(self, planner: Planner) -> FileChange:
        """All edits on the file as it is now."""
        if self.edits:
            return planner.edit(self.path, [Edit(edit.old, edit.new, edit.all) for edit in self.edits])
        return planner.edit(self.path, [Edit(self.old or "", self.new or "", self.all)])
