"""What an edit is answered with that finds no place, or several: lines of the file, with their numbers."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

_SHOWN_LINES = 12
_COMPARED_LINES = 20_000


def numbered(lines: Sequence[str], first: int, limit: int = 1_000_000) -> str:
    """Lines as `read_file` shows them, from number `first`, until `limit` characters are full."""
    shown: list[str] = []
    for number, line in enumerate(lines, first):
        limit -= len(line) + len(str(number)) + 2
        if limit < 0:
            shown.append(f"… from line {number} on left out")
            break
        shown.append(f"{number}\t{line.rstrip()}")
    return "\n".join(shown)


def nearest(lines: Sequence[str], wanted: Sequence[str], hint: str) -> str:
    """`hint`, and the lines that look most like `wanted`."""
    start = closest(lines, wanted)
    if start is None:
        return f"{hint}, and nothing looks like it; read the file again."
    return region(lines, start, len(wanted), f"{hint}; the nearest lines are")


def region(lines: Sequence[str], start: int, count: int, hint: str) -> str:
    """`hint`, and some lines from index `start` on."""
    shown = numbered([line[:500] for line in lines[start : start + min(count, _SHOWN_LINES)]], start + 1)
    return f"{hint}:\n{shown}\nCopy the text exactly, without the line numbers."


def closest(lines: Sequence[str], wanted: Sequence[str]) -> int | None:
    """The index where the lines begin that look most like `wanted`, or None if none do."""
    anchor = max(range(len(wanted)), key=lambda index: len(wanted[index].strip()))
    bare = [line.strip()[:500] for line in lines[:_COMPARED_LINES]]
    near = difflib.get_close_matches(wanted[anchor].strip()[:500], list(dict.fromkeys(bare)), n=1, cutoff=0.5)
    return max(0, bare.index(near[0]) - anchor) if near else None


def fresh(text: str, wanted: str, limit: int) -> str:
    """The text with line numbers, in at most about `limit` characters: all of it, else what is nearest to `wanted`."""
    lines = text.split("\n")
    if not lines[-1]:
        lines.pop()
    if len(text) + 8 * len(lines) <= limit:
        return numbered(lines, 1)
    start = closest(lines, wanted.strip("\n").split("\n")) if wanted.strip() else None
    first = max(0, (start or 0) - 10)
    return numbered([line[:2000] for line in lines[first:]], first + 1, limit)


def ambiguous(numbers: Sequence[int], count: int | None = None) -> str:
    """That a text stands at several lines."""
    shown = ", ".join(map(str, numbers[:10])) + (", …" if len(numbers) > 10 else "")
    return (
        f"The old text matches {count or len(numbers)} times, at lines {shown}; add lines around it to say which one."
    )
