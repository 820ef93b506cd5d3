"""`git_diff`: what changed since the last commit."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import ClassVar

from pydantic import Field

from assistant.safety.permissions import Access, Permission
from assistant.tools.base import Tool, ToolContext, ToolResult, fitted, for_the_model
from assistant.tools.changing import changed_lines
from assistant.workspace.edit import unified_diff
from assistant.workspace.errors import WorkspaceError
from assistant.workspace.files import Workspace


class GitDiff(Tool):
    """Show changes."""

    name: ClassVar[str] = "git_diff"
    description: ClassVar[str] = "Show what changed since the last commit, new files too."
    brief: ClassVar[str] = "Diff"
    reads: ClassVar[bool] = True
    full_only: ClassVar[frozenset[str]] = frozenset({"path"})

    path: str = Field("", description="File or directory; else all.")

    def title(self) -> str:
        """What is compared."""
        return f"Diff {self.path}".rstrip()

    def permission(self, context: ToolContext) -> Permission:
        """Reading needs no leave."""
        return Permission(Access.READ, self.path or ".")

    async def run(self, context: ToolContext) -> ToolResult:
        """The patch."""
        with for_the_model():
            diff = await asyncio.to_thread(_diff, context.workspace, self.path)
        if not diff:
            return ToolResult(True, "no changes", "Nothing has changed since the last commit.")
        return ToolResult(True, changed_lines(diff), fitted(diff, context.output_limit))


def _diff(workspace: Workspace, path: str) -> str:
    wanted = [workspace.relative(path)] if path.strip("./ ") else []
    return workspace.git.diff(wanted) + "".join(_new_files(workspace, wanted))


def _new_files(workspace: Workspace, wanted: list[str]) -> Iterator[str]:
    for name in workspace.git.untracked(wanted):
        try:
            yield unified_diff(name, None, workspace.read(name).text)
        except WorkspaceError as error:
            yield f"new file {name}: {error}\n"
