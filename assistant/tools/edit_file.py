"""`edit_file`: replace one stretch of a file."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from assistant.safety.permissions import Access, Permission
from assistant.safety.sanitize import sanitize
from assistant.tools.base import Tool, ToolContext, ToolResult, for_the_model
from assistant.workspace.edit import EditPlan, plan_edit, unified_diff
from assistant.workspace.text import TextFile


class EditFile(Tool):
    """Replace text in a file."""

    name: ClassVar[str] = "edit_file"
    description: ClassVar[str] = (
        "Replace text that occurs once in a file. Copy old exactly from the file, without line numbers, with enough "
        "lines around it to be the only match."
    )
    brief: ClassVar[str] = "Replace text"

    path: str = Field(description="File, relative to the repository.")
    old: str = Field(description="Text to replace.")
    new: str = Field(description="Text to put there.")

    def title(self) -> str:
        """What is edited."""
        return f"Edit {self.path}"

    def permission(self, context: ToolContext) -> Permission:
        """Leave to write the file; shows the diff."""
        before, plan = self._plan(context)
        diff = unified_diff(context.workspace.relative(self.path), before.text, plan.new_text)
        return Permission(Access.EDIT, str(context.workspace.resolve(self.path)), sanitize(diff), "diff")

    async def run(self, context: ToolContext) -> ToolResult:
        """Write it, unless the file has changed meanwhile."""
        before, plan = self._plan(context)
        with for_the_model():
            context.workspace.write(self.path, plan.new_text, before.digest)
        diff = unified_diff(context.workspace.relative(self.path), before.text, plan.new_text)
        summary = changed_lines(diff)
        note = f" ({plan.note})" if plan.note else ""
        return ToolResult(True, summary, f"Edited {self.path}: {summary}{note}.")

    def _plan(self, context: ToolContext) -> tuple[TextFile, EditPlan]:
        with for_the_model():
            context.workspace.check_writable(self.path)
            before = context.workspace.read(self.path)
            old, new = (
                text.replace("\r\n", "\n") if before.newline == "\r\n" else text for text in (self.old, self.new)
            )
            plan = plan_edit(before.text, old, new)
            before.encode(plan.new_text)
        return before, plan


def changed_lines(diff: str) -> str:
    """How many lines a diff adds and takes away: ``+3 -1``."""
    lines = diff.splitlines()[2:]
    added = sum(line.startswith("+") and not line.startswith("+++ ") for line in lines)
    return f"+{added} -{sum(line.startswith('-') and not line.startswith('--- ') for line in lines)}"
