"""What is wrong with a recipe beyond its keys and types, said before anything runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from assistant.errors import UserError
from training.models.lora import RANKS
from training.settings import Fit, Recipe, StageName

_LEAST = {"keep": 1, "chunk": 1, "steps": 0, "save": 0, "evaluate": 0, "warmup": 0}
"""Settings of every stage that trains, and the least that each may be; 0 saves and looks at the end alone."""


def check(recipe: Recipe) -> None:
    """Look at a recipe as a whole. Raises UserError with the first thing that cannot be."""
    for problem in _problems(recipe):
        raise UserError(problem)


def _problems(recipe: Recipe) -> Iterator[str]:
    if not recipe.stages:
        yield 'the recipe names no stages; write stages = ["coldstart", "export"]'
    twice = [stage for stage, count in Counter(recipe.stages).items() if count > 1]
    if twice:
        yield f"the stage {twice[0]} stands twice; run a second recipe on the first one's result"
    if recipe.seed < 0:
        yield f"seed cannot be {recipe.seed}: it is a whole number from 0 on"
    yield from _model(recipe)
    yield from _hardware(recipe)
    yield from _fits(recipe)
    for stage in recipe.stages:
        if isinstance(fit := getattr(recipe, stage), Fit):
            yield from _numbers(stage, fit)
    if "rl" in recipe.stages:
        yield from _rl(recipe)


def _model(recipe: Recipe) -> Iterator[str]:
    if recipe.rl.rows < 1:  # of every stage that draws replies
        yield f"rl.rows cannot be {recipe.rl.rows}: it is a whole number from 1 on"
    lora, mtp = recipe.model.lora, recipe.model.mtp
    if lora and lora.rank not in RANKS:
        yield f"model.lora.rank cannot be {lora.rank}: vLLM takes {', '.join(map(str, RANKS))}"
    if lora and recipe.model.expand and recipe.model.expand.layers:
        yield "model.lora and model.expand exclude each other; leave one out"
    if mtp and mtp.depth < 1:
        yield f"model.mtp.depth cannot be {mtp.depth}: it is a whole number from 1 on"
    if "distill" in recipe.stages and recipe.distill.drafter_only and mtp is None:
        yield "distill.drafter_only fits a module that the model does not have; give the recipe [model.mtp]"
    if lora is None and (bad := [form for form in recipe.export.forms if form in ("adapter", "gguf")]):
        yield f"export.forms has {bad[0]}, and the recipe trains whole weights; give it [model.lora], or set merged"
    if "drafter" in recipe.export.forms and mtp is None:
        yield "a drafter cannot be exported without [model.mtp]; add it, or take drafter out of export.forms"


def _fits(recipe: Recipe) -> Iterator[str]:
    row, processes = recipe.data.row, recipe.hardware.processes
    if row < 2:
        yield f"data.row cannot be {row}: a row holds two tokens at least"
    for stage in ("distill", "coldstart"):
        fit = getattr(recipe, stage)
        if stage in recipe.stages and fit.batch < row * processes:
            least = f"{row} tokens × {processes} processes" if processes > 1 else f"one row, {row} tokens"
            yield f"{stage}.batch is {fit.batch}, less than {least}; raise it, or lower data.row"
    if "rl" in recipe.stages and recipe.rl.group < 2:
        yield "rl.group must be 2 at least: rewards are compared within a group"
    if "rl" in recipe.stages and recipe.rl.paired and recipe.rl.group < 4:
        yield f"rl.group is {recipe.rl.group}, too small for rl.paired, which forces each mode once in 4; set it to 4"
    if "rl" in recipe.stages and recipe.rl.engine != "local" and recipe.rl.temperature != 1:
        yield "rl.temperature must be 1 with a server, whose log-probabilities are those at 1; leave it out"
    if "rl" in recipe.stages and recipe.rl.engine != "local" and recipe.model.lora is None:
        yield 'a server takes adapters only; give the recipe [model.lora], or set rl.engine = "local"'
    if "rl" in recipe.stages and not recipe.data.tasks:
        yield "rl needs tasks; set data.tasks to a folder of `kat train data`"
    if {"distill", "coldstart"} & set(recipe.stages) and not recipe.data.samples:
        yield "the recipe names no samples; set data.samples to a folder of `kat train data`"


def _numbers(stage: StageName, fit: Fit) -> Iterator[str]:
    for name, least in _LEAST.items():
        if (value := getattr(fit, name)) < least:
            yield f"{stage}.{name} cannot be {value}: it is a whole number from {least} on"
    for name in ("lr", "epochs"):
        if not getattr(fit, name) > 0:
            yield f"{stage}.{name} cannot be {getattr(fit, name)}: it is more than 0"


def _rl(recipe: Recipe) -> Iterator[str]:
    rl, processes = recipe.rl, recipe.hardware.processes
    if rl.prompts < 1 or rl.prompts % processes:
        yield f"rl.prompts cannot be {rl.prompts}: make it a multiple of {processes}, as many as there are processes"
    if rl.save < 1:
        yield f"rl.save cannot be {rl.save}: it is a whole number from 1 on"
    if rl.judge + rl.think >= rl.tokens:
        yield f"rl.judge and rl.think leave nothing of rl.tokens = {rl.tokens} for an answer; lower them"
    if rl.episodes > 0 and not recipe.data.sources:
        yield "rl.episodes need the sources of their tasks; set data.sources to where they were profiled"
    if rl.episodes > 0 and rl.engine == "local" and processes > 1:
        yield f"{processes} processes cannot draw rl.episodes in step; set rl.engine to a server, or rl.episodes to 0"


def _hardware(recipe: Recipe) -> Iterator[str]:
    where = recipe.hardware
    if where.gpus < 0 or where.nodes < 1 or where.threads < 0:
        yield "hardware cannot have less than no GPUs, one node or no threads"
    if where.serving and (where.nodes > 1 or where.serving >= where.gpus):
        yield "hardware.serving takes some GPUs of a single node, and leaves one to train; give it another number"
    if where.serving and not recipe.rl.engine.startswith("http"):
        yield 'hardware.serving needs rl.engine = "http://127.0.0.1:8000", where those GPUs will answer'
