"""Whether an attempt holds: what failed passes, what passed still does, twice, with the tests as they were."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

from assistant.fix.bench import Bench
from assistant.fix.changes import Changes
from assistant.fix.counting import file_state
from assistant.fix.meddling import Guard, loaded
from assistant.fix.report import receipt
from assistant.fix.stages import Reproduction, Verdict
from assistant.fix.tidy import tidied
from assistant.fix.trees import fingerprint, tree_of
from assistant.testing.report import TestReport
from assistant.testing.selecting import impacted, with_tests

_RUNS = 2
"""Runs of the whole suite that must agree."""
_LOOKS = 3
"""Runs, with the attempt and without it, that may show that a test is flaky; our choice."""
_MANY = 10
"""Tests that are lost at once from where on nobody asks whether they are flaky; our choice."""
_QUICK = 1.0
"""Seconds of a whole suite below which the impacted tests are not run before it; our choice."""
_LEAST, _TIMES = 20.0, 4.0
"""Seconds, and whole runs before, that a part of the tests may take with an attempt; our choice."""
_FIRST = 60
"""Tests that are run before all of them; our choice."""


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
            why = "Nothing was changed but tests and how they are run." if changes else "Nothing was changed."
            return Verdict(False, why, whole)
        if not self.bench.request.allow_test_edits and (why := self._guard.objection(whole)):
            return Verdict(False, why, whole)
        tidy = await asyncio.to_thread(tidied, whole)
        verdict = await self._verified(tidy)
        return verdict if verdict.fixed or tidy == whole else await self._verified(whole)

    async def _verified(self, kept: Changes) -> Verdict:
        return await self.one_test(kept) or await self.first_look(kept) or await self._proven(kept)

    async def still(self, verdict: Verdict, before: str) -> Verdict:
        """The verdict, if the user's files are what they were at the fingerprint `before`; else a new one."""
        root = self.bench.workspace.root
        if await asyncio.to_thread(fingerprint, root) == before:
            return verdict
        for change in self.laid(verdict.changes).changes:
            if file_state(root, change.path) != change.old:
                why = f"{change.path} was changed by somebody else meanwhile; run kat fix again."
                return replace(verdict, fixed=False, why=why)
        return await self._proven(verdict.changes)

    async def one_test(self, kept: Changes) -> Verdict | None:
        """What the first test that must pass, run alone, says against an attempt; None where nothing, or it cannot be.

        Most attempts end here, at the price of one test, and so do those that never come to an end.
        """
        command = with_tests(self.bench.command, [loaded(name) for name in self.must[:1]])
        if command is None:
            return None
        report = await self.bench.tests(self.laid(kept), command=command, timeout=self._patience)
        against = report.timed_out or fails(self.must[0], report)
        return self._verdict(kept, report, ()) if against else None

    async def first_look(self, kept: Changes) -> Verdict | None:
        """What the impacted tests alone say against an attempt; None where nothing, or where they are not run apart.

        Only a test that is seen to fail speaks against it: another one may not be among those that were chosen.
        """
        ids = impacted(self.must, self.found.before.passed, kept.files)[: max(_FIRST, len(self.must))]
        command = with_tests(self.bench.command, [loaded(name) for name in ids])
        if command is None or self.found.before.seconds < _QUICK:
            return None
        report = await self.bench.tests(self.laid(kept), command=command, timeout=self._patience)
        lost = [name for name in self._passing if name in set(ids) and name in report.failed]
        verdict = self._verdict(kept, report, lost)
        if report.timed_out or any(fails(name, report) for name in self.must):
            return verdict
        return verdict if lost and (len(lost) > _MANY or await self._known_flaky(lost, kept) is None) else None

    def of_the_code(self, changes: Changes) -> Changes:
        """What counts of an attempt: tests are put back."""
        return changes if self.bench.request.allow_test_edits else self._guard.code_of(changes)

    def laid(self, kept: Changes) -> Changes:
        """What the tests run on and the user gets: the attempt, and the test that was written for it."""
        return kept.over(self.found.own_test)

    @property
    def must(self) -> tuple[str, ...]:
        """The tests that must pass: what was asked for and what failed; a flaky one can prove nothing."""
        wanted = dict.fromkeys((*self.bench.request.tests, *self.found.failing))
        return tuple(name for name in wanted if name not in self.found.flaky)

    @property
    def shows(self) -> bool:
        """Whether anything does not pass that an attempt can mend: else no run proves that it mends anything."""
        return self.found.fails or any(not passes(name, self.found.before) for name in self.must)

    @property
    def _patience(self) -> float:
        """Seconds that a part of the tests may take: an attempt that never ends must not cost a whole time limit."""
        return min(self.bench.request.test_timeout, max(_LEAST, _TIMES * self.found.before.seconds))

    @property
    def _guard(self) -> Guard:
        return Guard(self.bench.workspace.root, self.bench.command, self.found.before)

    @property
    def _passing(self) -> tuple[str, ...]:
        flaky = set(self.found.flaky)
        return tuple(name for name in self.found.before.passed if name not in flaky)

    async def _proven(self, kept: Changes) -> Verdict:
        excused, once = set[str](), set[str]()
        verdict = await self._run(kept, excused, once)
        for _ in range(_RUNS - 1):
            if not verdict.fixed:
                return verdict
            verdict = await self._run(kept, excused, once)
        return await self._with_receipt(verdict) if verdict.fixed else verdict

    async def _run(self, kept: Changes, excused: set[str], once: set[str]) -> Verdict:
        """One run of all tests.

        A test that turns out to fail without the attempt too is added to `excused`. One that passes when it is run
        again is added to `once`: it may be lost in one run, but not in two, as one is that fails behind others.
        """
        report = await self.bench.tests(self.laid(kept))
        verdict = self._verdict(kept, report, self._passing, excused)
        lost = _lost(self._passing, report, excused)
        if not 0 < len(lost) <= _MANY or verdict.mended < len(self.must) or not once.isdisjoint(lost):
            return verdict
        flaky = await self._known_flaky(lost, kept)
        if flaky is None:
            return verdict
        excused |= flaky
        once.update(name for name in lost if name not in flaky)
        return self._verdict(kept, report, self._passing, excused | {*lost})

    async def _with_receipt(self, verdict: Verdict) -> Verdict:
        report = verdict.after
        if report is None:
            return verdict
        laid = self.laid(verdict.changes)
        tree = await asyncio.to_thread(tree_of, self.bench.workspace.root, laid)
        return replace(verdict, receipt=receipt(report.command, report.exit_code, tree, report.output))

    async def _known_flaky(self, names: Sequence[str], kept: Changes) -> set[str] | None:
        """Of these tests, run again, those that fail without the attempt too; None if one fails only with it."""
        command, failed, broken = with_tests(self.bench.command, names), set[str](), set[str]()
        for _ in range(_LOOKS if command else 1):
            again = await self.bench.tests(self.laid(kept), command=command)
            without = await self.bench.tests(self.laid(Changes()), command=command)
            broken |= {name for name in names if not passes(name, again)}
            failed |= {name for name in names if not passes(name, without)}
            if broken - failed == set(names):
                break
        return failed if broken <= failed else None

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
        if broken := [name for name in after.failed if name not in excuse]:
            return f"The tests still fail (exit code {after.exit_code}; {broken[0]} fails)."
        if after.exit_code != 0 and not after.failed:
            return f"The tests still fail (exit code {after.exit_code})."
        return ""

    def _praise(self, after: TestReport) -> str:
        if not self.shows:
            return "What passed before still passes, twice."
        mended = len(self.must) or "All"
        verb = "passes" if mended == 1 else "pass"
        total = f"; {len(after.passed)} pass in all, twice" if after.passed else ""
        return f"{mended} failing test{'' if mended == 1 else 's'} now {verb}{total}."


def passes(name: str, report: TestReport) -> bool:
    """Whether a test passed, or, for a file that could not be collected, tests in it did and none failed."""
    if fails(name, report):
        return False
    return name in report.passed or any(passed.startswith(_within(name)) for passed in report.passed)


def fails(name: str, report: TestReport) -> bool:
    """Whether a test was seen to fail, or a test in a file."""
    return name in report.failed or any(failed.startswith(_within(name)) for failed in report.failed)


def _within(name: str) -> tuple[str, ...]:
    """How the ids of the tests in a file begin, by the id that the file has where it cannot be loaded."""
    return tuple(f"{loaded(name)}{separator}" for separator in ("::", ".", " > "))


def _lost(passing: Sequence[str], after: TestReport, excused: set[str] | frozenset[str]) -> list[str]:
    passed = set(after.passed) | excused
    return [name for name in passing if name not in passed]


def _of_missing(missing: list[str], after: TestReport) -> str:
    failed = [name for name in missing if fails(name, after)]
    if failed:
        return f"{failed[0]} still fails{f' (and {len(failed) - 1} more)' if len(failed) > 1 else ''}."
    return f"{missing[0]} failed before and was not seen to pass; it may be skipped or not collected."
