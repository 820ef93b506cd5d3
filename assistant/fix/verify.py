"""Whether an attempt holds: what failed passes, what passed still does, twice, with the tests as they were."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

from assistant.fix.bench import Bench
from assistant.fix.changes import Changes
from assistant.fix.counting import file_state
from assistant.fix.report import receipt
from assistant.fix.stages import Reproduction, Verdict
from assistant.fix.tidy import tidied
from assistant.fix.trees import fingerprint, tree_of
from assistant.testing.commands import is_test_file
from assistant.testing.report import TestReport
from assistant.testing.selecting import impacted, with_tests

_RUNS = 2
"""Runs of the whole suite that must agree."""
_LOOKS = 3
"""Runs, with the attempt and without it, that may show that a test is flaky; our choice."""
_MANY = 10
"""Tests that are lost at once from where on nobody asks whether they are flaky; our choice."""
_QUICK = 1.0
"""Seconds of a whole suite below which a part of it is not run first; our choice."""
_FIRST = 60
"""Tests that are run before all of them; our choice."""
_RUNNER_SETTINGS = frozenset({"pytest.ini", ".pytest.ini", "tox.ini", ".coveragerc"})
_RUNNERS = frozenset({"Makefile", "makefile", "GNUmakefile", "package.json", "pyproject.toml", "setup.cfg"})
_SHADOWS = frozenset({"pytest", "_pytest", "unittest", "sitecustomize", "usercustomize", "coverage", "pluggy"})
"""Modules that, in the repository's root, would take the place of what runs the tests."""


@dataclass(frozen=True, slots=True)
class Verifier:
    """Judges attempts at one repository by what was found to fail in it."""

    bench: Bench
    found: Reproduction

    async def verify(self, changes: Changes) -> Verdict:
        """The verdict on `changes`: impacted tests first, then all, twice.

        What was taken for noise is put back if it does not hold without.
        """
        whole = self.of_the_code(changes)
        if not whole:
            why = "Nothing was changed but tests." if changes else "Nothing was changed."
            return Verdict(False, why, whole)
        tidy = await asyncio.to_thread(tidied, whole)
        verdict = await self._verified(tidy)
        return verdict if verdict.fixed or tidy == whole else await self._verified(whole)

    async def _verified(self, kept: Changes) -> Verdict:
        early = await self.first_look(kept)
        if early is not None and not early.fixed:
            return early
        return await self._proven(kept)

    async def still(self, verdict: Verdict, before: str) -> Verdict:
        """The verdict, if the user's files are what they were at the fingerprint `before`; else a new one."""
        root = self.bench.workspace.root
        if await asyncio.to_thread(fingerprint, root) == before:
            return verdict
        for change in verdict.changes.changes:
            if file_state(root, change.path) != change.old:
                why = f"{change.path} was changed by somebody else meanwhile; run kat fix again."
                return replace(verdict, fixed=False, why=why)
        return await self._proven(verdict.changes)

    async def first_look(self, kept: Changes) -> Verdict | None:
        """The verdict of the impacted tests alone; None where they cannot be run apart, or all are as quick."""
        ids = impacted(self.must, self.found.before.passed, kept.files)[:_FIRST]
        command = with_tests(self.bench.command, ids)
        if command is None or self.found.before.seconds < _QUICK:
            return None
        report = await self.bench.tests(self.laid(kept), command=command)
        return self._verdict(kept, report, [name for name in self._passing if name in set(ids)])

    def of_the_code(self, changes: Changes) -> Changes:
        """What counts of an attempt: tests are put back."""
        if self.bench.request.allow_test_edits:
            return changes
        return changes.where(lambda path: not is_of_the_tests(path, self.found.before))

    def laid(self, kept: Changes) -> Changes:
        """What the tests run on and the user gets: the attempt, and the test that was written for it."""
        return kept.over(self.found.own_test)

    @property
    def must(self) -> tuple[str, ...]:
        """The tests that must pass; a flaky one can prove nothing."""
        return tuple(name for name in self.bench.request.tests or self.found.failing if name not in self.found.flaky)

    @property
    def _passing(self) -> tuple[str, ...]:
        flaky = set(self.found.flaky)
        return tuple(name for name in self.found.before.passed if name not in flaky)

    async def _proven(self, kept: Changes) -> Verdict:
        excused: set[str] = set()
        verdict = await self._run(kept, excused)
        for _ in range(_RUNS - 1):
            if not verdict.fixed:
                return verdict
            verdict = await self._run(kept, excused)
        return await self._with_receipt(verdict) if verdict.fixed else verdict

    async def _run(self, kept: Changes, excused: set[str]) -> Verdict:
        """One run of all tests; what turns out to be flaky is added to `excused`."""
        report = await self.bench.tests(self.laid(kept))
        verdict = self._verdict(kept, report, self._passing, excused)
        if not 0 < verdict.lost <= _MANY or verdict.mended < len(self.must):
            return verdict
        lost = _lost(self._passing, report, excused)
        if not await self._flaky(lost, kept):
            return verdict
        excused.update(lost)
        return self._verdict(kept, report, self._passing, excused)

    async def _with_receipt(self, verdict: Verdict) -> Verdict:
        report = verdict.after
        if report is None:
            return verdict
        laid = self.laid(verdict.changes)
        tree = await asyncio.to_thread(tree_of, self.bench.workspace.root, laid)
        return replace(verdict, receipt=receipt(report.command, report.exit_code, tree, report.output))

    async def _flaky(self, names: Sequence[str], kept: Changes) -> bool:
        """Whether each of these tests, run again, passes every time with the attempt, or fails without it too."""
        command, failed, broken = with_tests(self.bench.command, names), set[str](), set[str]()
        for _ in range(_LOOKS if command else 1):
            again = await self.bench.tests(self.laid(kept), command=command)
            without = await self.bench.tests(self.laid(Changes()), command=command)
            broken |= {name for name in names if not passes(name, again)}
            failed |= {name for name in names if not passes(name, without)}
            if broken - failed == set(names):
                break
        return broken <= failed

    def _verdict(
        self, kept: Changes, after: TestReport, passing: Sequence[str], excused: set[str] | frozenset[str] = frozenset()
    ) -> Verdict:
        lost = _lost(passing, after, excused)
        missing = [name for name in self.must if not passes(name, after)]
        why = self._objection(after, lost, missing, excused)
        mended = len(self.must) - len(missing)
        return Verdict(not why, why or self._praise(after), kept, mended, len(lost), after)

    def _objection(
        self, after: TestReport, lost: list[str], missing: list[str], excused: set[str] | frozenset[str]
    ) -> str:
        """Why this run proves nothing, or an empty string where it does."""
        if after.timed_out or not after.ran:
            return after.problem
        if lost:
            others = f" (and {len(lost) - 1} more)" if len(lost) > 1 else ""
            return f"{lost[0]} passed before and does not now{others}."
        if missing:
            return _of_missing(missing, after)
        excuse = excused | set(self.found.flaky) | (set(self.found.before.failed) - set(self.must))
        if after.exit_code != 0 and not (after.failed and set(after.failed) <= excuse):
            named = f"; {after.failed[0]} fails" if after.failed else ""
            return f"The tests still fail (exit code {after.exit_code}{named})."
        return ""

    def _praise(self, after: TestReport) -> str:
        mended = len(self.must) or "All"
        verb = "passes" if mended == 1 else "pass"
        total = f"; {len(after.passed)} pass in all, twice" if after.passed else ""
        return f"{mended} failing test{'' if mended == 1 else 's'} now {verb}{total}."


def passes(name: str, report: TestReport) -> bool:
    """Whether a test passed, or, for a file that could not be collected, tests in it did and none failed."""
    within = (f"{name}::", f"{name}.")
    if name in report.failed or any(failed.startswith(within) for failed in report.failed):
        return False
    return name in report.passed or any(passed.startswith(within) for passed in report.passed)


def is_of_the_tests(path: str, before: TestReport) -> bool:
    """Whether a change to `path` could change what is tested, and how.

    Where single tests have no names the exit code is all the proof there is, and how they are run must not change.
    """
    if is_test_file(path) or path in _RUNNER_SETTINGS:
        return True
    first = path.partition("/")[0]
    return first.removesuffix(".py") in _SHADOWS or (not before.named and path in _RUNNERS)


def _lost(passing: Sequence[str], after: TestReport, excused: set[str] | frozenset[str]) -> list[str]:
    passed = set(after.passed) | excused
    return [name for name in passing if name not in passed]


def _of_missing(missing: list[str], after: TestReport) -> str:
    failed = [name for name in missing if name in after.failed]
    if failed:
        return f"{failed[0]} still fails{f' (and {len(failed) - 1} more)' if len(failed) > 1 else ''}."
    return f"{missing[0]} failed before and was not seen to pass; it may be skipped or not collected."
