"""`kat eval`: a directory of tasks in several thinking modes, and one run against another."""

from __future__ import annotations

import asyncio
import json
import os
import platform
import secrets
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from assistant import interrupts
from assistant.commands import fix_options as its
from assistant.commands.opening import checked_rules, engine_from, settings_from
from assistant.commands.options import Allow, DialectName, Engine, Json, MaxSteps, Model, ProfileOption, ThinkBudget
from assistant.config import Settings, state_dir
from assistant.errors import Exit, UserError
from assistant.fix.request import FixRequest
from model.format import ThinkRequest

if TYPE_CHECKING:
    from assistant.evaluation.results import Origin, Result
    from assistant.evaluation.run import Plan
    from assistant.evaluation.table import Figures
    from assistant.tasks.task import Task
    from model.engine import EngineInfo

app = typer.Typer(help="Solve tasks in several thinking modes, and compare.", rich_markup_mode=None)

_NOT_TELLING = ("engine", "think", "seed", "silence")
"""Settings that do not decide what comes of a task, or are set anew for each."""
_WIDEST = 100
"""Columns of the plot in a wide terminal; our choice."""


@app.callback(invoke_without_command=True)
def evaluate(
    context: typer.Context,
    tasks: Annotated[Path | None, typer.Option("--tasks", metavar="DIR", help="the directory of tasks")] = None,
    suite: Annotated[Literal["answers", "mutants"] | None, typer.Option("--suite", help="tasks made for you")] = None,
    source: Annotated[Path | None, typer.Option("--from", metavar="DIR", help="what mutants are made of")] = None,
    count: Annotated[int, typer.Option("--count", min=1, help="how many mutants")] = 20,
    modes: Annotated[str, typer.Option("--modes", help="of auto, on and off, with commas")] = "auto,on,off",
    repeats: Annotated[int, typer.Option("--repeats", min=1, help="how often each task is tried in a mode")] = 1,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="only so many tasks, drawn by the seed")] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="decides what is drawn")] = 0,
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="how many run at a time")] = 1,
    engine: Engine = None,
    model: Model = None,
    dialect: DialectName = None,
    profile: ProfileOption = None,
    max_steps: MaxSteps = None,
    think_budget: ThinkBudget = None,
    test_timeout: its.TestTimeout = None,
    timeout: its.Timeout = 1_800.0,
    candidates: its.Candidates = None,
    samples: its.Samples = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="results, as JSON lines")] = None,
    run: Annotated[str | None, typer.Option("--run", metavar="ID", help="go on with a run, or name a new one")] = None,
    plot: Annotated[Path | None, typer.Option("--plot", metavar="FILE", help="a PNG of accuracy by tokens")] = None,
    allow: Allow = None,
    json_: Json = False,
) -> int:
    """Run tasks in the modes asked for; results are kept as they come, and --run goes on where a run stopped."""
    if context.invoked_subcommand is not None:
        return Exit.DONE
    settings = settings_from(
        engine=engine,
        model=model,
        dialect=dialect,
        profile=profile,
        max_steps=max_steps,
        think_budget=think_budget,
    )
    rules = checked_rules(allow)
    base = FixRequest(Path(), settings, timeout=timeout, allow=rules, candidates=candidates, samples=samples)
    base = replace(base, test_timeout=test_timeout) if test_timeout else base
    wanted = _Wanted(base, _modes(modes), repeats, jobs, seed)
    found = _tasks(tasks, suite, source, count, seed, jobs)
    return _evaluated(wanted, found, limit, _Kept.of(run, out), plot, json_=json_)


@app.command()
def compare(
    first: Annotated[str, typer.Argument(metavar="A", help="a file of results, FILE:RUN, or the id of a run")],
    second: Annotated[str, typer.Argument(metavar="B", help="what to hold against it")],
    json_: Json = False,
) -> int:
    """What the second run solves that the first did not, what it no longer does, and what it costs; paired by task."""
    from assistant.evaluation.compare import COLUMNS, read_run
    from assistant.evaluation.compare import compare as compared

    found = compared(read_run(first, _folder()), read_run(second, _folder()))
    if json_:
        print(json.dumps(found.as_json()))
        return Exit.DONE
    from assistant.commands.figures import console, table

    console().print(table(f"{second} against {first}", COLUMNS, [each.row() for each in found.changes]))
    everything = found.changes[-1]
    for word, names in (("Gained", everything.gained), ("Lost", everything.lost)):
        if names:
            console().print(f"{word}: {', '.join(dict.fromkeys(names))}")
    if found.left_out:
        console().print(f"{found.left_out} tries left out: only one run has them, or they failed, or the task changed.")
    return Exit.DONE


@dataclass(frozen=True, slots=True)
class _Wanted:
    """How tasks are to be tried."""

    base: FixRequest
    modes: tuple[ThinkRequest, ...]
    repeats: int
    jobs: int
    seed: int

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self.base.settings

    def origin(self, info: EngineInfo, run: str) -> Origin:
        """What the results of this run have in common."""
        from assistant import __version__
        from assistant.evaluation.results import Origin
        from assistant.tasks.batch import settings_digest

        version = f"kat-pilot {__version__}, Python {platform.python_version()}"
        telling = {name: value for name, value in asdict(self.settings).items() if name not in _NOT_TELLING}
        limits = {name: getattr(self.base, name) for name in ("timeout", "candidates", "samples")}
        digest = settings_digest({**telling, **limits})
        begun = datetime.now(UTC).isoformat(timespec="seconds")
        return Origin(run, info.name, info.model, self.seed, version, digest, begun)


@dataclass(frozen=True, slots=True)
class _Kept:
    """The run and its file."""

    run: str
    file: Path

    @classmethod
    def of(cls, run: str | None, out: Path | None) -> _Kept:
        """A run that goes on, or a new one; without `out` in a file of its own among our state."""
        if run is not None and not all(letter.isalnum() or letter in "-_." for letter in run):
            raise UserError(f"{run!r} cannot name a run; use letters, digits, '-', '_' and '.'")
        name = run or f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"
        return cls(name, out or _folder() / f"{name}.jsonl")


def _evaluated(
    wanted: _Wanted, tasks: Sequence[Task], limit: int | None, kept: _Kept, plot: Path | None, *, json_: bool
) -> int:
    from assistant.commands.fixing import enter
    from assistant.evaluation.plot import check_plot, png, points
    from assistant.evaluation.results import ERROR
    from assistant.evaluation.run import Plan, drawn
    from assistant.evaluation.table import figures

    if plot is not None:
        check_plot()
    enter(tasks[0].folder)
    plan = Plan(drawn(tasks, limit, wanted.seed), wanted.modes, wanted.repeats, wanted.jobs)
    results = interrupts.run(_run(wanted, plan, kept))
    found = figures(results)
    if json_:
        print(json.dumps({"run": kept.run, "file": str(kept.file), **found.as_json()}))
    else:
        _show(found, results)
    if plot is not None:
        png(points(found), plot, f"{results[0].origin.model}, {len(plan.tasks)} tasks")
    return Exit.NOT_ACHIEVED if any(result.outcome.status == ERROR for result in results) else Exit.DONE


async def _run(wanted: _Wanted, plan: Plan, kept: _Kept) -> list[Result]:
    from assistant.evaluation.run import Solver
    from assistant.evaluation.run import evaluate as evaluated
    from assistant.fix.run import check_confined
    from assistant.safety.choice import sandbox_for

    sandbox = await asyncio.to_thread(sandbox_for, plan.tasks[0].folder, wanted.settings)
    check_confined(sandbox, wanted.base.allow)
    engine = await engine_from(wanted.settings)
    try:
        info = await engine.info()
        _say(f"run {kept.run} with {info.name} ({info.model}: {info.why}); results in {kept.file}")
        origin = wanted.origin(info, kept.run)
        return await evaluated(plan, origin, kept.file, Solver(engine, wanted.base, sandbox, wanted.seed), _say)
    except asyncio.CancelledError:
        _say(f"interrupted; the same command with --run {kept.run} goes on")
        raise
    finally:
        await engine.aclose()


def _tasks(
    folder: Path | None, suite: str | None, source: Path | None, count: int, seed: int, jobs: int
) -> Sequence[Task]:
    from assistant.evaluation import suites
    from assistant.tasks.task import read_tasks

    match suite:
        case "mutants" if source is not None and folder is None:
            return suites.mutants(source, _folder() / "mutants", seed=seed, count=count, jobs=jobs, say=_say)
        case "mutants":
            raise UserError("--suite mutants makes tasks of a source tree with tests; name it with --from DIR alone")
        case "answers":
            return suites.answers(folder)
        case _ if folder is not None:
            return read_tasks(folder)
    raise UserError("name the tasks with --tasks DIR, or --suite answers for those that come with the program")


def _modes(text: str) -> tuple[ThinkRequest, ...]:
    names = [name.strip() for name in text.split(",")]
    known = [mode.value for mode in ThinkRequest]
    if unknown := [name for name in names if name not in known]:
        raise UserError(f"there is no thinking mode {unknown[0]!r}; give some of {', '.join(known)}, with commas")
    return tuple(dict.fromkeys(map(ThinkRequest, names)))


def _folder() -> Path:
    """Where runs without a file of their own are kept."""
    return state_dir(os.environ) / "evaluations"


def _show(found: Figures, results: Sequence[Result]) -> None:
    from assistant.commands.figures import console, table
    from assistant.evaluation.plot import points, text_plot
    from assistant.evaluation.table import COLUMNS

    screen = console()
    title = f"{len({result.task for result in results})} tasks; tokens and seconds are means of a task"
    screen.print(table(title, COLUMNS, [mode.row() for mode in found.modes]))
    for line in _lines(found):
        screen.print(line)
    width = min(_WIDEST, shutil.get_terminal_size().columns)
    screen.print(f"\nSolved, by tokens written\n{text_plot(points(found), width)}", soft_wrap=True)


def _lines(found: Figures) -> Iterator[str]:
    if found.auto_against_on is not None:
        yield f"Auto against on, {found.auto_against_on.sentence()}"
    for mode in found.modes:
        if mode.errors:
            yield f"{mode.errors} tries with think {mode.mode} failed and count as unsolved; --run tries them again."


def _say(line: str) -> None:
    from assistant.safety.sanitize import sanitize

    print(sanitize(line), file=sys.stderr, flush=True)
