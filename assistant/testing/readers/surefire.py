"""Maven's surefire and failsafe on the console, which names failures and classes: a class counts as one test."""

from __future__ import annotations

import re
from collections.abc import Iterator

from assistant.testing.readers.outcome import Outcome, seconds

_CLASS = re.compile(
    r"^(?:\[\w+\] )?Tests run: (\d+), Failures: (\d+), Errors: (\d+), Skipped: (\d+), "
    r"Time elapsed: ([\d.,]+) s(?:ec)?(?: <<< \w+!)? -+ in ([\w.$]+)$",
    re.MULTILINE,
)
_OLD = re.compile(
    r"^Running ([\w.$]+)\nTests run: (\d+), Failures: (\d+), Errors: (\d+), Skipped: (\d+), Time elapsed: ([\d.,]+) sec"
    r"(?: <<< \w+!)?$",
    re.MULTILINE,
)


def read(output: str) -> Iterator[Outcome]:
    """A class has failed if one of its tests has, and is skipped if all are."""
    for run, failures, errors, skipped, time, name in _CLASS.findall(output):
        yield _class(name, run, failures, errors, skipped, time)
    for name, run, failures, errors, skipped, time in _OLD.findall(output):
        yield _class(name, run, failures, errors, skipped, time)


def _class(name: str, run: str, failures: str, errors: str, skipped: str, time: str) -> Outcome:
    took = seconds(time.replace(",", ""))
    if int(failures) + int(errors):
        return Outcome(name, "failed", took)
    return Outcome(name, "skipped" if int(skipped) == int(run) else "passed", took)
