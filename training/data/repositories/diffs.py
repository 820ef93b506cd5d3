"""Unified diffs of texts, quickly and without git, as `git apply` takes them; and the parts of a diff."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile

_RANGES = re.compile(r"^@@ -(\d+)((?:,\d+)?) \+(\d+)((?:,\d+)?) @@")
_FILE = re.compile(r"^(?=diff --git )", re.MULTILINE)
_PLAIN_PATH = re.compile(r"[A-Za-z0-9_./+@=-]+")
_Operation = tuple[str, int, int, int, int]
"""What `difflib` calls an opcode: what is done, and to which lines."""
_UNENDED = "\n\\ No newline at end of file\n"


def plain(path: str) -> bool:
    """Whether a path stands in a diff as it is, so that `unified` may be asked for it."""
    return _PLAIN_PATH.fullmatch(path) is not None


def unified(path: str, old: str, new: str, around: int = 3) -> str:
    """The diff from `old` to `new` of a file with a plain path, with `around` (1 or more) lines beside each change."""
    if old == new:
        return ""
    before, after = _lines(old), _lines(new)
    body = "".join(_hunk(group, before, after) for group in _groups(_operations(before, after), around))
    return f"diff --git a/{path} b/{path}\n--- a/{path}\n+++ b/{path}\n{body}"


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


def _lines(text: str) -> list[str]:
    """As git counts them: only a line feed ends one."""
    return [f"{line}\n" for line in text.split("\n")[:-1]] + ([rest] if (rest := text.rpartition("\n")[2]) else [])


def _common(one: Sequence[str], two: Sequence[str]) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, two, strict=False)))


def _operations(before: Sequence[str], after: Sequence[str]) -> list[_Operation]:
    """What is done to which lines, from the first to the last; only what differs is looked into."""
    above = _common(before, after)
    below = min(_common(before[::-1], after[::-1]), min(len(before), len(after)) - above)
    ends = len(before) - below, len(after) - below
    matcher = difflib.SequenceMatcher(None, before[above : ends[0]], after[above : ends[1]], autojunk=False)
    inner = ((tag, a + above, b + above, c + above, d + above) for tag, a, b, c, d in matcher.get_opcodes())
    whole = [("equal", 0, above, 0, above), *inner, ("equal", ends[0], len(before), ends[1], len(after))]
    return [each for each in whole if each[1] < each[2] or each[3] < each[4]]


def _groups(operations: Sequence[_Operation], around: int) -> Iterator[list[_Operation]]:
    """The operations of each hunk: what stays as it is, is cut to a few lines, and in the middle where it is long."""
    group: list[_Operation] = []
    for tag, a, b, c, d in operations:
        if tag != "equal":
            group.append((tag, a, b, c, d))
            continue
        if group and b - a > 2 * around:
            yield [*group, (tag, a, a + around, c, c + around)]
            group = []
        first = 0 if group else max(0, b - a - around)
        group.append((tag, a + first, b, c + first, d))
    if any(each[0] != "equal" for each in group):
        tag, a, b, c, d = group[-1]
        cut = max(0, b - a - around) if tag == "equal" else 0
        yield [*group[:-1], (tag, a, b - cut, c, d - cut)]


def _hunk(group: Sequence[_Operation], before: Sequence[str], after: Sequence[str]) -> str:
    old, new = (group[0][1], group[-1][2]), (group[0][3], group[-1][4])
    rows_: list[str] = []
    for tag, a, b, c, d in group:
        if tag == "equal":
            rows_ += [_ended(f" {line}") for line in before[a:b]]
        else:
            rows_ += [*(_ended(f"-{line}") for line in before[a:b]), *(_ended(f"+{line}") for line in after[c:d])]
    return f"@@ -{_range(*old)} +{_range(*new)} @@\n{''.join(rows_)}"


def _range(start: int, end: int) -> str:
    """A range as diffs write it: of no lines, the line before it."""
    match end - start:
        case 0:
            return f"{start},0"
        case 1:
            return f"{start + 1}"
        case count:
            return f"{start + 1},{count}"


def _ended(row: str) -> str:
    return row if row.endswith("\n") else row + _UNENDED
