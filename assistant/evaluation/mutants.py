"""Tasks made from any Python source tree with tests: one small mistake in one place, which the tests notice."""

from __future__ import annotations

import ast
import asyncio
import json
import random
import re
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from assistant import interrupts
from assistant.config import Settings
from assistant.errors import UserError
from assistant.evaluation.mutation import Mutant, lines_of, mutants
from assistant.fix.bench import Bench
from assistant.fix.changes import Change, Changes, FileState
from assistant.fix.localising.coverage_run import run_watched
from assistant.fix.request import FixRequest
from assistant.tasks.task import SKIPPED, Task, write_task
from assistant.testing.commands import find_test_command
from assistant.testing.paths import is_test_file
from assistant.testing.report import TestReport
from assistant.workspace.files import Workspace

TRUTH = "truth.json"
"""The file, beside `task.toml`, that says what the mistake is; nobody who solves the task may see it."""
_TASK_SECONDS = 600.0
_PATIENCE = 4.0
"""How many times as long as before the tests may take with a mistake, and in seconds beside that; our choice."""
_TRIES = 30
"""How many mistakes are tried for each task that is wanted; our choice."""
_DULL = 50
"""Mistakes in a row that no test notices, after which a function may have one more that is; our choice."""
_WINDOW = 4
"""Mistakes that are tried before any of them is taken; the same for every number of jobs, and our choice."""
_LEFT_OUT = (*SKIPPED, ".hg", ".venv", "venv", "node_modules", ".tox", ".nox", ".hypothesis", "*.pyc")


@dataclass(frozen=True, slots=True)
class TaskMade:
    """A task in `folder`, and what its mistake is: `line` to `end_line` (1-based) of `path` as the task has it.

    `statement` is the first line of the innermost statement that holds `line`, `function` a qualified name, `original`
    the lines that stood there and `mutated` those that do now; `patch` leads from the task's files to the right ones.
    """

    id: str
    folder: Path
    path: str
    function: str
    operator: str
    line: int
    end_line: int
    statement: int
    original: tuple[str, ...]
    mutated: tuple[str, ...]
    tests: tuple[str, ...]
    patch: str


def build_tasks(
    source: Path,
    out: Path,
    *,
    seed: int,
    count: int,
    test: str | None = None,
    jobs: int = 1,
    watch: Callable[[TaskMade], None] = lambda _: None,
) -> list[TaskMade]:
    """Write up to `count` tasks made from the source tree `source` into folders of `out`; fewer if no more are found.

    `test` is the command that runs its tests (None: it is looked for); `jobs` run at a time. The same seed makes the
    same tasks from the same files, however many jobs there are. `watch` is told of each task.

    Raises:
        UserError: there are no tests, they fail, or no Python code is run by them.
    """
    source = source.resolve()
    return interrupts.run(_build(source, Order(out.resolve(), source.name, seed, count, jobs), test, watch))


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be made: `count` tasks in `out`, whose ids begin with `name`."""

    out: Path
    name: str
    seed: int
    count: int
    jobs: int = 1


async def _build(source: Path, order: Order, test: str | None, watch: Callable[[TaskMade], None]) -> list[TaskMade]:
    made = []
    async with _bench(source, test) as bench:
        async for task in make_tasks(bench, order):
            watch(task)
            made.append(task)
    return made


@asynccontextmanager
async def _bench(source: Path, test: str | None) -> AsyncIterator[Bench]:
    from assistant.fix.views import views
    from assistant.safety.choice import sandbox_for

    workspace, settings = Workspace(source), Settings()
    command = test or await asyncio.to_thread(find_test_command, workspace)
    if command is None:
        raise UserError(f"no tests were found in {source}; say how they run with --test COMMAND")
    sandbox = await asyncio.to_thread(sandbox_for, source, settings)
    with views(source) as layers:
        yield Bench(FixRequest(source, settings, command), workspace, sandbox, layers, command)


async def make_tasks(bench: Bench, order: Order) -> AsyncIterator[TaskMade]:
    """The tasks, each of them as soon as it is written.

    Raises:
        UserError: there are no tests, they fail, or no Python code is run by them.
    """
    base = await _baseline(bench)
    chosen, lanes = _Chosen(order.count), asyncio.Semaphore(order.jobs)

    async def noticed(candidate: Candidate) -> tuple[str, ...]:
        async with lanes:
            return await _noticed(bench, base, candidate)

    for window in _windows(_candidates(bench.workspace.root, base, order.seed), chosen):
        found = await asyncio.gather(*map(noticed, window))
        for candidate, tests in zip(window, found, strict=True):
            if chosen.takes(candidate, tests):
                yield await asyncio.to_thread(_write, bench, order, chosen.number, candidate, tests)


@dataclass(frozen=True, slots=True)
class _Baseline:
    """What the tests are without a mistake: those that pass, the lines they run by file, and seconds."""

    passed: frozenset[str]
    lines: Mapping[str, frozenset[int]]
    seconds: float


@dataclass(frozen=True, slots=True)
class Candidate:
    """A mutant of a file."""

    path: str
    source: str
    mutant: Mutant

    @property
    def function(self) -> tuple[str, str]:
        """Which function of which file it changes."""
        return self.path, self.mutant.function

    def changes(self) -> Changes:
        """What makes it."""
        old, new = (FileState(text.encode()) for text in (self.source, self.mutant.text))
        return Changes.of([Change(self.path, old, new)])

    def mended(self) -> Changes:
        """What takes it back."""
        return Changes.of(replace(change, old=change.new, new=change.old) for change in self.changes().changes)


@dataclass(slots=True)
class _Chosen:
    """Which candidates become tasks: one of a function, so that tasks are not alike, or more where others are rare."""

    count: int
    taken: Counter[tuple[str, str]] = field(default_factory=Counter)
    most: int = 1
    dull: int = 0
    tried: int = 0

    @property
    def number(self) -> int:
        """How many there are."""
        return self.taken.total()

    @property
    def full(self) -> bool:
        """Whether no more are wanted, or enough was tried."""
        return self.number >= self.count or self.tried >= self.count * _TRIES

    def wants(self, candidate: Candidate) -> bool:
        """Whether this one could be taken."""
        return self.number < self.count and self.taken[candidate.function] < self.most

    def takes(self, candidate: Candidate, tests: Collection[str]) -> bool:
        """Whether this one is taken; `tests` are those that notice it."""
        self.tried += 1
        if not tests or not self.wants(candidate):
            self.dull += not tests
            self.most, self.dull = (self.most + 1, 0) if self.dull >= _DULL else (self.most, self.dull)
            return False
        self.taken[candidate.function] += 1
        self.dull = 0
        return True


async def _baseline(bench: Bench) -> _Baseline:
    limit = bench.request.test_timeout
    watched, runs = await run_watched(bench, bench.command, limit)
    report = await bench.tests()
    for each in (report, watched):
        if not each.ran or each.timed_out or not each.passed:
            raise UserError(f"the tests of {bench.workspace.root} do not run: {each.problem or 'none passes'}")
    passed = frozenset(report.passed) & frozenset(watched.passed)
    lines = runs.lines_of(passed)
    if not any(lines.values()):
        raise UserError(f"the tests of {bench.workspace.root} run no Python code of it that could be changed")
    return _Baseline(passed, lines, report.seconds)


def _candidates(root: Path, base: _Baseline, seed: int) -> Iterator[Candidate]:
    """Mutants of all files in turn, the longer run the oftener."""
    order = random.Random(seed)  # noqa: S311 - a seeded order, no secret
    paths = sorted(path for path, lines in base.lines.items() if lines and path.endswith(".py"))
    open_ = {path: _mutants(root, path, base.lines[path], seed) for path in paths if not is_test_file(path)}
    while open_:
        (path,) = order.choices([*open_], [len(base.lines[path]) for path in open_])
        candidate = next(open_[path], None)
        if candidate is None:
            del open_[path]
        else:
            yield candidate


def _mutants(root: Path, path: str, lines: frozenset[int], seed: int) -> Iterator[Candidate]:
    try:
        source = (root / path).read_bytes().decode()
    except (OSError, UnicodeDecodeError):
        return
    for mutant in mutants(source, seed=seed, lines=lines):
        yield Candidate(path, source, mutant)


def _windows(candidates: Iterator[Candidate], chosen: _Chosen) -> Iterator[list[Candidate]]:
    """A few at a time that could be taken; those that could not come again at the end, when functions may have more."""
    later: list[Candidate] = []
    while not chosen.full:
        window = list(islice(_wanted(candidates, chosen, later), _WINDOW))
        if window:
            yield window
        elif later:
            candidates, later, chosen.most = iter(later), [], chosen.most + 1
        else:
            return


def _wanted(candidates: Iterator[Candidate], chosen: _Chosen, later: list[Candidate]) -> Iterator[Candidate]:
    for candidate in candidates:
        if chosen.wants(candidate):
            yield candidate
        else:
            later.append(candidate)


async def _noticed(bench: Bench, base: _Baseline, candidate: Candidate) -> tuple[str, ...]:
    """The tests that fail with this mistake, the same in two runs; none if it is no good for a task."""
    limit = base.seconds * _PATIENCE + _PATIENCE
    first = _failing(base, await bench.tests(candidate.changes(), timeout=limit))
    if not first:
        return ()
    second = _failing(base, await bench.tests(candidate.changes(), timeout=limit))
    return first if first == second else ()


def _failing(base: _Baseline, report: TestReport) -> tuple[str, ...]:
    """What passed and fails; none if anything that passed is not there any more, or if less than half still passes."""
    if not report.ran or report.timed_out:
        return ()
    still, failed = base.passed.intersection(report.passed), base.passed.intersection(report.failed)
    if still | failed != base.passed or len(still) * 2 < len(base.passed):
        return ()
    return tuple(sorted(failed))


def _write(bench: Bench, order: Order, number: int, candidate: Candidate, tests: tuple[str, ...]) -> TaskMade:
    name = f"{re.sub(r'[^A-Za-z0-9.]+', '-', order.name).strip('-.') or 'task'}-{order.seed}-{number:02}"
    folder = order.out / name
    try:
        shutil.rmtree(folder, ignore_errors=True)
        ignored = shutil.ignore_patterns(*_LEFT_OUT)
        shutil.copytree(bench.workspace.root, folder / "repo", symlinks=True, ignore=ignored)
        (folder / "repo" / candidate.path).write_bytes(candidate.mutant.text.encode())
        made = _made(name, folder, candidate, tests)
        (folder / TRUTH).write_text(json.dumps(_truth(made, order.seed), indent=1) + "\n", "utf-8")
    except OSError as error:
        raise UserError(f"the task {folder} cannot be written: {error.strerror}") from None
    task = Task(name, folder, "fix", bench.command, _TASK_SECONDS, tests=tests, language="python")
    write_task(task)
    return made


def _made(name: str, folder: Path, candidate: Candidate, tests: tuple[str, ...]) -> TaskMade:
    mutant = candidate.mutant
    return TaskMade(
        id=name,
        folder=folder,
        path=candidate.path,
        function=mutant.function,
        operator=mutant.operator,
        line=mutant.line,
        end_line=mutant.end_line,
        statement=_statement(mutant.text, mutant.line),
        original=mutant.original,
        mutated=tuple(lines_of(mutant.text)[mutant.line - 1 : mutant.end_line]),
        tests=tests,
        patch=candidate.mended().patch(),
    )


def _truth(made: TaskMade, seed: int) -> dict[str, Any]:
    return {key: value for key, value in asdict(made).items() if key != "folder"} | {"seed": seed}


def _statement(source: str, line: int) -> int:
    """Where the innermost statement begins that holds a line, by its own lines and not those of what it holds."""
    nodes: Sequence[ast.stmt] = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.stmt)]
    return max((node.lineno for node in nodes if node.lineno <= line <= (node.end_lineno or line)), default=line)
