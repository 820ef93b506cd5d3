"""`write_file`: a whole file."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from assistant.safety.permissions import Access, Permission
from assistant.safety.sanitize import sanitize
from assistant.tools.base import Tool, ToolContext, ToolResult, for_the_model
from assistant.tools.edit_file import changed_lines
from assistant.workspace.edit import unified_diff
from assistant.workspace.text import TextFile


class WriteFile(Tool):
    """Write a whole file."""

    name: ClassVar[str] = "write_file"
    description: ClassVar[str] = "Make a new file, or replace all of an existing one. To change a part, use edit_file."
    brief: ClassVar[str] = "Write"

    path: str = Field(description="File, relative to the repository; missing directories are made.")
    content: str = Field(description="The whole new content.")

    def title(self) -> str:
        """What is written."""
        return f"Write {self.path}"

    def permission(self, context: ToolContext) -> Permission:
        """Leave to write the file; shows the diff."""
        before, content = self._plan(context)
        diff = self._diff(context, before, content)
        return Permission(Access.EDIT, str(context.workspace.resolve(self.path)), sanitize(diff), "diff")

    async def run(self, context: ToolContext) -> ToolResult:
        """Write it, unless the file has changed or come into being meanwhile."""
        before, content = self._plan(context)
        with for_the_model():
            context.workspace.write(self.path, content, before.digest if before else None)
        summary = changed_lines(self._diff(context, before, content))
        verb = "Replaced" if before else "Made"
        return ToolResult(True, summary, f"{verb} {self.path}: {summary}.")

    def _plan(self, context: ToolContext) -> tuple[TextFile | None, str]:
        with for_the_model():
            context.workspace.check_writable(self.path)
            before = context.workspace.read(self.path) if context.workspace.exists(self.path) else None
            form = before or TextFile("")
            content = self.content.replace("\r\n", "\n") if form.newline == "\r\n" else self.content
            form.encode(content)
        return before, content

    def _diff(self, context: ToolContext, before: TextFile | None, content: str) -> str:
        return unified_diff(context.workspace.relative(self.path), before.text if before else None, content)
