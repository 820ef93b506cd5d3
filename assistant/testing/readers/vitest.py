"""vitest. Its default report of several files names only what fails; then a file counts as one test."""

from __future__ import annotations

import re
from collections.abc import Iterator

from assistant.testing.readers.outcome import Outcome, Result, joined, seconds

_LINE = re.compile(r"^ *([✓✔√×✗❯↓□]) +(?:\|([^|]+)\| +)?(\S+\.[cm]?[jt]sx?)(?: > ([^\n]+?))?(?: +(\d[\d.]*) ?(ms|s))?$")
_COUNT = re.compile(r" \((?:\d+ tests?|\d+)(?: \| [^)]*)?\)(?= |$)")
_END = re.compile(r"^ *(?:⎯+.*⎯+|Test Files .*)$")
_PRINTED = re.compile(r"^std(?:out|err) \| .*\n(?:.+\n)*", re.MULTILINE)
"""What a test printed, up to a blank line."""
_RESULTS: dict[str, Result] = {"✓": "passed", "✔": "passed", "√": "passed", "↓": "skipped", "□": "skipped"}


def read(output: str) -> Iterator[Outcome]:
    """Files by their own lines, unless tests are named together with their files (`--reporter=verbose`)."""
    files: list[Outcome] = []
    tests: list[Outcome] = []
    for text in _PRINTED.sub("", output).splitlines():
        if _END.match(text):
            break
        if found := _LINE.match(_COUNT.sub("", text).rstrip()):
            name = joined(found[2] or "", found[3], found[4] or "")
            time = seconds(found[5], found[6]) if found[5] else None
            (tests if found[4] else files).append(Outcome(name, _RESULTS.get(found[1], "failed"), time))
    yield from tests or files
