"""`repo_map`: what the repository defines, the most wanted first."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from assistant.safety.permissions import Access, Permission
from assistant.safety.sanitize import sanitize
from assistant.tools.base import Tool, ToolContext, ToolResult, fitted, for_the_model
from assistant.workspace.outline import roughly
from assistant.workspace.repomap import RepoMap

_BUDGET = 1_500
_MOST = 8_000


class ShowRepoMap(Tool):
    """Show the map of the repository: what is in focus first, then what belongs to the files known so far."""

    name: ClassVar[str] = "repo_map"
    description: ClassVar[str] = (
        "Show the most important classes and functions of the repository with their signatures, file by file."
    )
    brief: ClassVar[str] = "Show the main definitions"
    compact: ClassVar[bool] = False
    reads: ClassVar[bool] = True

    focus: str = Field("", description="Names, files or words; what belongs to them comes first.")
    budget: int = Field(_BUDGET, ge=100, le=_MOST, description="Tokens, roughly.")

    def title(self) -> str:
        """What it is about."""
        return sanitize(f"Map the repository{f' for {self.focus}' if self.focus else ''}").replace("\n", " ")

    def permission(self, context: ToolContext) -> Permission:
        """Reading needs no leave."""
        return Permission(Access.READ, ".")

    async def run(self, context: ToolContext) -> ToolResult:
        """Files and signatures."""
        repo_map = context.repo_map or RepoMap(context.workspace, None)
        if context.repo_map is not None:
            repo_map.watch()
        with for_the_model():
            text = await repo_map.text(
                self.budget,
                mentioned=self.focus,
                opened=context.seen.opened,
                changed=context.seen.written,
                count=roughly,
            )
        remark = repo_map.remark()
        if not text:
            said = "No definitions are found; list the files instead."
            return ToolResult(True, "no definitions", f"{said} {remark}".rstrip())
        shown = fitted(text, context.output_limit)
        return ToolResult(True, f"about {roughly(text):,} tokens", f"{shown}\n{remark}".rstrip("\n"))
