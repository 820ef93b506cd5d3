"""`spawn`: a sub-agent that works on a task with a context of its own and comes back with a summary."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from assistant.safety.permissions import Access, Permission
from assistant.tools.base import Tool, ToolContext, ToolResult
from assistant.tools.changing import one_line

_TITLE = 120


class Spawn(Tool):
    """Start a sub-agent."""

    name: ClassVar[str] = "spawn"
    description: ClassVar[str] = (
        "Give a task that needs much reading to a sub-agent. It sees nothing of this conversation, so say all it "
        "needs; it answers with a summary."
    )
    brief: ClassVar[str] = "Sub-agent"
    compact: ClassVar[bool] = False

    task: str = Field(min_length=1)
    write: bool = Field(False, description="Let it change files and run commands; else it only reads.")

    def title(self) -> str:
        """Its task."""
        short = self.task if len(self.task) <= _TITLE else f"{self.task[:_TITLE]}…"
        return f"Sub-agent{' that may write' * self.write}: {one_line(short)}"

    def permission(self, context: ToolContext) -> Permission:
        """Nothing is touched by starting it; what it does is judged call by call."""
        return Permission(Access.NONE, "spawn")

    def changes(self, context: ToolContext) -> tuple[str, ...] | None:
        """Nothing, unless it may write."""
        return None if self.write else ()

    async def run(self, context: ToolContext) -> ToolResult:
        """Its summary."""
        return await context.host.spawn(self.task, self.write)
