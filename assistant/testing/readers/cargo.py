"""`cargo test` and `cargo nextest run`. An id is `binary:source::test`, so that equal names in two binaries differ."""

from __future__ import annotations

import re
from collections.abc import Iterator

from assistant.testing.readers.outcome import Outcome, Result, seconds

_BINARY = re.compile(r"^\s+Running (?:unittests )?(\S+) \((?:.*[/\\])?([^/\\]+?)-[0-9a-f]{16}(?:\.exe)?\)$")
_DOCUMENTATION = re.compile(r"^\s+Doc-tests (\S+)$")
_BEGIN = re.compile(r"^running \d+ tests?$")
_END = re.compile(r"^(?:failures:|successes:|test result: .*)$")
_TEST = re.compile(r"^test (.+?)(?: - should panic)? \.\.\. (ok|FAILED|ignored)(?:, .*)?(?: <([\d.]+)s>)?$")
_LINE = re.compile(r" \(line \d+\)")
_NEXTEST = re.compile(
    r"^\s+(PASS|FAIL|SKIP|TIMEOUT|ABORT|SIG\w+) \[ *(?:([\d.]+)s)?\] +(?:\( *\d+/\d+\) +)?(\S+) (\S+)$"
)
_RESULTS: dict[str, Result] = {"ok": "passed", "ignored": "skipped", "PASS": "passed", "SKIP": "skipped"}


def read(output: str) -> Iterator[Outcome]:
    """Only lines between `running N tests` and the end of that list are results; others may be printed by tests."""
    binary = ""
    listing = not any(_BEGIN.match(line) for line in output.splitlines())
    for line in output.splitlines():
        if found := _BINARY.match(line):
            binary = f"{found[2]}:{found[1]}"
        elif found := _DOCUMENTATION.match(line):
            binary = f"{found[1]}:doc"
        elif _BEGIN.match(line):
            listing = True
        elif _END.match(line):
            listing = False
        elif listing and (found := _TEST.match(line)):
            name = _LINE.sub("", found[1])
            yield Outcome(f"{binary}::{name}" if binary else name, _RESULTS.get(found[2], "failed"), _time(found[3]))
        elif found := _NEXTEST.match(line):
            yield Outcome(f"{found[3]}::{found[4]}", _RESULTS.get(found[1], "failed"), _time(found[2]))


def _time(number: str | None) -> float | None:
    return seconds(number) if number else None
