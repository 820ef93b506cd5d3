"""What differs between two texts, line by line, as the hunks of a unified diff; only what differs is looked into."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from itertools import takewhile

_Operation = tuple[str, int, int, int, int]
"""What `difflib` calls an opcode: what is done, and to which lines."""
_UNENDED = "\n\\ No newline at end of file\n"


def split(text: str) -> list[str]:
    """The lines of a text, each with its end, as git counts them: only a line feed ends one."""
    return re.findall(r"[^\n]*\n|[^\n]+", text)


def hunks_between(old: str, new: str, around: int = 3) -> str:
    """The hunks from `old` to `new`, with `around` (1 or more) lines beside each change."""
    before, after = split(old), split(new)
    return "".join(_hunk(group, before, after) for group in _groups(_operations(before, after), around))


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
