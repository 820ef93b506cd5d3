"""`dotnet test` with the console logger at `verbosity=normal`; with less it names failures alone."""

from __future__ import annotations

import re
from collections.abc import Iterator

from assistant.testing.readers.outcome import Outcome, Result, seconds

_LINE = re.compile(
    r"^ {2}(?:[√X!] )?(Passed|Failed|Skipped) (\S[^\n]*?)(?: \[(?:< )?([\d.]+) (ms|s|m)[^\]]*\])?$", re.MULTILINE
)
_RESULTS: dict[str, Result] = {"Passed": "passed", "Skipped": "skipped"}


def read(output: str) -> Iterator[Outcome]:
    """One line a test."""
    for word, name, time, unit in _LINE.findall(output):
        yield Outcome(name, _RESULTS.get(word, "failed"), seconds(time, unit) if time else None)
