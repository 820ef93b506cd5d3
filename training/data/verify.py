"""Whether a task is one: its tests fail at the start and pass with the solution, each time, in a fresh copy."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from pathlib import Path
from typing import ClassVar

from assistant.errors import UserError
from assistant.fix.changes import Changes
from assistant.tasks.patched import changes_in_turn
from assistant.testing.paths import is_test_file
from training.data.guards import tampering
from training.data.repositories.checkouts import Sources, tree
from training.data.repositories.compiled import with_compiled
from training.data.repositories.diffs import files, path_of
from training.data.repositories.failures import digest, statement
from training.data.repositories.suites import Suite, going_on, suite
from training.data.repositories.trials import Outcome, Reference, References, Unfit, noticed, outcome
from training.data.schema import UNVERIFIED, Refused, Source, Task, Verification
from training.data.stage import Context, place

_TOLD_BY_TESTS = frozenset({"mutation", "invented"})
"""Kinds of tasks whose statement says how a test fails."""
_WORTH_IT = 2
"""Tests of a function are run first where they are less than one in so many of all; our choice."""


@dataclass(frozen=True, slots=True)
class Verify:
    """Runs each task's tests `runs` times at its start and with its solution, each time in a fresh copy.

    The tests that run the changed function come first: where none of them notices, the others need not run. Test files
    are what the task says they are, whatever a solution did to them, and flaky tests count for nothing. `sources` are
    those that the tasks were made from, or the file or folder of records that holds them. Questions, traces and what is
    marked as unverified go through as they are.
    """

    runs: int = 2
    sources: str | tuple[Source, ...] = place(())

    name: ClassVar[str] = "verify"
    version: ClassVar[int] = 1
    reads: ClassVar[type] = Task
    writes: ClassVar[type] = Task
    whole: ClassVar[bool] = False

    def __call__(self, records: Iterable[Task], context: Context) -> Iterator[Task | Refused]:
        """The tasks that hold, with their tests and the evidence, in their order; `context.jobs` are run at a time.

        Refused are `not_noticed`, `flaky`, `broken`, `timeout`, `tampered`, `does_not_apply` and `unverifiable`.
        """
        waiting, tasks = deque[asyncio.Task[Task | Refused]](), iter(records)
        with ExitStack() as stack, asyncio.Runner() as runner:
            loop = runner.get_loop()
            work = _Work(self, context, Sources(self.sources), stack)
            while True:
                for task in islice(tasks, max(1, context.jobs) - len(waiting)):
                    waiting.append(loop.create_task(work.verified(task)))
                if not waiting:
                    return
                yield runner.run(_result(waiting.popleft()))


async def _result(task: asyncio.Task[Task | Refused]) -> Task | Refused:
    return await task


@dataclass(slots=True)
class _Work:
    """What all tasks of a call share: benches and references are made once for each source."""

    stage: Verify
    context: Context
    sources: Sources
    stack: ExitStack
    suites: dict[tuple[Path, str, str], asyncio.Task[Suite]] = field(default_factory=dict)
    references: References = field(init=False)

    def __post_init__(self) -> None:
        self.references = References(self.context.cache / "references")

    async def verified(self, task: Task) -> Task | Refused:
        """The task with what was seen, or why it is none."""
        if not task.solution:
            return _untested(task)
        if task.tags.type == UNVERIFIED:
            return task
        try:
            return await self._verified(task)
        except Unfit as error:
            return Refused(task.id, error.reason, str(error))

    async def _verified(self, task: Task) -> Task:
        source = self._source(task)
        root, broken, fixed = self._states(task, source)
        command = task.test or source.test
        tests = await self._suite(root, going_on(command) if task.tests_patch else command, source.python)
        key = (source.name, task.provenance.revision or source.revision, source.environment)
        whole = await self.references.of(tests, fixed, self.stage.runs, key, source.seconds)
        known = replace(whole, passing=whole.passing - set(source.flaky), unsteady=whole.unsteady | {*source.flaky})
        _steady(task, known)
        mapped = _mapped(task, source, known)
        if mapped and not await noticed(tests, broken, mapped, known.seconds):
            raise Unfit("not_noticed", "no test that runs the changed function fails")
        new = {*map(path_of, files(task.tests_patch))} if task.kind == "commit" else None
        seen = await outcome(tests, broken, known, self.stage.runs, new=new)
        if not set(task.fail_to_pass) <= set(seen.fail_to_pass):
            raise Unfit("flaky", "tests that are said to fail at the start do not")
        return _with(task, seen, tests.bench.command, self.stage.runs, (broken, fixed))

    def _source(self, task: Task) -> Source:
        try:
            return self.sources.get(task.provenance.source)
        except UserError as error:
            raise Unfit("unverifiable", str(error)) from None

    def _states(self, task: Task, source: Source) -> tuple[Path, Changes, Changes]:
        """The source's files, and what the start and the solution make of them; tests are the start's own in both."""
        try:
            root = tree(source, task.provenance.revision, self.context.cache)
            if why := tampering.check(task, root):
                raise Unfit("tampered", why)
            broken = changes_in_turn((task.start, task.tests_patch), root)
            solved = changes_in_turn((task.start, task.solution), root)
        except UserError as error:
            raise Unfit("does_not_apply", str(error)) from None
        code = solved.where(lambda path: not is_test_file(path)).changes
        fixed = Changes.of([*code, *broken.where(is_test_file).changes])
        if fixed == broken:
            raise Unfit("does_not_apply", "the solution changes no code")
        return root, broken, fixed

    async def _suite(self, root: Path, command: str, python: str) -> Suite:
        key = root, command, python
        if not command:
            raise Unfit("unverifiable", "nothing says how its tests run; profile the source first")
        if key not in self.suites:
            tests = self.stack.enter_context(suite(root, command, python))
            self.suites[key] = asyncio.create_task(with_compiled(tests, self.context.cache))
        return await asyncio.shield(self.suites[key])


def _untested(task: Task) -> Task | Refused:
    if task.verification.by in ("execution", "construction"):
        return task
    return Refused(task.id, "unverifiable", "it has no solution that tests could be run with")


def _steady(task: Task, known: Reference) -> None:
    """A task is not one whose tests pass sometimes."""
    if unsteady := known.unsteady.intersection(task.fail_to_pass):
        raise Unfit("flaky", f"{min(unsteady)} does not pass each time")


def _mapped(task: Task, source: Source, known: Reference) -> tuple[str, ...]:
    """The tests that run the function which the task changes, if they are few and it changes the source as it is."""
    place = task.provenance.path, task.provenance.function
    if task.tests_patch or task.provenance.revision not in ("", source.revision):
        return ()
    named = (function.tests for function in source.functions if (function.path, function.name) == place)
    found = known.passing.intersection(chain.from_iterable(named))
    return tuple(sorted(found)) if len(found) * _WORTH_IT < len(known.passing) else ()


def _with(task: Task, seen: Outcome, command: str, runs: int, states: tuple[Changes, Changes]) -> Task:
    broken, fixed = states
    said = task.statement
    if task.kind in _TOLD_BY_TESTS or not said.strip():
        said = statement(task.id, seen.fail_to_pass, seen.reports, task.tags.language)
    evidence = {
        "command": command,
        "outcomes": digest(seen.reports[0]),
        "start": broken.digest,
        "solution": fixed.digest,
    }
    measures = {**task.tags.measures, "failing": float(len(seen.fail_to_pass))}
    return replace(
        task,
        statement=said,
        test=command,
        fail_to_pass=seen.fail_to_pass,
        pass_to_pass=seen.pass_to_pass,
        tags=replace(task.tags, measures=measures),
        verification=Verification("tests", runs, evidence),
    )
