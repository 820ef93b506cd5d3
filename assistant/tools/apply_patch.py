"""`apply_patch`: a unified diff over one file or several, done as a whole or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import ClassVar

from pydantic import Field

from assistant.tools.base import ToolContext, for_the_model
from assistant.tools.changing import PlannedTool, one_line
from assistant.workspace.changes import FileChange, Planner
from assistant.workspace.errors import WorkspaceError
from assistant.workspace.patch import FilePatch, read_patch
from assistant.workspace.patching import plan_patch

_read = lru_cache(maxsize=8)(read_patch)
_NAMED = 3


class ApplyPatch(PlannedTool):
    """Apply a patch."""

    name: ClassVar[str] = "apply_patch"
    description: ClassVar[str] = (
        "Apply a unified diff to one or several files: all of it, or nothing. Hunks are found by their lines, copied "
        "exactly, with three unchanged ones above and below. --- /dev/null makes a file, +++ /dev/null deletes it."
    )
    brief: ClassVar[str] = "Patch"
    compact: ClassVar[bool] = False

    patch: str = Field(description="---, +++ and @@ lines, then lines that begin with a space, + or -.")

    def title(self) -> str:
        """What is patched."""
        try:
            paths = [file.path for file in _read(self.patch)]
        except WorkspaceError:
            return "Apply a patch"
        more = f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else ""
        return f"Patch {', '.join(map(one_line, paths[:_NAMED]))}{more}"

    def plans(self, planner: Planner) -> Sequence[FileChange]:
        """All files with their hunks done."""
        return plan_patch(planner, _read(self.patch))

    def changes(self, context: ToolContext) -> tuple[str, ...]:
        """Every file that the patch names."""
        with for_the_model():
            return tuple(context.workspace.relative(path) for file in self._files() for path in file.paths)

    def destructive(self, context: ToolContext) -> str:
        """Files that it deletes."""
        gone = [one_line(file.path) for file in self._files() if file.new is None]
        return f"deletes {', '.join(gone)}" if gone else ""

    def _files(self) -> tuple[FilePatch, ...]:
        with for_the_model():
            return _read(self.patch)
