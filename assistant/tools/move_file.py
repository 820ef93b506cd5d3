"""`move_file`: give a file another name or place."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from assistant.safety.permissions import Access, Permission
from assistant.tools.base import Tool, ToolContext, ToolResult, for_the_model
from assistant.tools.changing import one_line, preview
from assistant.workspace.changes import Planner
from assistant.workspace.edit import renaming


class MoveFile(Tool):
    """Move a file."""

    name: ClassVar[str] = "move_file"
    description: ClassVar[str] = "Rename or move a file, no directory. Nothing may be at the new path."
    brief: ClassVar[str] = "Move"
    compact: ClassVar[bool] = False

    path: str
    new_path: str = Field(description="Missing directories are made.")

    def title(self) -> str:
        """What goes where."""
        return f"Move {one_line(self.path)} to {one_line(self.new_path)}"

    def permission(self, context: ToolContext) -> Permission:
        """Leave to change both places; shows them."""
        replaced, workspace = self._checked(context), context.workspace
        patch = renaming(workspace.relative(self.path), workspace.relative(self.new_path))
        subject = f"{workspace.resolve(self.path)} -> {workspace.resolve(self.new_path)}"
        return Permission(Access.EDIT, subject, preview(patch), "diff", replaces=replaced)

    def changes(self, context: ToolContext) -> tuple[str, ...]:
        """Both places."""
        return (context.workspace.relative(self.path), context.workspace.relative(self.new_path))

    async def run(self, context: ToolContext) -> ToolResult:
        """Move it, unless there is something by now."""
        self._checked(context)
        old, new = (context.workspace.relative(path) for path in (self.path, self.new_path))
        with for_the_model():
            context.workspace.move(self.path, self.new_path)
        context.seen.moved(old, new)
        return ToolResult(True, "moved", f"Moved {one_line(self.path)} to {one_line(self.new_path)}.")

    def _checked(self, context: ToolContext) -> str:
        """What tells the file from another, once it can be moved."""
        with for_the_model():
            return Planner(context.workspace, context.seen, context.output_limit).move(self.path, self.new_path)
