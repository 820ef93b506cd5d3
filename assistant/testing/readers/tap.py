"""The Test Anything Protocol, 12 to 14, with subtests (node --test, bats, prove -v, tape)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from assistant.testing.readers.outcome import Outcome, Result, joined, seconds

_POINT = re.compile(r"^( *)(not )?ok\b *(\d*) *(?:- )?(.*)$")
_DIRECTIVE = re.compile(r"(?<!\\)#\s*(skip|todo)\w*\b.*$", re.IGNORECASE)
_TIME = re.compile(r"(?<!\\)# *(?:time[=:])? *([\d.]+) *(ms|s)\b.*$")
_DURATION = re.compile(r"^ *duration_ms: ([\d.]+)$")
_ESCAPED = re.compile(r"\\([\\#])")
_DEEPEST = 200
"""Blanks before a result that count; our choice."""
_FILE = re.compile(r"^(\S+) \.{2,} *$")


@dataclass(slots=True)
class _Point:
    depth: int
    name: str
    result: Result
    children: list[_Point] = field(default_factory=list)
    seconds: float | None = None


def read(output: str) -> Iterator[Outcome]:
    """Subtests stand before the test they belong to, four blanks (or two) further in."""
    points: list[_Point] = []
    file = ""
    for line in _outside_of_notes(output, points):
        if found := _FILE.match(line):
            yield from _named(points, file)
            points.clear()
            file = found[1]
        elif (found := _POINT.match(line)) and (found[3] or found[4]):
            _add(points, _point(found))
    yield from _named(points, file)


def _outside_of_notes(output: str, points: list[_Point]) -> Iterator[str]:
    """The lines that are no YAML notes; how long a test took stands in them."""
    closing = ""
    for line in output.splitlines():
        if closing:
            closing = "" if line == closing else closing
            if points and (found := _DURATION.match(line)):
                points[-1].seconds = seconds(found[1], "ms")
        elif line.strip() == "---" and line.startswith("  "):
            closing = line.replace("---", "...")
        else:
            yield line


def _point(found: re.Match[str]) -> _Point:
    text = _DIRECTIVE.sub("", found[4])
    name = _ESCAPED.sub(r"\1", _TIME.sub("", text).strip()) or f"test {found[3]}"
    result: Result = "skipped" if text != found[4] else "failed" if found[2] else "passed"
    return _Point(min(len(found[1]), _DEEPEST), name, result)


def _add(points: list[_Point], point: _Point) -> None:
    """The tests further in, since the last one that is not, are parts of this one."""
    while points and points[-1].depth > point.depth:
        point.children.insert(0, points.pop())
    points.append(point)


def _named(points: list[_Point], *groups: str) -> Iterator[Outcome]:
    for point in points:
        yield from _named(point.children, *groups, point.name)
        if not point.children or (point.result == "failed" and not _fails(point.children)):
            yield Outcome(joined(*groups, point.name), point.result, point.seconds)


def _fails(points: list[_Point]) -> bool:
    return any(point.result == "failed" or _fails(point.children) for point in points)
