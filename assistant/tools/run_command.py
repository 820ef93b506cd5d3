"""`run_command`: a shell command in the sandbox."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from assistant.safety.permissions import Access, Permission
from assistant.tools.base import Tool, ToolContext, ToolResult, fitted, for_the_model


class RunCommand(Tool):
    """Run a shell command."""

    name: ClassVar[str] = "run_command"
    description: ClassVar[str] = (
        "Run a shell command in the repository. There is no network and no input; .git cannot be written."
    )
    brief: ClassVar[str] = "Shell"

    command: str = Field(description="The command line.", min_length=1)

    def title(self) -> str:
        """What is run."""
        return f"Run {self.command}"

    def permission(self, context: ToolContext) -> Permission:
        """Leave to run exactly this command line."""
        return Permission(Access.COMMAND, self.command, self.command, "command")

    async def run(self, context: ToolContext) -> ToolResult:
        """Its exit code and its output."""
        with for_the_model():
            result = await context.sandbox.run(
                self.command, cwd=context.workspace.root, timeout=context.command_timeout
            )
        end = f"exit code {result.exit_code}"
        if result.timed_out:
            end = f"stopped after {context.command_timeout:g} s without an end"
        output = fitted(result.output, context.output_limit).strip("\n")
        summary = f"{end}, {result.seconds:.1f} s"
        return ToolResult(result.exit_code == 0, summary, f"{end}\n{output or '(no output)'}")
