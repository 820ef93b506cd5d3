"""`search`: lines that match."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import ClassVar

from pydantic import Field

from assistant.safety.permissions import Access, Permission
from assistant.tools.base import Tool, ToolContext, ToolResult, fitted, for_the_model
from assistant.workspace.search import SearchResult

_LIMIT = 100


class Search(Tool):
    """Search the files."""

    name: ClassVar[str] = "search"
    description: ClassVar[str] = "Search files line by line; gives path, line number and line."
    brief: ClassVar[str] = "Search"
    reads: ClassVar[bool] = True
    full_only: ClassVar[frozenset[str]] = frozenset({"path"})

    pattern: str = Field(description="Python's regular expression, or plain text.")
    path: str = Field("", description="Directory, file or glob; else all.")

    def title(self) -> str:
        """What is searched for."""
        return f"Search {self.pattern!r}" + (f" in {self.path}" if self.path else "")

    def permission(self, context: ToolContext) -> Permission:
        """Reading needs no leave."""
        return Permission(Access.READ, self.path or ".")

    async def run(self, context: ToolContext) -> ToolResult:
        """One match a line."""
        with for_the_model():
            search = context.workspace.search
            found = await asyncio.to_thread(search, self.pattern, self.path or None, limit=_LIMIT)
        lines = [f"{match.path}:{match.line}: {match.text.strip()}" for match in found.matches]
        count = len(lines)
        output = fitted("\n".join(lines), context.output_limit) if lines else "Nothing matches."
        return ToolResult(True, f"{count} match{'es' * (count != 1)}", "\n".join([output, *_remarks(found)]))


def _remarks(found: SearchResult) -> Iterator[str]:
    if found.literal:
        yield "(The pattern is not a regular expression, so it was searched for as plain text.)"
    if found.truncated:
        yield f"(Only the first {_LIMIT} matches; narrow the pattern or the path.)"
    if found.timed_out:
        yield "(Time ran out before all files were searched; narrow the path or simplify the pattern.)"
