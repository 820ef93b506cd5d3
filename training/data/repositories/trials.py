"""Runs of a task's tests, before and after its solution, and what they say together."""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

from assistant.fix.changes import Changes
from assistant.testing.report import TestReport
from training.data.repositories.suites import FIRST, Suite, patience
from training.data.schema import content_id

_AGAIN, _ONCE_MORE = 6, 2
"""Times the patience that tests are given which did not end at first: those that ended where nothing is wrong, and
those of which that is to be found out; our choice."""


class Unfit(Exception):
    """A task that cannot be used: `reason` is one word, and the message one sentence."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Reference:
    """What tests do where nothing is wrong: those that pass in each run, those that do so in some, and seconds."""

    passing: frozenset[str]
    unsteady: frozenset[str]
    seconds: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """What tells a task's start from its solution; `reports` are the runs of the start."""

    fail_to_pass: tuple[str, ...]
    pass_to_pass: tuple[str, ...]
    reports: tuple[TestReport, ...]


@dataclass(slots=True)
class References:
    """The reference of a source's own files is the same for all its tasks: it is run once, and kept in `folder`."""

    folder: Path
    known: dict[str, asyncio.Task[Reference]] = field(default_factory=dict)

    async def of(self, tests: Suite, changes: Changes, runs: int, key: Sequence[str], seconds: float = 0) -> Reference:
        """The tests on the source with `changes`, `runs` times; `key` names source, revision and environment. They took
        `seconds` when the source was profiled."""
        if changes:
            return await reference(tests, changes, runs, seconds)
        name = content_id("reference", tests.bench.command, str(runs), *key)
        if name not in self.known:
            self.known[name] = asyncio.create_task(self._kept(tests, runs, self.folder / f"{name}.json", seconds))
        return await asyncio.shield(self.known[name])

    async def _kept(self, tests: Suite, runs: int, place: Path, seconds: float) -> Reference:
        if (kept := _read(place)) is not None:
            return kept
        found = await reference(tests, Changes(), runs, seconds)
        _write(place, found)
        return found


async def reference(tests: Suite, changes: Changes, runs: int, seconds: float = 0) -> Reference:
    """What tests do on the source with `changes`, each time in a fresh copy; they took `seconds` on the source once."""
    limits = [max(FIRST, patience(seconds) * times) for times in (1, _ONCE_MORE)]
    reports = [await _ended(partial(tests.run, changes, number=number), limits) for number in range(1, runs + 1)]
    passing = [frozenset(report.passed) - frozenset(report.failed) for report in reports]
    always = frozenset[str].intersection(*passing)
    if not always:
        raise Unfit("broken", reports[0].problem or "no test passes where the solution is applied")
    return Reference(always, frozenset[str]().union(*passing) - always, max(report.seconds for report in reports))


async def noticed(tests: Suite, changes: Changes, ids: Sequence[str], seconds: float) -> bool:
    """Whether any of these tests fails, or does not run any more, with `changes`."""
    report = await _ended(partial(tests.run, changes, ids=ids, first=True), _limits(seconds))
    return not set(ids) <= set(report.passed) - set(report.failed)


async def outcome(
    tests: Suite, changes: Changes, known: Reference, runs: int, *, new: Collection[str] | None
) -> Outcome:
    """What fails with `changes` and passes without, the same in each run.

    `new` are files of tests that belong to the task: those may not even be collected (None: all have to be).

    Raises:
        Unfit: nothing fails, too much does, not the same each time, or the tests do not end.
    """
    reports, fails = [], []
    for number in range(1, runs + 1):
        reports.append(await _ended(partial(tests.run, changes, number=number), _limits(known.seconds)))
        fails.append(_failing(reports[-1], known, new=new))
        if not fails[-1]:
            break
    if not all(fails) and not any(fails):
        raise Unfit("not_noticed", "no test that passes with the solution fails without it")
    if len(set(fails)) > 1:
        raise Unfit("flaky", "not the same tests fail each time")
    still = known.passing - fails[0]
    return Outcome(tuple(sorted(fails[0])), tuple(sorted(still)), tuple(reports))


def _failing(report: TestReport, known: Reference, *, new: Collection[str] | None) -> frozenset[str]:
    passed = known.passing.intersection(report.passed) - frozenset(report.failed)
    failed = known.passing.intersection(report.failed)
    gone = known.passing - passed - failed
    if gone and new is None:
        raise Unfit("broken", f"{len(gone)} tests do not run any more with the start applied")
    others = len(known.passing) - sum(name.partition("::")[0] in (new or ()) for name in gone)
    if len(passed) * 2 < others:
        raise Unfit("broken", f"only {len(passed)} of {others} tests still pass with the start applied")
    return failed | gone


def _limits(seconds: float) -> list[float]:
    """What tests may take that took `seconds` before: at first, and then, as a busy machine is no verdict."""
    return [times * patience(seconds) for times in (1, _AGAIN)]


async def _ended(run: Callable[..., Awaitable[TestReport]], limits: Sequence[float]) -> TestReport:
    """What the tests did, within one limit of seconds after the other.

    Raises:
        Unfit: they do not end.
    """
    for limit in dict.fromkeys(limits):
        if not (report := await run(seconds=limit)).timed_out:
            return report
    raise Unfit("timeout", "the tests do not end in the time that they may take")


def _read(place: Path) -> Reference | None:
    try:
        found = json.loads(place.read_text("utf-8"))
        return Reference(frozenset(found["passing"]), frozenset(found["unsteady"]), float(found["seconds"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write(place: Path, found: Reference) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({name: sorted(its) if isinstance(its, frozenset) else its for name, its in asdict(found).items()})
    with tempfile.NamedTemporaryFile("w", dir=place.parent, delete=False, encoding="utf-8") as file:
        file.write(text)
    os.replace(file.name, place)  # noqa: PTH105
