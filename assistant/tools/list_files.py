"""`list_files`: what is in the repository."""

from __future__ import annotations

import asyncio
from typing import ClassVar

from pydantic import Field

from assistant.safety.permissions import Access, Permission
from assistant.tools.base import Tool, ToolContext, ToolResult, fitted, for_the_model
from assistant.tools.changing import one_line

_LIMIT = 500


class ListFiles(Tool):
    """List files."""

    name: ClassVar[str] = "list_files"
    description: ClassVar[str] = "List the files that .gitignore does not name."
    brief: ClassVar[str] = "List"
    reads: ClassVar[bool] = True
    full_only: ClassVar[frozenset[str]] = frozenset({"path"})

    path: str = Field("", description="Directory or glob like src/**/*.py; else all.")

    def title(self) -> str:
        """What is listed."""
        return f"List {one_line(self.path) or 'files'}"

    def permission(self, context: ToolContext) -> Permission:
        """Reading needs no leave."""
        return Permission(Access.READ, self.path or ".")

    async def run(self, context: ToolContext) -> ToolResult:
        """One path a line."""
        with for_the_model():
            found = await asyncio.to_thread(context.workspace.list, self.path or None, _LIMIT)
        if not found.paths:
            return ToolResult(True, "no files", "No file matches; leave out the path to list all.")
        count = len(found.paths) + found.left_out
        more = f"\n… {found.left_out} more files; name a directory" if found.left_out else ""
        output = fitted("\n".join(found.paths), context.output_limit) + more
        return ToolResult(True, f"{count} file{'s' * (count != 1)}", output)
