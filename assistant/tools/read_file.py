"""`read_file`: numbered lines of a text file."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from assistant.safety.permissions import Access, Permission
from assistant.safety.sanitize import sanitize
from assistant.tools.base import Tool, ToolContext, ToolError, ToolResult, for_the_model
from assistant.tools.changing import one_line

_LONGEST_LINE = 2000


class ReadFile(Tool):
    """Read a file."""

    name: ClassVar[str] = "read_file"
    description: ClassVar[str] = (
        "Read a text file. Each line comes with its number and a tab, which are not part of the file."
    )
    brief: ClassVar[str] = "Read"
    reads: ClassVar[bool] = True
    full_only: ClassVar[frozenset[str]] = frozenset({"start_line", "end_line"})

    path: str
    start_line: int | None = Field(None, description="From 1.")
    end_line: int | None = None

    def title(self) -> str:
        """What is read."""
        if self.start_line is None and self.end_line is None:
            return f"Read {one_line(self.path)}"
        return f"Read {one_line(self.path)}:{self.start_line or 1}–{self.end_line or 'end'}"

    def permission(self, context: ToolContext) -> Permission:
        """Reading needs no leave."""
        return Permission(Access.READ, self.path)

    async def run(self, context: ToolContext) -> ToolResult:
        """The lines asked for, as many as fit."""
        with for_the_model():
            file = context.workspace.read(self.path)
            context.seen.show(context.workspace.relative(self.path), file.digest or "")
        lines = [line.removesuffix("\r") for line in file.text.split("\n")]
        if lines[-1] == "":
            lines.pop()
        first, last = max(1, self.start_line or 1), min(len(lines), self.end_line or len(lines))
        if not lines:
            return ToolResult(True, "empty", "The file is empty.")
        if first > last:
            raise ToolError(f"{self.path} has {len(lines)} lines; ask for lines within them.")
        shown = _numbered(lines[first - 1 : last], first, context.output_limit)
        end = first + len(shown) - 1
        if end < last:
            shown.append(f"… lines {end + 1} to {last} left out; read on with start_line {end + 1}")
        elif last < len(lines):
            shown.append(f"… the file has {len(lines)} lines")
        return ToolResult(True, f"lines {first} to {end} of {len(lines)}", "\n".join(shown))


def _numbered(lines: list[str], first: int, limit: int) -> list[str]:
    shown: list[str] = []
    room = limit
    for number, line in enumerate(lines, first):
        text = f"{number}\t{sanitize(line[:_LONGEST_LINE])}"
        if len(line) > _LONGEST_LINE:
            text += f" … {len(line) - _LONGEST_LINE:,} characters left out"
        room -= len(text) + 1
        if room < 0 and shown:
            break
        shown.append(text)
    return shown
