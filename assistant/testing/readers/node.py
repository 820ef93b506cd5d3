"""`node --test` with its `spec` report (its TAP is read as TAP)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from assistant.testing.readers.outcome import Outcome, Result, joined
from assistant.testing.readers.tree import line, timeless

_END = re.compile(r"^ℹ tests \d+$")
_LINE = re.compile(r"^ *[▶✔✖﹣⚠] ")
_DIRECTIVE = re.compile(r" # (?:SKIP|TODO)\b.*$|(?<=\)) # .*$")
_MARKS: dict[str, Result] = {"✔": "passed", "✖": "failed", "﹣": "skipped", "⚠": "skipped"}


def read(output: str) -> Iterator[Outcome]:
    """A group is opened by `▶` and closed by a line of its own, which counts only if nothing in it failed."""
    groups: list[tuple[int, str, bool]] = []
    for text in output.splitlines():
        if _END.match(text):
            break
        if not _LINE.match(text):
            continue
        found = line(_DIRECTIVE.sub("", text), _mark)
        groups = [group for group in groups if group[0] <= found.depth]
        if found.result is None:
            groups = [*[group for group in groups if group[0] < found.depth], (found.depth, _group(found.name), False)]
            continue
        closed = bool(groups) and groups[-1][:2] == (found.depth, found.name)
        above = [group for group in groups if group[0] < found.depth]
        result: Result = "skipped" if _DIRECTIVE.search(text) else found.result
        if not closed or (result == "failed" and not groups[-1][2]):
            yield Outcome(joined(*(group[1] for group in above), found.name), result, found.seconds)
        groups = [(depth, name, failed or result == "failed") for depth, name, failed in above]


def _mark(text: str) -> tuple[str, Result] | None:
    result = _MARKS.get(text[0])
    return (text[2:], result) if result else None


def _group(text: str) -> str:
    return timeless(text.removeprefix("▶ "))
