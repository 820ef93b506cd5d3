"""mocha's `spec` report, its default."""

from __future__ import annotations

import re
from collections.abc import Iterator

from assistant.testing.readers.outcome import Outcome, Result
from assistant.testing.readers.tree import read_tree

_END = re.compile(r"^ *\d+ passing \(\d+m?s\)$")
_TEST = re.compile(r"^(✔|✓|√|-|\d+\)) (.+)$")


def read(output: str) -> Iterator[Outcome]:
    """The list before `N passing`."""
    lines = output.splitlines()
    end = next((number for number, text in enumerate(lines) if _END.match(text)), 0)
    yield from read_tree([text for text in lines[:end] if text.startswith("  ")], _mark)


def _mark(text: str) -> tuple[str, Result] | None:
    if not (found := _TEST.match(text)):
        return None
    mark = found[1]
    return found[2], "skipped" if mark == "-" else "failed" if mark.endswith(")") else "passed"
