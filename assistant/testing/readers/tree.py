"""Lists of tests in which indentation says what belongs to what, as most runners of JavaScript print them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from assistant.testing.readers.outcome import Outcome, Result, joined, seconds

_TIME = re.compile(r"\s+\(?([\d.]+) ?(ms|s|m)\)?$")
_INDENT = re.compile(r" *")
Mark = Callable[[str], tuple[str, Result] | None]
"""Gets a line without its indentation; gives name and result if it is a test."""


@dataclass(frozen=True, slots=True)
class Line:
    """A name at a depth; `result` is None for a group."""

    depth: int
    name: str
    result: Result | None
    seconds: float | None = None


def marked(marks: dict[str, Result]) -> Mark:
    """Tests begin with one of these marks and a blank."""

    def mark(text: str) -> tuple[str, Result] | None:
        first, _, rest = text.partition(" ")
        result = marks.get(first)
        return (rest.strip(), result) if result is not None and rest.strip() else None

    return mark


def line(text: str, mark: Mark) -> Line:
    """One line of a list."""
    depth = len(_INDENT.match(text)[0])  # type: ignore[index]
    found = mark(text.strip())
    if found is None:
        return Line(depth, text.strip(), None)
    time = _TIME.search(found[0])
    return Line(depth, timeless(found[0]), found[1], seconds(time[1], time[2]) if time else None)


def timeless(name: str) -> str:
    """A name without the time that stands behind it."""
    return _TIME.sub("", name).strip()


def read_tree(lines: list[str], mark: Mark, *above: str) -> Iterator[Outcome]:
    """The tests of a list, named by the groups they stand in."""
    groups: list[Line] = []
    for text in lines:
        if not text.strip():
            continue
        found = line(text, mark)
        while groups and groups[-1].depth >= found.depth:
            groups.pop()
        if found.result is None:
            groups.append(found)
        else:
            yield Outcome(joined(*above, *(group.name for group in groups), found.name), found.result, found.seconds)
