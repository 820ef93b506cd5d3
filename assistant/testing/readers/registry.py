"""All readers, and by what each knows that its runner was at work."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from assistant.testing.readers import (
    bun,
    cargo,
    ctest,
    deno,
    dotnet,
    exunit,
    go,
    gradle,
    jest,
    junit,
    mocha,
    node,
    phpunit,
    pytest,
    rspec,
    surefire,
    tap,
    unittest,
    vitest,
)
from assistant.testing.readers.outcome import Outcome, Reader

_LONGEST = 2_000
"""Characters of a line that may be a result; our choice."""


@dataclass(frozen=True, slots=True)
class Runner:
    """A test runner: `mark` matches what it always prints (beginning of a line: `^`).

    A `partial` one names some of its tests at most, and writes the others into files.
    """

    name: str
    mark: re.Pattern[str]
    read: Reader
    partial: bool = False


def _runner(name: str, mark: str, read: Reader, *, partial: bool = False) -> Runner:
    return Runner(name, re.compile(mark, re.MULTILINE), read, partial)


RUNNERS: tuple[Runner, ...] = (
    _runner("unittest", r"^(?:Ran \d+ tests?|(?:FAIL|ERROR): \w+ \()|\) \.\.\. ", unittest.read),
    _runner("go", r'^(?:[ \t]*--- (?:PASS|FAIL|SKIP): |(?:ok  |FAIL)\t\S+|\{"(?:Time|Action|ImportPath)":)', go.read),
    _runner("cargo", r"^(?:test .+ \.\.\. (?:ok|FAILED|ignored)\b| +(?:PASS|FAIL|SKIP) \[)", cargo.read),
    _runner("jest", r"^(?:Test Suites: |(?:PASS|FAIL) \S+\.[cm]?[jt]sx?)", jest.read),
    _runner("vitest", r"^ *(?:Test Files |RUN  ?v\d)", vitest.read),
    _runner("mocha", r"^ *\d+ passing \(", mocha.read),
    _runner("node", r"^ℹ tests \d+$", node.read),
    _runner("tap", r"^(?:TAP version \d+|1\.\.\d+\b)", tap.read),
    _runner("ctest", r"^ *\d+/\d+ Test +#\d+: ", ctest.read),
    _runner("surefire", r"^(?:\[\w+\] )?Tests run: \d+, Failures: ", surefire.read, partial=True),
    _runner("gradle", r"^[\w.$]+ > .+ (?:PASSED|FAILED|SKIPPED)\b", gradle.read, partial=True),
    _runner("rspec", r"^\d+ examples?, \d+ failures?", rspec.read),
    _runner("phpunit", r"^(?:PHPUnit \d|OK \(\d+ tests?|Tests: +\d+)", phpunit.read),
    _runner("dotnet", r"^ {2}(?:[√X!] )?(?:Passed|Failed|Skipped) \S", dotnet.read),
    _runner("exunit", r"^Finished in .* seconds \(.* async", exunit.read),
    _runner("deno", r"^running \d+ tests? from ", deno.read),
    _runner("bun", r"^bun test v", bun.read),
)


def outcomes(output: str, *, partial: bool = True) -> Iterator[Outcome]:
    """What each runner that was at work says; what was printed within a run of pytest is pytest's alone.

    Without `partial`, runners that do not name all of their tests are left out.
    """
    lines = "\n".join(line for line in output.split("\n") if len(line) <= _LONGEST)
    yield from pytest.read(lines)
    rest = pytest.outside(lines)
    for runner in RUNNERS:
        if runner.mark.search(rest) and (partial or not runner.partial):
            yield from runner.read(rest)
    yield from junit.read(pytest.outside(output))
