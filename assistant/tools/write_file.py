"""`write_file`: a whole file."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from assistant.tools.changing import ChangingTool, one_line
from assistant.workspace.changes import FileChange, Planner


class WriteFile(ChangingTool):
    """Write a whole file."""

    name: ClassVar[str] = "write_file"
    description: ClassVar[str] = "Make a new file, or replace all of one. To change a part, use edit_file."
    brief: ClassVar[str] = "Write"

    path: str = Field(description="Missing directories are made.")
    content: str

    def title(self) -> str:
        """What is written."""
        return f"Write {one_line(self.path)}"

    def plan(self, planner: Planner) -> FileChange:
        """The content in the form that the file has."""
        return planner.write(self.path, self.content)
