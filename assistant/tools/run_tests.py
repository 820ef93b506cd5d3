"""`run_tests`: the tests of the repository, in a view of it that is thrown away."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from pydantic import Field

from assistant.jobs import Shown
from assistant.safety.permissions import Permission
from assistant.safety.sanitize import Sanitizer
from assistant.testing.commands import with_target
from assistant.testing.report import TestReport
from assistant.testing.run import run_tests
from assistant.tools.base import Tool, ToolContext, ToolError, ToolResult, cut_result, for_the_model
from assistant.tools.run_command import running

_NAMED = 20
_BRIEF = {"PYTEST_ADDOPTS": "-qq"}
"""Takes back what names every test on a line of its own: a model need not read that."""


class RunTests(Tool):
    """Run the tests."""

    name: ClassVar[str] = "run_tests"
    description: ClassVar[str] = "Run the tests; files they write are thrown away."
    brief: ClassVar[str] = "Test"
    full_only: ClassVar[frozenset[str]] = frozenset({"target"})

    target: str = Field("", description="Test files or ids; else all.")

    def title(self) -> str:
        """What is tested."""
        return f"Run tests {self.target}".rstrip()

    def permission(self, context: ToolContext) -> Permission:
        """In a sandbox the repository cannot change, so that no leave is needed."""
        return running(self._command(context), context, contained=context.sandbox.contains_throwaway)

    def changes(self, context: ToolContext) -> tuple[str, ...] | None:
        """Nothing in a sandbox; without one, tests may write anywhere."""
        return () if context.sandbox.contains else None

    async def run(self, context: ToolContext) -> ToolResult:
        """What passed, what failed, and the output."""
        command = self._command(context)
        shown, sanitizer = Shown(context.host.put_out), Sanitizer()
        try:
            with for_the_model():
                report = await run_tests(
                    context.sandbox,
                    context.workspace,
                    command,
                    timeout=context.command_timeout,
                    throwaway=True,
                    env=_BRIEF,
                    on_output=lambda text: shown.add(sanitizer.feed(text)),
                )
        finally:
            shown.close()
        summary = _summary(report)
        failed = [f"failed: {name}" for name in report.failed[:_NAMED]]
        if len(report.failed) > _NAMED:
            failed.append(f"… and {len(report.failed) - _NAMED} more")
        found = cut_result(report.ok, "\n".join([summary, *failed]), report.output, context.output_limit)
        return replace(found, summary=summary)

    def _command(self, context: ToolContext) -> str:
        if context.test_command is None:
            raise ToolError("No test command is known here; run the tests with run_command.")
        with for_the_model():
            try:
                return with_target(context.test_command, self.target) if self.target.strip() else context.test_command
            except ValueError as error:
                raise ToolError(f"The target cannot be read ({error}); give paths or test ids.") from error


def _summary(report: TestReport) -> str:
    if report.problem:
        return report.problem
    counts = f"{len(report.passed)} passed, {len(report.failed)} failed, " if report.passed or report.failed else ""
    return f"{counts}exit code {report.exit_code}, {report.seconds:.1f} s"
