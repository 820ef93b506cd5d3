"""`symbols`: what a file defines, or where a name is defined and used."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Self

from pydantic import Field, model_validator

from assistant.safety.permissions import Access, Permission
from assistant.safety.sanitize import sanitize
from assistant.tools.base import Tool, ToolContext, ToolError, ToolResult, cut_result, for_the_model
from assistant.tools.changing import one_line
from assistant.workspace.outline import listing
from assistant.workspace.repomap import Found, RepoMap

_USES = 40


class Symbols(Tool):
    """Show definitions."""

    name: ClassVar[str] = "symbols"
    description: ClassVar[str] = (
        "List what a file defines, with its lines; "
        "or find where a class, function or method is defined, and which files use it."
    )
    brief: ClassVar[str] = "Find definitions"
    compact: ClassVar[bool] = False
    reads: ClassVar[bool] = True

    path: str = Field("", description="File to list.")
    symbol: str = Field("", description="To find, like name or Class.method.")

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if bool(self.path) == bool(self.symbol):
            raise ToolError("symbols takes a path or a symbol, one of the two.")
        return self

    def title(self) -> str:
        """What is looked for."""
        return f"Symbols of {one_line(self.path)}" if self.path else f"Find {one_line(self.symbol)}"

    def permission(self, context: ToolContext) -> Permission:
        """Reading needs no leave."""
        return Permission(Access.READ, self.path or ".")

    async def run(self, context: ToolContext) -> ToolResult:
        """One definition a line."""
        repo_map = context.repo_map or RepoMap(context.workspace, None)
        if context.repo_map is not None and self.symbol:
            repo_map.watch()
        with for_the_model():
            if self.path:
                found = await repo_map.symbols(self.path)
                summary, text = _counted(len(found), "definition"), listing(found) or "Nothing is defined here."
            else:
                places = await repo_map.find(self.symbol, context.seen.written)
                summary, text = (
                    _counted(len(places.definitions), "definition"),
                    "\n".join(_lines(places, repo_map.remark())),
                )
        return cut_result(True, summary, text, context.output_limit)


def _lines(found: Found, remark: str) -> Iterator[str]:
    if not found.definitions:
        yield "It is not defined in the repository."
    for place in found.definitions:
        one = place.definition
        yield f"{one_line(place.path)}:{one.first}-{one.last}: {one.qualified}: {sanitize(one.signature).strip()}"
    if found.uses:
        yield "Used in:"
    for use in found.uses[:_USES]:
        yield f"{one_line(use.path)}:{use.line}" + (f" and {use.count - 1} more" if use.count > 1 else "")
    if len(found.uses) > _USES:
        yield f"… {len(found.uses) - _USES} more files"
    if remark:
        yield remark


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"
