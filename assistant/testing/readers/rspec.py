"""rspec: its documentation format; of the progress format, the failures."""

from __future__ import annotations

import re
from collections.abc import Iterator

from assistant.testing.readers.outcome import Outcome, Result
from assistant.testing.readers.tree import read_tree

_END = re.compile(r"^(?:Failures:|Pending:.*|Finished in .*)$")
_FAILED = re.compile(r"^rspec \S+ # (.+)$", re.MULTILINE)
_TEST = "\0"
"""Marks the line of a test; no output that was made harmless holds it."""
_MARKED = re.compile(r"^(.+?) \((FAILED - \d+|PENDING: .*|ERROR - \d+)\)$")


def read(output: str) -> Iterator[Outcome]:
    """A line with nothing further in behind it is a test; names are joined as rspec joins them, by blanks."""
    lines = _tree(output)
    inner = {number for number, text in enumerate(lines) if _is_group(lines, number)}
    tests = {number for number, text in enumerate(lines) if number not in inner and text.startswith("  ")}
    marked = [f"{text}{_TEST}" if number in tests else text for number, text in enumerate(lines)]
    for outcome in read_tree(marked, lambda text: _mark(text.removesuffix(_TEST)) if text.endswith(_TEST) else None):
        yield Outcome(outcome.id.replace(" > ", " "), outcome.result)
    if not tests:
        yield from (Outcome(name, "failed") for name in _FAILED.findall(output))


def _tree(output: str) -> list[str]:
    lines = output.splitlines()
    end = next((number for number, text in enumerate(lines) if _END.match(text)), len(lines))
    return [text for text in lines[:end] if text.strip()]


def _is_group(lines: list[str], number: int) -> bool:
    if number + 1 == len(lines):
        return False
    here, following = (len(text) - len(text.lstrip()) for text in lines[number : number + 2])
    return following > here


def _mark(text: str) -> tuple[str, Result]:
    found = _MARKED.match(text)
    if not found:
        return text, "passed"
    return found[1], "skipped" if found[2].startswith("PENDING") else "failed"
