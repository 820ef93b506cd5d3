"""Gradle's console: failures, and the others where the build's `testLogging` says so."""

from __future__ import annotations

import re
from collections.abc import Iterator

from assistant.testing.readers.outcome import Outcome, Result

_LINE = re.compile(r"^([\w.$]+ > [^\n]+?)(?:\(\))? (PASSED|FAILED|SKIPPED)(?: \([\d.]+m?s\))?$", re.MULTILINE)
_RESULTS: dict[str, Result] = {"PASSED": "passed", "SKIPPED": "skipped"}


def read(output: str) -> Iterator[Outcome]:
    """One line a test: `Class > test PASSED`."""
    for name, word in _LINE.findall(output):
        yield Outcome(".".join(name.split(" > ")), _RESULTS.get(word, "failed"))
