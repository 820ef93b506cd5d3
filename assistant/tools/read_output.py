"""`read_output`: what an earlier call or a job in the background put out, piece by piece."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from assistant.safety.permissions import Access, Permission
from assistant.safety.sanitize import sanitize
from assistant.spool import gaps, numbered_lines, wrapped
from assistant.tools.base import Tool, ToolContext, ToolError, ToolResult
from assistant.tools.changing import one_line

_LONGEST_WAIT = 60
"""Seconds that one call may wait for a job; our choice."""


class ReadOutput(Tool):
    """Read output."""

    name: ClassVar[str] = "read_output"
    description: ClassVar[str] = (
        "Read the whole output of an earlier call, or what a background job has put out so far."
    )
    brief: ClassVar[str] = "Output"
    compact: ClassVar[bool] = False
    reads: ClassVar[bool] = True

    id: str = Field(description="Of a call, like 4.1, or of a job, like job1.")
    from_line: int | None = Field(None, description="From 1.", ge=1)
    to_line: int | None = Field(None, ge=1)
    tail: int | None = Field(None, description="So many last lines instead.", ge=1)
    wait: int = Field(0, description="Seconds to wait for a job's end, up to 60.", ge=0)

    def title(self) -> str:
        """Whose output is read."""
        return f"Read the output of {one_line(self.id)}"

    def permission(self, context: ToolContext) -> Permission:
        """Reading needs no leave."""
        return Permission(Access.READ, self.id)

    async def run(self, context: ToolContext) -> ToolResult:
        """The lines asked for, as many as fit; for a job, how it is."""
        if self.tail is not None and (self.from_line or self.to_line):
            raise ToolError("read_output was given both tail and lines; give one of them.")
        if job := context.jobs.get(self.id):
            if self.wait:
                await job.wait(min(self.wait, _LONGEST_WAIT))
            shown = self._piece(job.output.lines(), context.output_limit, job.output.count)
            return ToolResult(True, job.state(), f"{job.id}: {job.state()}\n{shown}")
        lines = numbered_lines(wrapped(sanitize(self._whole(context))))
        return ToolResult(True, f"{len(lines)} lines", self._piece(lines, context.output_limit, len(lines)))

    def _whole(self, context: ToolContext) -> str:
        whole = context.host.whole_output(self.id.strip())
        if whole is None:
            jobs = f"; the jobs are {', '.join(context.jobs.names)}" if context.jobs.names else ""
            raise ToolError(f"There is no output with the id {one_line(self.id)!r}; ids look like 4.1 or job1{jobs}.")
        return whole

    def _piece(self, lines: list[tuple[int, str]], limit: int, count: int) -> str:
        if not lines:
            return "(no output)"
        if self.tail is not None:
            return _page(_last_that_fit(lines[-self.tail :], limit), count)
        first, last = self.from_line or 1, min(self.to_line or count, count)
        if first > last:
            raise ToolError(f"The output has {count:,} lines; ask for lines within them.")
        wanted = [(number, text) for number, text in lines if first <= number <= last]
        if not wanted:
            raise ToolError(f"Lines {first:,} to {last:,} were not kept; the output was too long. Ask for others.")
        return _page(_first_that_fit(wanted, limit), count)


def _first_that_fit(lines: list[tuple[int, str]], limit: int) -> list[tuple[int, str]]:
    fitting = 0
    for _, text in lines:
        limit -= len(text) + 1
        if limit < 0 and fitting:
            break
        fitting += 1
    return lines[:fitting]


def _last_that_fit(lines: list[tuple[int, str]], limit: int) -> list[tuple[int, str]]:
    return _first_that_fit(lines[::-1], limit)[::-1]


def _page(lines: list[tuple[int, str]], count: int) -> str:
    """The lines, and where they stand in the whole if they are not all of it."""
    first, last = lines[0][0], lines[-1][0]
    text = "\n".join(gaps(lines))
    if first == 1 and last == count:
        return text
    more = f"; read on with from_line {last + 1}" if last < count else ""
    return f"{text}\n(lines {first:,} to {last:,} of {count:,}{more})"
