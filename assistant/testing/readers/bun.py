"""`bun test`."""

from __future__ import annotations

import re
from collections.abc import Iterator

from assistant.testing.readers.outcome import Outcome, Result, joined, seconds

_FILE = re.compile(r"^(\S+\.[cm]?[jt]sx?):$")
_TEST = re.compile(r"^(?:\((pass|fail|skip|todo)\)|([✓✗»✎])) (.+?)(?: \[([\d.]+)(ms|s)\])?$")
_RESULTS: dict[str, Result] = {"pass": "passed", "✓": "passed", "fail": "failed", "✗": "failed"}


def read(output: str) -> Iterator[Outcome]:
    """One line a test, below its file's."""
    file = ""
    for text in output.splitlines():
        if found := _FILE.match(text):
            file = found[1]
        elif found := _TEST.match(text):
            time = seconds(found[4], found[5]) if found[4] else None
            yield Outcome(joined(file, found[3]), _RESULTS.get(found[1] or found[2], "skipped"), time)
