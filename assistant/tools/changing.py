"""What the tools share that change files: they plan, show the plan as a diff, and write it as it was planned."""

from __future__ import annotations

import re

from pydantic import Field

from assistant.safety.permissions import Access, Permission
from assistant.safety.sanitize import sanitize
from assistant.tools.base import Tool, ToolContext, ToolResult, for_the_model
from assistant.workspace.changes import FileChange, Planner, apply_changes

_LONE_RETURN = re.compile(r"\r(?!\n)")


class ChangingTool(Tool):
    """A call that changes one file."""

    path: str = Field(description="File, relative to the repository.")

    def plan(self, planner: Planner) -> FileChange:
        """The change, on the file as it is now. Raises `WorkspaceError`."""
        raise NotImplementedError

    def permission(self, context: ToolContext) -> Permission:
        """Leave to change the file from what it is now; shows the diff."""
        change = self._planned(context)
        replaced = (change.before.digest if change.before else None) or ""
        subject = str(context.workspace.resolve(self.path))
        return Permission(Access.EDIT, subject, preview(change.diff), "diff", replaces=replaced)

    def changes(self, context: ToolContext) -> tuple[str, ...]:
        """The file."""
        return (context.workspace.relative(self.path),)

    async def run(self, context: ToolContext) -> ToolResult:
        """Write it, unless the file has changed meanwhile."""
        change = self._planned(context)
        with for_the_model():
            apply_changes(context.workspace, [change], context.seen)
        summary = changed_lines(change.diff)
        note = f" ({sanitize(change.note)})" if change.note else ""
        return ToolResult(True, summary, f"{_verb(change)} {one_line(self.path)}: {summary}{note}.")

    def _planned(self, context: ToolContext) -> FileChange:
        with for_the_model():
            return self.plan(Planner(context.workspace, context.seen, context.output_limit))


def preview(diff: str) -> str:
    """A diff as people may see it: a carriage return within a line cannot begin a line that is not there."""
    return sanitize(_LONE_RETURN.sub("␍", diff))


def changed_lines(diff: str) -> str:
    """How many lines a diff adds and takes away: ``+3 -1``."""
    lines = diff.splitlines()[2:]
    added = sum(line.startswith("+") and not line.startswith("+++ ") for line in lines)
    return f"+{added} -{sum(line.startswith('-') and not line.startswith('--- ') for line in lines)}"


def one_line(path: str) -> str:
    """A path as it may stand in a title: no control characters, no second line."""
    return sanitize(path).replace("\n", "⏎")


def _verb(change: FileChange) -> str:
    if change.after is None:
        return "Deleted"
    return "Edited" if change.before else "Made"
