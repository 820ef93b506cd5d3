"""`finish`: the run is over."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from assistant.safety.permissions import Access, Permission
from assistant.tools.base import Tool, ToolContext, ToolResult


class Finish(Tool):
    """End the run."""

    name: ClassVar[str] = "finish"
    description: ClassVar[str] = "End the run once the task is done or cannot be done."
    brief: ClassVar[str] = "End"

    message: str = Field("", description="What was done and seen, in a few sentences.")

    def title(self) -> str:
        """That it ends."""
        return "Finish"

    def permission(self, context: ToolContext) -> Permission:
        """Nothing is touched."""
        return Permission(Access.NONE, "finish")

    async def run(self, context: ToolContext) -> ToolResult:
        """The message, for the user."""
        return ToolResult(True, "done", self.message or "Done.", finish=True)
