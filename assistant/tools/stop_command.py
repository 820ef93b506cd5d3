"""`stop_command`: end a command that runs in the background."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from assistant.jobs import Job
from assistant.safety.permissions import Access, Permission
from assistant.tools.base import Tool, ToolContext, ToolError, ToolResult
from assistant.tools.changing import one_line


class StopCommand(Tool):
    """Stop a job."""

    name: ClassVar[str] = "stop_command"
    description: ClassVar[str] = "End a background job."
    brief: ClassVar[str] = "Stop"
    compact: ClassVar[bool] = False

    id: str = Field(description="Like job1.")

    def title(self) -> str:
        """Which one is stopped."""
        return f"Stop {one_line(self.id)}"

    def permission(self, context: ToolContext) -> Permission:
        """What the agent began it may end."""
        job_named(self.id, context)
        return Permission(Access.NONE, self.id)

    async def run(self, context: ToolContext) -> ToolResult:
        """How it was when it was stopped."""
        job = job_named(self.id, context)
        if not job.running:
            return ToolResult(True, job.state(), f"{job.id} was over already: {job.state()}.")
        await job.stop()
        return ToolResult(True, "stopped", f"Stopped {job.id}; read_output still shows its output.")


def job_named(name: str, context: ToolContext) -> Job:
    """The job with this id. Raises `ToolError` that names those there are."""
    job = context.jobs.get(name)
    if job is None:
        known = f"there are {', '.join(context.jobs.names)}" if context.jobs.names else "none was started"
        raise ToolError(f"There is no job {one_line(name)!r}; {known}.")
    return job
