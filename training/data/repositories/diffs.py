"""Unified diffs of files with plain paths, as `git apply` takes them; and the parts of a diff."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from assistant.workspace.diffing import hunks_between

_RANGES = re.compile(r"^@@ -(\d+)((?:,\d+)?) \+(\d+)((?:,\d+)?) @@")
_FILE = re.compile(r"^(?=diff --git )", re.MULTILINE)
_PLAIN_PATH = re.compile(r"[A-Za-z0-9_./+@=-]+")


def plain(path: str) -> bool:
    """Whether a path stands in a diff as it is, so that `unified` may be asked for it."""
    return _PLAIN_PATH.fullmatch(path) is not None


def unified(path: str, old: str, new: str, around: int = 3) -> str:
    """The diff from `old` to `new` of a file with a plain path, with `around` (1 or more) lines beside each change."""
    if old == new:
        return ""
    return f"diff --git a/{path} b/{path}\n--- a/{path}\n+++ b/{path}\n{hunks_between(old, new, around)}"


def files(patch: str) -> list[str]:
    """The parts of a patch of git, one a file."""
    return [part for part in _FILE.split(patch) if part.startswith("diff --git ")]


def path_of(part: str) -> str:
    """The file of a part of a patch in which nothing is renamed; of any line `diff --git`."""
    return part.partition("\n")[0].removeprefix("diff --git a/").partition(" b/")[0]


def changed(patch: str, sign: str) -> Iterator[str]:
    """The lines that a patch adds (``+``) or takes away (``-``), without the sign."""
    within = False
    for line in patch.split("\n"):
        if line.startswith(("diff --git ", "@@ ")):
            within = line.startswith("@@ ")
        elif within and line.startswith(sign):
            yield line[1:]


@dataclass(frozen=True, slots=True)
class Row:
    """A line of a diff: its sign (space, ``+``, ``-``), its text, and its number before and after, 1-based.

    A line that is only on one side has the number, on the other, of the line that it stands before.
    """

    path: str
    sign: str
    text: str
    old: int
    new: int


def rows(patch: str) -> Iterator[Row]:
    """The lines within the hunks of a patch, in their order."""
    path, old, new, within = "", 0, 0, False
    for line in patch.split("\n"):
        if line.startswith("diff --git "):
            path, within = path_of(line), False
        elif header := _RANGES.match(line):
            old, new, within = int(header[1]) or 1, int(header[3]) or 1, True
        elif within and line[:1] in (" ", "+", "-"):
            yield Row(path, line[0], line[1:], old, new)
            old, new = old + (line[0] != "+"), new + (line[0] != "-")


def hunks(patch: str) -> int:
    """How many hunks a patch has."""
    return sum(line.startswith("@@ ") for line in patch.split("\n"))
