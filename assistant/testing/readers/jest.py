"""jest. Without `--verbose` it names only what fails; then a file counts as one test."""

from __future__ import annotations

import re
from collections.abc import Iterator

from assistant.testing.readers.outcome import Outcome, Result
from assistant.testing.readers.tree import marked, read_tree

_FILE = re.compile(r"^(PASS|FAIL) (?:(\S+) )??(\S+\.[cm]?[jt]sx?)(?: \([\d.]+ m?s(?:,[^)]*)?\))?$")
_END = re.compile(r"^(?:Test Suites|Tests|Snapshots|Time|Ran all test suites).*|^Summary of all failing tests$")
_MESSAGE = re.compile(r"^ *● |^  console\.")
_MARKS: dict[str, Result] = {"✓": "passed", "✕": "failed", "○": "skipped", "✎": "skipped", "√": "passed", "×": "failed"}
_MARK = marked(_MARKS)


def read(output: str) -> Iterator[Outcome]:
    """Block by block, each of one file; what follows `●` is a message."""
    for word, path, lines in _blocks(output):
        tests = [*read_tree(lines, _skipping, path)]
        yield from tests or (Outcome(path, "passed" if word == "PASS" else "failed"),)


def _skipping(text: str) -> tuple[str, Result] | None:
    found = _MARK(text)
    return (re.sub(r"^(?:skipped|todo) ", "", found[0]), found[1]) if found and found[1] == "skipped" else found


def _blocks(output: str) -> Iterator[tuple[str, str, list[str]]]:
    block: tuple[str, str, list[str]] | None = None
    listing = False
    for text in output.splitlines():
        head, end = _FILE.match(text), _END.match(text)
        if (head or end) and block:
            yield block
            block = None
        if end and text.startswith("Summary"):
            return
        if head:
            block, listing = (head[1], head[3], []), True
        elif _MESSAGE.match(text) or end:
            listing = False
        elif block and listing:
            block[2].append(text)
    if block:
        yield block
