"""CMake's ctest."""

from __future__ import annotations

import re
from collections.abc import Iterator

from assistant.testing.readers.outcome import Outcome, Result, seconds

_LINE = re.compile(
    r"^ *\d+/\d+ Test +#\d+: (.+?) \.* *(Passed|\*\*\*(?:Skipped|Not Run \(Disabled\)|[^\n]*?)) +([\d.]+) sec",
    re.MULTILINE,
)


def read(output: str) -> Iterator[Outcome]:
    """One line a test; a test whose program is missing has failed."""
    for name, word, time in _LINE.findall(output):
        yield Outcome(name, _result(word), seconds(time))


def _result(word: str) -> Result:
    if word == "Passed":
        return "passed"
    return "skipped" if word in ("***Skipped", "***Not Run (Disabled)") else "failed"
