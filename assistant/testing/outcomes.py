"""Reads which tests passed, failed and were skipped from what a test runner printed, and from what it wrote."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from assistant.testing.readers import junit
from assistant.testing.readers.outcome import Outcome, Result
from assistant.testing.readers.registry import outcomes

_WEIGHT: dict[Result, int] = {"passed": 0, "skipped": 1, "failed": 2}


@dataclass(frozen=True, slots=True)
class Results:
    """Ids by what came of them, in the order in which they were read, and the seconds of those that have any."""

    passed: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    times: tuple[tuple[str, float], ...] = ()


def read_outcomes(output: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Ids that passed and that failed, by what was printed."""
    results = read_results(output)
    return results.passed, results.failed


def read_results(output: str, files: Iterable[str] = ()) -> Results:
    """What came of each test, by what was printed, or where that does not name them, by JUnit XML `files` (their text).

    Of two results of one id the worse counts: failed, skipped, passed.
    """
    written = [outcome for text in files for outcome in junit.read(text)]
    return _results([*outcomes(output, partial=not written)] or written)


def _results(found: Iterable[Outcome]) -> Results:
    worst: dict[str, Result] = {}
    times: dict[str, float] = {}
    for outcome in found:
        worst[outcome.id] = max(worst.get(outcome.id, outcome.result), outcome.result, key=_WEIGHT.__getitem__)
        if outcome.seconds is not None:
            times[outcome.id] = max(outcome.seconds, times.get(outcome.id, 0.0))

    def having(result: Result) -> tuple[str, ...]:
        return tuple(name for name, its in worst.items() if its == result)

    return Results(having("passed"), having("failed"), having("skipped"), tuple(times.items()))
