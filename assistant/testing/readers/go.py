"""`go test`, plain and with `-json`. An id is `package::Test/subtest`; a package without names counts as a test."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from assistant.testing.readers.outcome import Outcome, Result, seconds

_TEST = re.compile(r"^\s*--- (PASS|FAIL|SKIP): (\S+) \(([\d.]+)s\)$")
_PACKAGE = re.compile(r"^(ok  |FAIL|---)\t(\S+)(?:\s+([\d.]+)s|\s+\(cached\)|\s+\[(?:build|setup) failed\])")
_RESULTS: dict[str, Result] = {"PASS": "passed", "SKIP": "skipped", "pass": "passed", "skip": "skipped"}
_ENDS = frozenset({"pass", "fail", "skip"})


def read(output: str) -> Iterator[Outcome]:
    """Either form; the tests of a package stand before its own line."""
    tests: list[tuple[str, str, str]] = []
    for line in output.splitlines():
        if line.startswith('{"'):
            yield from _event(line)
        elif test := _TEST.match(line):
            tests.append((test[1], test[2], test[3]))
        elif package := _PACKAGE.match(line):
            yield from _package(package[2], package[1].strip(), tests)
            tests = []
    yield from (Outcome(name, _RESULTS.get(word, "failed"), seconds(time)) for word, name, time in tests)


def _package(path: str, word: str, tests: list[tuple[str, str, str]]) -> Iterator[Outcome]:
    for result, name, time in tests:
        yield Outcome(f"{path}::{name}", _RESULTS.get(result, "failed"), seconds(time))
    if not tests or (word == "FAIL" and not any(result == "FAIL" for result, *_ in tests)):
        yield Outcome(path, "passed" if word == "ok" else "failed")


def _event(line: str) -> Iterator[Outcome]:
    try:
        event: Any = json.loads(line)
        action, package, test = event["Action"], str(event["Package"]), event.get("Test")
    except (ValueError, KeyError, TypeError):
        return
    if action in _ENDS and test:
        elapsed = event.get("Elapsed")
        time = float(elapsed) if isinstance(elapsed, int | float) else None
        yield Outcome(f"{package}::{test}", _RESULTS.get(action, "failed"), time)
    elif action == "fail":
        yield Outcome(package, "failed")
