"""`delete_file`: take a text file away; undo brings it back."""

from __future__ import annotations

from typing import ClassVar

from assistant.tools.base import ToolContext
from assistant.tools.changing import ChangingTool, one_line
from assistant.workspace.changes import FileChange, Planner


class DeleteFile(ChangingTool):
    """Delete a file."""

    name: ClassVar[str] = "delete_file"
    description: ClassVar[str] = "Delete a text file, no directory."
    brief: ClassVar[str] = "Delete"
    compact: ClassVar[bool] = False

    def title(self) -> str:
        """What is deleted."""
        return f"Delete {one_line(self.path)}"

    def destructive(self, context: ToolContext) -> str:
        """The file."""
        return f"deletes {one_line(self.path)}"

    def plan(self, planner: Planner) -> FileChange:
        """Everything that the file holds, gone."""
        return planner.delete(self.path)
