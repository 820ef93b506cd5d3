"""Elixir's `mix test --trace`; without it, the failures."""

from __future__ import annotations

import re
from collections.abc import Iterator

from assistant.testing.readers.outcome import Outcome, seconds

_MODULE = re.compile(r"^([A-Z][\w.]*) \[\S+\.exs\]$")
_TEST = re.compile(r"^ {2}\* (.+?) \((?:([\d.]+)ms|(excluded|skipped))\)(?: \[L#\d+\])?$")
_FAILED = re.compile(r"^ +\d+\) (.+) \(([A-Z][\w.]*)\)$", re.MULTILINE)


def read(output: str) -> Iterator[Outcome]:
    """Tests are listed alike whether they pass or fail; failures have a paragraph of their own."""
    module = ""
    for text in output.replace("\r", "\n").split("\n"):
        if found := _MODULE.match(text):
            module = found[1]
        elif found := _TEST.match(text):
            time = seconds(found[2], "ms") if found[2] else None
            yield Outcome(f"{module}.{found[1]}", "skipped" if found[3] else "passed", time)
    yield from (Outcome(f"{owner}.{name}", "failed") for name, owner in _FAILED.findall(output))
