"""phpunit and pest: `--testdox`; without it, the failures."""

from __future__ import annotations

import re
from collections.abc import Iterator

from assistant.testing.readers.outcome import Outcome, Result, joined
from assistant.testing.readers.tree import timeless

_CLASS = re.compile(r"^(?:\S.* \(([\w\\]+)\)| *(?:PASS|FAIL|WARN) +([\w\\]+))$")
_TEST = re.compile(r"^ +([✔✘↩∅☢⚠✓⨯-]) (.+)$")
_FAILED = re.compile(r"^\d+\) ([\w\\]+::\S+(?: with data set [^\n]+)?)$", re.MULTILINE)
_RESULTS: dict[str, Result] = {
    "✔": "passed",
    "✓": "passed",
    "⚠": "passed",
    "↩": "skipped",
    "∅": "skipped",
    "-": "skipped",
}


def read(output: str) -> Iterator[Outcome]:
    """Either form."""
    owner, named = "", False
    for text in output.splitlines():
        if found := _CLASS.match(text):
            owner = found[1] or found[2]
        elif owner and (found := _TEST.match(text)):
            named = True
            yield Outcome(joined(owner, timeless(found[2])), _RESULTS.get(found[1], "failed"))
    if not named:
        yield from (Outcome(name, "failed") for name in _FAILED.findall(output))
