"""`kat train run`, `resume`, and what is done again with what a run left."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from assistant import __version__
from assistant.errors import Exit, UserError
from model.serving.hardware.devices import find_machine
from training.checking import check
from training.commands.reading import Read, read
from training.estimate import StageEstimate, UnknownShape, estimate
from training.estimating.wording import lines
from training.launch import commands
from training.recipe import build, layers, literal, shown
from training.runtime.folder import RunFolder
from training.runtime.stopping import SIGNALS
from training.settings import TRAINS, Export, Recipe, StageName
from training.supply import advise, asked, expect_gpus, expect_module, expect_tasks, expect_weights, missing, supply

TOGETHER = 5.0
"""Seconds in which several signals are one, where launchers and Slurm hand it on; our choice."""
PATIENCE = 600
"""Seconds that a launcher waits for its processes to save before it ends them; our choice."""
_LOOK = 0.1
"""Seconds between two looks at a launcher."""
QUIET = {"HF_HUB_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1"}
"""What keeps libraries from calling home, set before they are imported."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be run, as the command line says it; a `single` stage goes to a folder of its own by default."""

    recipe: Path
    out: Path | None
    sets: tuple[str, ...]
    weights: Path | None
    single: StageName | None = None
    jobs: int = 2
    prepare: bool = False
    dry_run: bool = False


def start(wanted: Wanted) -> int:
    """Run a recipe, or say what would be done."""
    found = read(wanted.recipe, wanted.sets)
    name = f"{found.recipe.name}-{wanted.single}" if wanted.single else found.recipe.name
    folder = RunFolder((wanted.out or Path(name)).absolute())
    if wanted.dry_run:
        return _plan(found, folder)
    weights = _whole(wanted.weights)
    expect_weights(found.recipe.model)
    expect_module(found.recipe, weights)
    supply(found.recipe.data, found.base, _say, wanted.jobs)
    expect_tasks(found.recipe, found.base, _say)
    folder.begin(shown(found.recipe), about(found, weights))
    files = commands.write(found.recipe, folder.path, __version__)
    if wanted.prepare:
        if found.recipe.hardware.gpus and found.recipe.hardware.nodes == 1 and not find_machine().gpus:
            _say("there is no GPU here: what is prepared must be trained elsewhere")
        _say(f"{folder.path} is ready{': ' if files else ''}{', '.join(file.name for file in files)}")
        return Exit.DONE
    return _go(found, folder, weights)


def resume(run: Path) -> int:
    """Go on with the run in a folder."""
    found, kept = _kept(run)
    return _go(found, RunFolder(run.absolute()), _whole(kept.get("weights")))


def again(run: Path, stage: StageName, forms: tuple[str, ...] = ()) -> int:
    """Run a last stage once more on what the run trained; its recipe may not have had it."""
    from training.pipeline import once_more, trained

    found, kept = _kept(run)
    folder = RunFolder(run.absolute())
    weights = trained(found.recipe, folder)
    if weights is None and set(TRAINS).isdisjoint(found.recipe.stages):
        weights = _whole(kept.get("weights"))
    if weights is None:
        raise UserError(f"{run} has trained nothing yet; `kat train resume {run}` goes on with it")
    recipe = found.recipe
    if forms:
        recipe = replace(recipe, export=build(Export, {"forms": forms, "prompts": recipe.export.prompts}, "export"))
        check(replace(recipe, stages=(stage,)))
    return _here(Read(once_more(recipe, folder, stage), found.base), folder, weights, kept=False)


def about(found: Read, weights: Path | None) -> dict[str, Any]:
    """What a run is made with: versions, seed, the hashes of its data, and where its recipe lay."""
    from training.data.flow.places import content
    from training.places import place

    data = found.recipe.data
    hashes = {each: content(place(found.base, each)) for each in (data.samples, data.tasks) if each}
    return {
        "base": str(found.base),
        "weights": str(weights) if weights else None,
        "seed": found.recipe.seed,
        "data": hashes,
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """Of the program and of what computes."""
    from importlib.metadata import PackageNotFoundError, version

    found = {"kat-pilot": __version__, "python": sys.version.split()[0]}
    for name in ("torch", "transformers", "trl", "peft", "accelerate", "safetensors", "tokenizers"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _plan(found: Read, folder: RunFolder) -> int:
    """The resolved recipe, its estimates as comments, and what would be done; not achieved where it does not fit."""
    stages: tuple[StageEstimate, ...] = ()
    try:
        stages = estimate(found.recipe, found.base)
        reckoned = lines(found.recipe, stages)
    except UnknownShape as error:
        reckoned = (f"no estimate: {error}",)
    said = [*reckoned, "", *_steps(found, folder)]
    sys.stdout.write(shown(found.recipe))
    sys.stdout.write("\n" + "".join(f"# {line}".rstrip() + "\n" for line in said))
    return Exit.DONE if all(each.fits for each in stages) else Exit.NOT_ACHIEVED


def _steps(found: Read, folder: RunFolder) -> list[str]:
    recipe, where = found.recipe, found.recipe.hardware
    gone = missing(recipe.data, found.base)
    data = f"{' and '.join(gone)}: not there; " + (_made(found) if recipe.data.recipe else "MISSING")
    steps = [f"data        {data if gone else 'there'}", f"stages      {' → '.join(recipe.stages)}"]
    steps.append(f"run         {folder.path}")
    if where.processes > 1:
        words = commands.batch_words(folder.path) if where.nodes > 1 else commands.words(folder.path)
        steps.append(f"starts      {commands.shown(words)}")
    return steps


def _made(found: Read) -> str:
    """What makes the data, and which model it asks."""
    engine = asked(found.recipe.data, found.base)
    asks = f", which asks {engine}" if "://" in engine else ""
    return f"made by {found.recipe.data.recipe}{asks}"


def _go(found: Read, folder: RunFolder, weights: Path | None) -> int:
    """Run the stages here, or start the processes that do."""
    where = found.recipe.hardware
    if where.processes == 1 or commands.within():
        return _here(found, folder, weights)
    if where.nodes > 1:
        _say(f"this takes {where.nodes} nodes; hand it to Slurm: {commands.shown(commands.batch_words(folder.path))}")
        return Exit.DONE
    commands.write(found.recipe, folder.path, __version__)
    return _launched(commands.words(folder.path))


def _launched(command: Sequence[str]) -> int:
    """Run the launcher apart from the terminal, so that a signal reaches its processes once: the first asks them to
    save and leave, the second ends them."""
    environ = {**os.environ, **QUIET, "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": str(PATIENCE)}
    heard: list[int] = []
    before = {each: signal.signal(each, lambda number, _: heard.append(number)) for each in SIGNALS}
    try:
        with subprocess.Popen(command, env=environ, start_new_session=True) as launcher:
            told = 0
            while launcher.poll() is None:
                if len(heard) > told:
                    told += 1
                    launcher.terminate() if told == 1 else os.killpg(launcher.pid, signal.SIGKILL)
                time.sleep(_LOOK)
            return Exit.INTERRUPTED if heard else _exit(launcher.returncode)
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _exit(code: int) -> int:
    """The launcher's code, if it is one of ours."""
    return code if code in set(Exit) else Exit.NOT_ACHIEVED


def _here(found: Read, folder: RunFolder, weights: Path | None, *, kept: bool = True) -> int:
    """Run the stages in this process. Without `kept` the folder's own recipe stays as it is."""
    os.environ.update(QUIET)
    from training import pipeline
    from training.runtime.stopping import Stop
    from training.runtime.world import World

    _threads(found.recipe)
    world = World.here()
    if kept:
        expect_gpus(found.recipe, world.cpu)
    say = _speaking(folder) if world.main else _silent
    advise(found.recipe, world.cpu, say)
    with Stop(say, TOGETHER if world.size > 1 else 0.0) as stop:
        way = pipeline.Way(folder, found.base, world, stop, say, weights)
        outcome = pipeline.run(found.recipe, way, about(found, weights) if kept else None)
        world.leave()
    if outcome.finished:
        say(f"done; {folder.report} says what came of it")
        return Exit.DONE
    if stop.asked:
        say(f"{outcome.why}; {f'kat train resume {folder.path}' if kept else 'the same command'} goes on")
        return Exit.INTERRUPTED
    say(f"{outcome.why}; resumed, it would go the same way: {_other_way(found.recipe, folder, weights)}")
    return Exit.NOT_ACHIEVED


def _other_way(recipe: Recipe, folder: RunFolder, begun: Path | None) -> str:
    """How a run that stopped itself is gone on with under other settings, in a folder of its own."""
    from training.pipeline import finished, trained

    left = tuple(stage for stage in recipe.stages if finished(folder, stage) is None)
    words = ["kat", "train", "run", "RECIPE", "--out", f"{folder.path}-2", "--set", f"stages={literal(left)}"]
    weights = trained(recipe, folder) or begun
    words += ["--weights", str(weights)] if weights else []
    return f"change what it names, {shlex.join(words)} --set {left[0]}.KEY=VALUE"


def _kept(run: Path) -> tuple[Read, dict[str, Any]]:
    """The recipe that a run began with, and what it was made with. Raises UserError."""
    folder = RunFolder(run)
    try:
        kept = json.loads(folder.about.read_text(encoding="utf-8"))
        base = Path(kept["base"])
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"{run} is no folder of a run: it has no run.json that can be read") from None
    recipe = build(Recipe, layers(folder.recipe, (), {}))
    check(recipe)
    return Read(recipe, base), kept


def _whole(weights: Path | str | None) -> Path | None:
    if weights is None:
        return None
    path = Path(weights).expanduser().absolute()
    if not path.is_dir():
        raise UserError(f"{path} is no folder of weights or of an adapter")
    return path


def _threads(recipe: Recipe) -> None:
    if recipe.hardware.threads:
        import torch

        torch.set_num_threads(recipe.hardware.threads)


def _say(line: str) -> None:
    print(f"kat: {line}", file=sys.stderr, flush=True)


def _silent(line: str) -> None:
    """What processes say that are not the main one."""


def _speaking(folder: RunFolder) -> Callable[[str], None]:
    """Says lines to people, and to the log of the run."""

    def say(line: str) -> None:
        _say(line)
        if folder.path.is_dir():
            folder.say(line)

    return say
