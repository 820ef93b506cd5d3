"""How well faults are found before a model is asked: on tasks with one known mistake each, where it stands in the
ranking, beside a ranking by traceback only.

    python benchmarks/packages.py
    python benchmarks/localise.py [--tasks build/packages/tasks] [--jobs 2] [--seconds 60] [--out FILE.jsonl]

A line is hit if the mistake's line, or the first line of the statement that holds it, is among the first k. Seconds
are those of the localisation, its test run with coverage included, the first plain run of the tests left out.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from assistant.config import Settings
from assistant.fix.bench import Bench
from assistant.fix.localise import localise
from assistant.fix.localising.evidence import Evidence
from assistant.fix.localising.frames import Known, frames_of
from assistant.fix.localising.ranking import Ranking
from assistant.fix.localising.statements import statements_of
from assistant.fix.request import FixRequest
from assistant.fix.stages import Reproduction, SuspectFunction, SuspectLine
from assistant.fix.views import views
from assistant.safety.choice import sandbox_for
from assistant.tasks.task import Task, read_tasks
from assistant.workspace.files import Workspace
from assistant.workspace.tags import tags_of

ROOT = Path(__file__).resolve().parents[1]
FIRST = (1, 5, 10)
NOT_FOUND = 10**9


@dataclass(frozen=True, slots=True)
class Place:
    """Where the mistake stands in each ranking, from 1."""

    id: str
    line: int
    function: int
    traceback_line: int
    traceback_function: int
    seconds: float
    sources: tuple[str, ...]


def main() -> None:
    """Print the table, and a JSON line for each task where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=Path, default=ROOT / "build/packages/tasks")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=60.0, help="what each localisation may take")
    parser.add_argument("--out", type=Path, help="a file for one JSON line a task")
    arguments = parser.parse_args()
    places = asyncio.run(_all(read_tasks(arguments.tasks), arguments.jobs, arguments.seconds))
    if arguments.out:
        arguments.out.write_text("".join(f"{json.dumps(asdict(place))}\n" for place in places))
    _show(places)


async def _all(tasks: Sequence[Task], jobs: int, seconds: float) -> list[Place]:
    free = asyncio.Semaphore(jobs)

    async def one(task: Task) -> Place:
        async with free:
            place = await _place(task, seconds)
            print(f"{place.id:<24} line {_shown(place.line)}  function {_shown(place.function)}", flush=True)
            return place

    return await asyncio.gather(*map(one, tasks))


async def _place(task: Task, seconds: float) -> Place:
    truth = json.loads((task.folder / "truth.json").read_text("utf-8"))
    workspace, settings, command = Workspace(task.repo), Settings(), task.test or ""
    sandbox = await asyncio.to_thread(sandbox_for, workspace.root, settings)
    with views(workspace.root) as made:
        bench = Bench(FixRequest(workspace.root, settings, command), workspace, sandbox, made, command)
        report = await bench.tests()
        found = Reproduction(command, report, report.failed)
        where = await localise(bench, found, seconds=seconds)
    plain = await asyncio.to_thread(_by_traceback, workspace, found)
    lines = plain.lines(1_000)
    return Place(
        task.id,
        _line_place(where.lines, truth),
        _function_place(where.functions, truth),
        _line_place(lines, truth),
        _function_place(plain.functions(lines, 1_000), truth),
        where.seconds,
        where.sources,
    )


def _by_traceback(workspace: Workspace, found: Reproduction) -> Ranking:
    known = Known.of(workspace.list(None).paths, [found.before.place or workspace.root, workspace.root])
    frames = [frame for frame in frames_of(found.before.output, known) if not frame.of_tests]
    texts = {frame.path: workspace.read(frame.path).text for frame in frames}
    definitions = {path: tags_of(path, text).definitions for path, text in texts.items()}
    return Ranking(Evidence(frames=frames, statements=statements_of(texts), definitions=definitions))


def _line_place(lines: Iterable[SuspectLine], truth: Mapping[str, Any]) -> int:
    right = {truth["statement"], *range(truth["line"], truth["end_line"] + 1)}
    hits = (place for place, one in enumerate(lines, 1) if one.path == truth["path"] and one.line in right)
    return next(hits, NOT_FOUND)


def _function_place(functions: Iterable[SuspectFunction], truth: Mapping[str, Any]) -> int:
    hits = (
        place
        for place, one in enumerate(functions, 1)
        if one.path == truth["path"] and one.first <= truth["line"] <= one.last and one.name == truth["function"]
    )
    return next(hits, NOT_FOUND)


def _show(places: Sequence[Place]) -> None:
    print(f"\n{len(places)} tasks       " + "".join(f"{f'top-{first}':>8}" for first in FIRST))
    for name, column in (
        ("lines", [one.line for one in places]),
        ("lines, by traceback", [one.traceback_line for one in places]),
        ("functions", [one.function for one in places]),
        ("functions, by traceback", [one.traceback_function for one in places]),
    ):
        print(f"{name:<24}" + "".join(f"{sum(place <= first for place in column):>8}" for first in FIRST))
    seconds = sorted(one.seconds for one in places)
    print(f"seconds: median {statistics.median(seconds):.1f}, longest {seconds[-1]:.1f}")


def _shown(place: int) -> str:
    return f"{place:>4}" if place < NOT_FOUND else "   -"


if __name__ == "__main__":
    main()
