"""Where a patch changes the files as they are."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass

_HEAD = re.compile(r"@@ -(\d+)(?:,(\d+))? \+\d+(?:,(\d+))? @@")


@dataclass(frozen=True, slots=True)
class Place:
    """Lines `first` to `last`, from 1, of the file `path` before the patch, and what stands there with it.

    Where lines are only added, `first` is the one above them (1 at the very beginning) and `last` the same. `new` is
    without line breaks at its end.
    """

    path: str
    first: int
    last: int
    new: str


def places(patch: str) -> Iterator[Place]:
    """The places of a patch that git wrote, one a hunk; binary files and changes of modes have none."""
    rows = iter(patch.split("\n"))
    path = gone = ""
    for row in rows:
        if row.startswith("--- "):
            gone = _path(row[4:])
        elif row.startswith("+++ "):
            path = _path(row[4:]) or gone
        elif (head := _HEAD.match(row)) and path:
            yield _place(path, int(head[1]), _body(rows, int(head[2] or 1), int(head[3] or 1)))


def _body(rows: Iterator[str], old: int, new: int) -> list[str]:
    """The lines of a hunk, counted: one that was taken away may look like a head."""
    body = []
    while old > 0 or new > 0:
        row = next(rows, None)
        if row is None:
            break
        old -= row[:1] in ("-", " ", "")
        new -= row[:1] in ("+", " ", "")
        body.append(row)
    return body


def _place(path: str, line: int, body: list[str]) -> Place:
    """The lines from the first that changes to the last."""
    changes = [number for number, row in enumerate(body) if row[:1] in ("-", "+")]
    inner = body[changes[0] : changes[-1] + 1] if changes else []
    first = line + sum(row[:1] != "\\" for row in (body[: changes[0]] if changes else []))
    count = sum(row[:1] in ("-", " ") for row in inner)
    new = "\n".join(row[1:] for row in inner if row[:1] in ("+", " "))
    return Place(path, max(1, first if count else first - 1), max(1, first + count - 1), new)


def _path(name: str) -> str:
    """A path as git writes it, quoted where it must be; empty for no file."""
    name = name.removesuffix("\t")
    if name.startswith('"') and name.endswith('"'):
        raw, _ = codecs.escape_decode(name[1:-1].encode("utf-8", "surrogateescape"))
        name = raw.decode("utf-8", "surrogateescape")
    return "" if name == "/dev/null" else name.partition("/")[2]
