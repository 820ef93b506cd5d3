"""Finds out what fails, every time; for an issue that no test shows, has a test written that does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from assistant.errors import UserError
from assistant.fix.bench import Bench
from assistant.fix.changes import Changes
from assistant.fix.stages import Attempt, Reproduction
from assistant.records import StepRecord, Tokens
from assistant.testing.paths import is_test_file
from assistant.testing.report import TestReport
from assistant.testing.selecting import is_piped, with_tests

_AGAIN = 2
"""Times that what failed is run again; our choice."""
_SHARE = 0.25
"""The part of all time that whole suites may take which are run again; our choice."""
_UNLOADED = "unittest.loader._FailedTest"
_ATTEMPTS = 2
"""Times that the agent may write a test; our choice."""


class WriteTest(Protocol):
    """Has a failing test written; `hint` says what was wrong with the one before."""

    async def __call__(self, hint: str = "") -> Attempt:
        """The attempt; only its test files count."""
        ...


async def reproduce(
    bench: Bench, write_test: WriteTest | None = None, note: Callable[[str], None] = lambda _: None
) -> Reproduction:
    """Run the tests, and what failed again. `note` gets a sentence for the user where something could not be done.

    Where no test fails by name, nothing is flaky and `before.exit_code` is not 0, the exit code is all that fails.

    Raises:
        UserError: the tests did not run, or not in time.
        EngineError: `write_test` needed an engine that does not answer.
    """
    before = await bench.tests()
    if not before.ran:
        raise UserError(f"{before.problem} (say how they run with --test COMMAND, how long with --test-timeout)")
    if not before.named and before.exit_code == 0 and is_piped(bench.command):
        raise UserError(
            "the test command's pipe hides both its exit code and the names of the tests; leave the pipe out"
        )
    found = await _Sieve(bench, before, note).sift()
    if write_test is None or found.fails:
        return found
    return await _Issue(bench, found, write_test, note).shown()


@dataclass(slots=True)
class _Sieve:
    """Tells what fails every time from what only failed once."""

    bench: Bench
    before: TestReport
    note: Callable[[str], None]
    flaky: set[str] = field(default_factory=set)

    async def sift(self) -> Reproduction:
        """What fails, by name or by exit code."""
        if not self.before.failed:
            return await self._by_exit_code()
        failing = list(self.before.failed)
        for _ in range(_AGAIN):
            failing = await self._again(failing)
        return Reproduction(self.bench.command, self.before, self._asked_for(failing), tuple(sorted(self.flaky)))

    async def _by_exit_code(self) -> Reproduction:
        """Without a name that failed, a run that ends well once says that nothing fails for certain."""
        for _ in range(_AGAIN if self.before.exit_code else 0):
            again = await self._whole()
            if again is not None and again.ok:
                return Reproduction(self.bench.command, again)
        return Reproduction(self.bench.command, self.before)

    async def _again(self, failing: Sequence[str]) -> list[str]:
        """Those that fail again: alone, or else among all the others, since some fail only behind others."""
        alone = await self._selected(failing)
        unsure = [name for name in failing if alone is None or name not in alone.failed]
        if not unsure:
            return list(failing)
        whole = await self._whole()
        if whole is None:
            return list(failing) if alone is None else self._without(failing, unsure)
        self.flaky |= {name for name in self.before.passed if name in whole.failed}
        return self._without(failing, [name for name in unsure if name not in whole.failed])

    def _without(self, failing: Sequence[str], flaky: Sequence[str]) -> list[str]:
        self.flaky.update(flaky)
        return [name for name in failing if name not in self.flaky]

    async def _selected(self, names: Sequence[str]) -> TestReport | None:
        """A run of these tests; None where they cannot be run apart, or the run told nothing."""
        command = with_tests(self.bench.command, names)
        report = await self.bench.tests(command=command) if command else None
        return report if report is not None and report.ran and report.named else None

    async def _whole(self) -> TestReport | None:
        """A run of all tests; None where there is no time for one, or it did not end."""
        if self.before.seconds > _SHARE * self.bench.request.timeout / _AGAIN:
            self.note(f"The tests take {self.before.seconds:.0f} seconds: not run again to find flaky ones.")
            return None
        report = await self.bench.tests()
        return report if report.ran else None

    def _asked_for(self, failing: Sequence[str]) -> tuple[str, ...]:
        """Of what fails, what somebody asked for; all where none of that fails."""
        asked = [name for name in failing if name in self.bench.request.tests]
        return tuple(asked or failing)


@dataclass(slots=True)
class _Issue:
    """Has a test written that shows the issue, and sees that it does."""

    bench: Bench
    found: Reproduction
    write_test: WriteTest
    note: Callable[[str], None]
    steps: tuple[StepRecord, ...] = ()
    tokens: Tokens = field(default_factory=Tokens)

    async def shown(self) -> Reproduction:
        """What fails with the new test; as before where none was written that shows anything."""
        hint = ""
        for _ in range(_ATTEMPTS):
            attempt = await self.write_test(hint)
            self.steps, self.tokens = self.steps + attempt.steps, self.tokens + attempt.tokens
            tests = attempt.changes.where(is_test_file)
            found, hint = await self._tried(tests)
            if found is not None:
                return replace(found, steps=self.steps, tokens=self.tokens)
        self.note("No test that shows the issue could be written; nothing proves a fix but the tests there are.")
        return replace(self.found, steps=self.steps, tokens=self.tokens)

    async def _tried(self, tests: Changes) -> tuple[Reproduction | None, str]:
        """What fails with these tests every time, or what to tell who wrote them."""
        if not tests:
            return None, "No test was written. Add a test to a test file that fails because of the issue."
        reports = [await self.bench.tests(tests) for _ in range(_AGAIN)]
        failing = [name for name in reports[0].failed if all(name in report.failed for report in reports)]
        by_exit_code = not reports[0].named and all(report.ran and report.exit_code for report in reports)
        hint = self._objection(tests, reports, failing) if not by_exit_code else ""
        if hint:
            return None, hint
        return replace(self.found, before=reports[0], failing=tuple(failing), own_test=tests), ""

    def _objection(self, tests: Changes, reports: Sequence[TestReport], failing: Sequence[str]) -> str:
        """Why these tests do not show the issue, or an empty string where they do."""
        if stopped := next((report.problem for report in reports if not report.ran), ""):
            return f"With the test that was written the tests do not run: {stopped}"
        if broken := [name for name in failing if name in tests.files or _UNLOADED in name]:
            return f"{broken[0]}, which was written, cannot be loaded; the test must run, and fail by an assertion."
        known = set(self.found.flaky)
        lost = [name for name in self.found.before.passed if name not in (*reports[0].passed, *known)]
        if lost:
            return (
                f"{lost[0]} passed before and does not with the test that was written; leave other tests as they are."
            )
        return "" if failing else "The test that was written does not fail; it must fail because of the issue."
