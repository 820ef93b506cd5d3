"""A run of an evaluation: every task in every mode, as often as asked, its results kept as they come."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from assistant.config import Settings
from assistant.errors import RefusedError, UserError
from assistant.evaluation.results import ERROR, Origin, Outcome, Result, latest, modes_of, read_results
from assistant.fix.report import FixReport
from assistant.fix.request import FixRequest
from assistant.safety.sandbox import Sandbox
from assistant.tasks.batch import OF_ONE_TASK
from assistant.tasks.several import several
from assistant.tasks.storing import append_line
from assistant.tasks.task import Task
from model.engine import Engine
from model.format import ThinkRequest


@dataclass(frozen=True, slots=True)
class Try:
    """One task in one mode, for the `repeat`-th time from 0."""

    task: Task
    mode: ThinkRequest
    repeat: int

    @property
    def key(self) -> tuple[str, str, int]:
        """As that of its result."""
        return self.task.id, self.mode.value, self.repeat


@dataclass(frozen=True, slots=True)
class Plan:
    """What to try: all modes of a task stand together, so that what is compared meets the same machine."""

    tasks: Sequence[Task]
    modes: Sequence[ThinkRequest]
    repeats: int = 1
    jobs: int = 1

    def tries(self) -> Iterator[Try]:
        """All of them, in order."""
        for repeat in range(self.repeats):
            for task in self.tasks:
                for mode in self.modes:
                    yield Try(task, mode, repeat)


@dataclass(frozen=True, slots=True)
class Solver:
    """Tries tasks on one engine, which stays open. `base` are the options of `kat fix`; of its settings think mode and
    seed are set anew for every try.
    """

    engine: Engine
    base: FixRequest
    sandbox: Sandbox
    seed: int = 0

    async def __call__(self, one: Try) -> Outcome:
        """What comes of one try.

        Raises:
            UserError, EngineError: it could not be tried.
        """
        settings = replace(self.base.settings, think=one.mode, seed=self.seed + one.repeat)
        match one.task.kind:
            case "fix":
                return await self._fixed(one.task, settings)
            case "answer":
                from assistant.evaluation.answers import answer_task

                return await answer_task(one.task, one.mode, self.engine, settings, self.sandbox)

    async def _fixed(self, task: Task, settings: Settings) -> Outcome:
        from assistant.tasks.fixing import fix_task
        from model.lent import Lent

        async def lent() -> Engine:
            return Lent(self.engine)

        return _outcome(await fix_task(task, replace(self.base, settings=settings), lent))


async def evaluate(
    plan: Plan,
    origin: Origin,
    file: Path,
    solve: Callable[[Try], Awaitable[Outcome]],
    say: Callable[[str], None] = lambda _: None,
) -> list[Result]:
    """Try what `file` has no result of yet for this run and these tasks, and return the results of the whole run.

    Each is on the disk when its line is said. An error of one task is its result; it is tried again the next time.

    Raises:
        EngineUnreachable, RefusedError: there is no going on, for any task.
        UserError: the run in `file` was made with something else, or the file cannot be read or written.
    """
    digests = await asyncio.to_thread(lambda: {task.id: task.digest for task in plan.tasks})
    kept = _kept(file, origin)
    tries = list(plan.tries())
    found = {one.key: kept[one.key] for one in tries if _stands(kept.get(one.key), digests[one.task.id])}
    todo = [one for one in tries if one.key not in found]

    async def work(one: Try) -> None:
        outcome = await _tried(one, solve)
        result = Result(origin, one.task.id, one.task.kind, digests[one.task.id], one.mode, one.repeat, outcome)
        await asyncio.to_thread(append_line, file, result.as_json())
        found[one.key] = result
        say(_line(len(found), len(tries), result))

    if len(todo) < len(tries):
        say(f"{len(tries) - len(todo)} of {len(tries)} tries are in {file} already")
    await several(todo, work, plan.jobs)
    return [found[one.key] for one in tries]


def drawn(tasks: Sequence[Task], limit: int | None, seed: int) -> list[Task]:
    """`limit` of the tasks, by the seed alone, in their order; all where there are not more."""
    if limit is None or limit >= len(tasks):
        return list(tasks)
    chosen = set(random.Random(seed).sample([task.id for task in tasks], limit))  # noqa: S311
    return [task for task in tasks if task.id in chosen]


def _kept(file: Path, origin: Origin) -> dict[tuple[str, str, int], Result]:
    results = [result for result in read_results(file) if result.origin.run == origin.run]
    for result in results:
        other = result.origin
        if (other.model, other.seed, other.settings) != (origin.model, origin.seed, origin.settings):
            raise UserError(
                f"run {origin.run} in {file} was made with other settings (model {other.model}, seed {other.seed}); "
                "go on with those, or name another run"
            )
    return {result.key: result for result in latest(results)}


def _stands(result: Result | None, digest: str) -> bool:
    return result is not None and result.digest == digest and result.outcome.status != ERROR


async def _tried(one: Try, solve: Callable[[Try], Awaitable[Outcome]]) -> Outcome:
    try:
        return await solve(one)
    except RefusedError:
        raise
    except OF_ONE_TASK as error:
        return Outcome(False, ERROR, " ".join(str(error).split()))


def _outcome(report: FixReport) -> Outcome:
    steps, thought = modes_of(report.steps)
    solved = report.status == "fixed"
    return Outcome(solved, report.status, report.message, report.tokens, report.seconds, steps, thought)


def _line(number: int, total: int, result: Result) -> str:
    outcome = result.outcome
    took = f"{outcome.seconds:.1f} s, {outcome.tokens.written:,} tokens"
    said = f" {outcome.message}" if outcome.message else ""
    return f"[{number}/{total}] {result.task} think {result.mode}: {outcome.status} ({took}){said}"
