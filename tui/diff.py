"""A unified diff as coloured lines with the numbers of the new file."""

from __future__ import annotations

import re
from collections.abc import Iterator

from textual.content import Content

from tui.prose import Line

_HUNK = re.compile(r"@@ -(\d+)(?:,\d+)? \+(\d+)")
_STYLES = {"+": ("$text-success", "on $diff-add"), "-": ("$text-error", "on $diff-cut"), " ": ("$muted", "")}


def diff_lines(diff: str) -> list[Line]:
    """The lines of `diff`, headers dim, additions and removals on a ground of their own."""
    return list(_walk(diff.rstrip("\n").split("\n")))


def _walk(rows: list[str]) -> Iterator[Line]:
    inside, number = False, 0
    for row in rows:
        if hunk := _HUNK.match(row):
            if inside:
                yield Line(Content.styled("⋯", "$faint"), Content("     "), Content("     "))
            inside, number = True, int(hunk[2])
        elif inside and (row[:1] or " ") in _STYLES:
            yield _changed(row or " ", number)
            number += not row.startswith("-")
        elif not row.startswith(("--- ", "index ", "diff ")):
            inside = False
            yield Line(Content.styled(row.removeprefix("+++ ").removeprefix("b/"), "bold $muted"))


def _changed(row: str, number: int) -> Line:
    colour, fill = _STYLES[row[0]]
    label = "" if row[0] == "-" else str(number)
    first = Content.styled(f"{label:>4} ", "$faint") + Content.styled(f"{row[0]} ", colour)
    return Line(Content.styled(row[1:], colour), first, Content("       "), fill=fill)
