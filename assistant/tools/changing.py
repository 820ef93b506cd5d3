"""What the tools share that change files: they plan, show the plan as a diff, and write it as it was planned."""

from __future__ import annotations

import re
from collections.abc import Sequence

from assistant.safety.permissions import Access, Permission
from assistant.safety.sanitize import sanitize
from assistant.tools.base import Tool, ToolContext, ToolResult, for_the_model
from assistant.workspace.changes import FileChange, Planner, apply_changes

_LONE_RETURN = re.compile(r"\r(?!\n)")


class PlannedTool(Tool):
    """A call that changes files: all of them as it planned, or none."""

    def plans(self, planner: Planner) -> Sequence[FileChange]:
        """The changes, on the files as they are now. Raises `WorkspaceError`."""
        raise NotImplementedError

    def permission(self, context: ToolContext) -> Permission:
        """Leave to change the files from what they are now; shows the diff."""
        changes = self._planned(context)
        replaced = " ".join((change.before.digest if change.before else None) or "" for change in changes)
        subject = ", ".join(str(context.workspace.resolve(change.path)) for change in changes)
        diff = "".join(preview(change.diff) for change in changes)
        return Permission(Access.EDIT, subject, diff, "diff", replaces=replaced)

    async def run(self, context: ToolContext) -> ToolResult:
        """Write them, unless one has changed meanwhile."""
        changes = self._planned(context)
        with for_the_model():
            apply_changes(context.workspace, changes, context.seen)
        summary = changed_lines(*(change.diff for change in changes))
        return ToolResult(True, summary, "\n".join(map(_done, changes)))

    def _planned(self, context: ToolContext) -> Sequence[FileChange]:
        with for_the_model():
            return self.plans(Planner(context.workspace, context.seen, context.output_limit))


class ChangingTool(PlannedTool):
    """A call that changes one file."""

    path: str

    def plan(self, planner: Planner) -> FileChange:
        """The change, on the file as it is now. Raises `WorkspaceError`."""
        raise NotImplementedError

    def plans(self, planner: Planner) -> Sequence[FileChange]:
        """The one change."""
        return [self.plan(planner)]

    def changes(self, context: ToolContext) -> tuple[str, ...]:
        """The file."""
        return (context.workspace.relative(self.path),)


def preview(diff: str) -> str:
    """A diff as people may see it: a carriage return within a line cannot begin a line that is not there."""
    return sanitize(_LONE_RETURN.sub("␍", diff))


def changed_lines(*diffs: str) -> str:
    """How many lines diffs add and take away: ``+3 -1``."""
    lines = [line for diff in diffs for line in diff.splitlines()[2:]]
    added = sum(line.startswith("+") and not line.startswith("+++ ") for line in lines)
    return f"+{added} -{sum(line.startswith('-') and not line.startswith('--- ') for line in lines)}"


def one_line(path: str) -> str:
    """A path as it may stand in a title: no control characters, no second line."""
    return sanitize(path).replace("\n", "⏎")


def _done(change: FileChange) -> str:
    note = f" ({sanitize(change.note)})" if change.note else ""
    return f"{_verb(change)} {one_line(change.path)}: {changed_lines(change.diff)}{note}."


def _verb(change: FileChange) -> str:
    if change.after is None:
        return "Deleted"
    return "Edited" if change.before else "Made"
