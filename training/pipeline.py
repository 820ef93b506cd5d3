"""A run: its stages in their order, each going on from what the one before left, and from where it was stopped."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

from training.recipe import shown
from training.runtime.folder import OUTCOME, RunFolder, put
from training.runtime.job import Job, Outcome, Stage
from training.runtime.stopping import Stop
from training.runtime.world import World
from training.settings import TRAINS, Recipe, StageName

MODULES: Mapping[StageName, str] = {
    "distill": "training.distill",
    "coldstart": "training.coldstart",
    "rl": "training.step_srpo",
    "eval": "training.evaluate",
    "export": "training.export",
}


def stage_of(name: StageName) -> Stage:
    """The function that is a stage; its modules are imported only now."""
    run: Stage = import_module(MODULES[name]).run
    return run


@dataclass(frozen=True, slots=True)
class Way:
    """Where and how a run goes: its folder, where relative paths begin, in which processes, and who hears of it.

    `weights` are what the first stage begins with in place of the recipe's model. `find` gives the stages.
    """

    folder: RunFolder
    base: Path
    world: World
    stop: Stop
    say: Callable[[str], None] = print
    weights: Path | None = None
    find: Callable[[StageName], Stage] = stage_of


def run(recipe: Recipe, way: Way, about: Mapping[str, Any] | None) -> Outcome:
    """Run the stages that are not finished, and write the report; gives the outcome of the last stage that ran.

    `about` is what the run is made with; without it the folder is one that an earlier run began.

    Raises:
        UserError: a stage cannot use its input, or the folder holds a run of another recipe.
    """
    if way.world.main and about is not None:
        way.folder.begin(shown(recipe), about)
        way.folder.report.unlink(missing_ok=True)  # it tells of the end, and this goes on
    way.world.wait()
    last = Outcome(way.weights)
    for stage in recipe.stages:
        last = _stage(recipe, stage, way, last.weights)
        if not last.finished:
            break
        if way.world.any(way.stop.asked) and stage != recipe.stages[-1]:
            last = replace(last, finished=False, why=f"stopped behind {stage}, as asked")
            break
    if way.world.main:
        report(recipe, way.folder, last)
    return last


def finished(folder: RunFolder, stage: StageName) -> Outcome | None:
    """How a stage ended in an earlier run; None where it did not finish."""
    try:
        kept = json.loads((folder.path / stage / OUTCOME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    weights = kept.pop("weights")
    where = folder.path / weights if weights else None  # those of the run itself move with it
    return Outcome(**{**kept, "weights": where, "notes": tuple(kept["notes"])})


def forget(folder: RunFolder, stage: StageName) -> None:
    """Count a stage as not run, so that it runs again."""
    (folder.path / stage / OUTCOME).unlink(missing_ok=True)


def once_more(recipe: Recipe, folder: RunFolder, stage: StageName) -> Recipe:
    """The recipe as far as it was run, in which this stage, forgotten or added, is all that is left to do; without what
    was done with weights from before."""
    forget(folder, stage)
    order = recipe.stages if stage in recipe.stages else (*recipe.stages, stage)
    weights = trained(recipe, folder)

    def stays(each: StageName) -> bool:
        done = finished(folder, each)
        return done is not None and _holds(each, done, weights or done.weights)

    return replace(recipe, stages=tuple(each for each in order if each == stage or stays(each)))


def trained(recipe: Recipe, folder: RunFolder) -> Path | None:
    """The weights that the last finished stage left."""
    outcomes = [found for stage in recipe.stages if stage in TRAINS and (found := finished(folder, stage))]
    return next((each.weights for each in reversed(outcomes) if each.weights), None)


def report(recipe: Recipe, folder: RunFolder, last: Outcome) -> None:
    """Write the report: what each stage ended with, and the commands that serve the result."""
    put(folder.report, "\n".join(_report(recipe, folder, last)) + "\n")


def _stage(recipe: Recipe, stage: StageName, way: Way, weights: Path | None) -> Outcome:
    done = finished(way.folder, stage)
    if done is not None and _holds(stage, done, weights):
        way.say(f"{stage}: finished before")
        return replace(done, weights=done.weights or weights)
    if done is not None and way.world.main:
        forget(way.folder, stage)
    way.say(f"{stage}: begins{f' from {weights}' if weights else ''}")
    job = Job(stage, recipe, way.folder, way.world, way.base, weights, way.stop, way.say)
    outcome = way.find(stage)(job)
    if outcome.finished and way.world.main:
        _keep(way.folder, stage, outcome)
    if outcome.why:
        way.say(f"{stage}: {outcome.why}")
    return replace(outcome, weights=outcome.weights or weights)


def _holds(stage: StageName, done: Outcome, weights: Path | None) -> bool:
    """Whether what a stage ended with is of these weights: what does not train may have been run before the end."""
    return stage in TRAINS or done.weights in (None, weights)


def _keep(folder: RunFolder, stage: StageName, outcome: Outcome) -> None:
    weights = outcome.weights
    if weights and weights.is_relative_to(folder.path):
        weights = weights.relative_to(folder.path)
    kept = {**asdict(outcome), "weights": str(weights) if weights else None}
    put(folder.stage(stage) / OUTCOME, json.dumps(kept, indent=1) + "\n")


def _report(recipe: Recipe, folder: RunFolder, last: Outcome) -> Iterator[str]:
    yield f"# {recipe.name}"
    for stage in recipe.stages:
        if (found := finished(folder, stage)) is None:
            continue
        yield from ("", f"## {stage}", "")
        table = folder.path / stage / "table.md"
        if table.is_file():
            yield table.read_text(encoding="utf-8").rstrip()
        elif found.figures:
            yield from ("| figure | at last |", "|---|---:|")
            yield from (f"| {name.replace('_', ' ')} | {value + 0.0:,.5g} |" for name, value in found.figures.items())
        yield from _said(found)
    if last.why:
        yield from ("", f"The run is not finished: {last.why}.")


def _said(found: Outcome) -> Iterator[str]:
    """The notes; commands, which are indented, as they are typed."""
    for note in found.notes:
        yield from ("", f"    {note.strip()}" if note.startswith(" ") else note)
