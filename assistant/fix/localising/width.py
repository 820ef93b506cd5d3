"""How many tests are run to see their lines: as many as the time allows."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from assistant.fix.bench import Bench
from assistant.fix.localising.coverage_run import run_watched
from assistant.fix.localising.spectrum import LOADING, Runs, Spectrum
from assistant.fix.stages import Reproduction
from assistant.testing.paths import is_test_file
from assistant.testing.report import TestReport
from assistant.testing.selecting import with_tests

_SLOWER = 3.0
"""How much longer tests take that are watched: 1.8 to 2.5 times on five small packages; the rest is our choice."""
_STARTING = 2.0
"""Seconds that a run takes before the first test; our choice."""
_LEAST = 1.0
_SHARE = 0.8
"""Of the time left, what a run of more than the failing tests may use: these alone come after it if it fails."""


@dataclass(frozen=True, slots=True)
class Width:
    """A command that runs some of the tests, and about how many seconds that takes, watched."""

    command: str
    seconds: float
    all_failing: bool = True


async def spectrum_of(bench: Bench, found: Reproduction, deadline: float) -> Spectrum | None:
    """The spectrum over as many tests as fit in before `deadline`, a time of `time.monotonic`; None if it has none."""
    for width in widths(found):
        left = deadline - time.monotonic()
        if left < _LEAST:
            return None
        if width.seconds > left * _SHARE:
            continue
        _, runs = await run_watched(bench, width.command, left * _SHARE, found.own_test)
        spectrum = spectrum_in(runs, found)
        if spectrum is not None:
            return spectrum
    return None


def widths(found: Reproduction) -> Iterator[Width]:
    """From all tests to the failing ones only."""
    report = found.before
    yield Width(found.command, report.seconds * _SLOWER + _STARTING)
    homes = {_home(name) for name in found.failing}
    ids = [name for name in (*report.failed, *report.passed) if name not in found.flaky]
    for names in ([name for name in ids if _home(name) in homes], found.failing):
        command = with_tests(found.command, names)
        if command is not None:
            yield Width(command, _seconds(names, report) * _SLOWER + _STARTING)


def spectrum_in(runs: Runs, found: Reproduction) -> Spectrum | None:
    """The counts of the code's lines; None if no failing test was seen to run one."""
    failing = set(found.failing) & {*runs.tests} or set(runs.failed)
    never_run = not failing and bool(found.failing)
    if never_run:  # they fail before they begin, as their modules are loaded
        failing = set(found.failing)
    passing = {*runs.tests} - failing - runs.failed - {*found.flaky, *found.before.skipped, LOADING}
    spectrum = runs.spectrum(failing, passing)
    code = {path: lines for path, lines in spectrum.lines.items() if not is_test_file(path)}
    return Spectrum(spectrum.failing, spectrum.passing, code or spectrum.lines) if spectrum.lines else None


def _seconds(names: Sequence[str], report: TestReport) -> float:
    """About how long some tests take: as long as they took, or their share of the whole."""
    times = dict(report.times)
    if times:
        return sum(times.get(name, 0.0) for name in names)
    return report.seconds * len(names) / max(1, len(report.failed) + len(report.passed))


def _home(name: str) -> str:
    path, separator, _ = name.partition("::")
    return path if separator else name.rpartition(".")[0]
