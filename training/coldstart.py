"""Cold start: supervised fine-tuning on samples whose modes were voted, one assistant turn each (KAT-V1's report, and
HiPO, arXiv 2509.23967). Intent-aware prompts are among the samples; masks are those of our renderer, so that prompts,
forced modes and turns whose call failed carry no loss."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import torch

from training.examples import IGNORED
from training.head import LossModel
from training.losses import CrossEntropy
from training.models.loading import load
from training.packing import Batch, collate, rows
from training.runtime.feeding import PackedUpdates, Stored, updates_of
from training.runtime.job import Job, Outcome
from training.runtime.loop import counted, fit, segment, totals_of
from training.runtime.reading import samples
from training.runtime.weights import keep
from training.runtime.world import World
from training.seeds import derived

HELD_OUT = 32
"""Rows of held-out samples that are looked at meanwhile; our choice."""


def run(job: Job) -> Outcome:
    """Fit the model to the samples' replies.

    Raises:
        UserError: model or samples cannot be used, or memory does not suffice.
    """
    recipe, settings, world = job.recipe, job.recipe.coldstart, job.world
    torch.manual_seed(derived(recipe.seed, "coldstart") % 2**63)
    loaded = load(recipe.model, weights=job.weights, device=world.start)
    data = samples(recipe.data, job.base, loaded.dialect, loaded.tokens)
    job.say(f"coldstart: {data.said()}")
    if world.main:
        data.write(job.folder.stage(job.stage))
    pad = loaded.tokenizer.pad_token_id or 0
    updates = PackedUpdates(data.train, settings.batch, recipe.data.row, world, recipe.seed, pad)
    steps = settings.steps or updates_of(updates.epoch, updates.count, settings.epochs)
    loss = LossModel(loaded.model, CrossEntropy(settings.chunk, settings.balance))
    held = batches_of(data.valid, recipe.data.row, world, pad)
    fitted = fit(job, settings, loss, updates, steps, (lambda: held_out(loss, held, world)) if held else None)
    if not fitted.finished:
        return Outcome(None, False, fitted.why, fitted.figures)
    weights = keep(loaded, job.folder.stage(job.stage) / "weights", world)
    return Outcome(weights, figures=fitted.figures, notes=(data.said(),))


def batches_of(examples: Stored, row: int, world: World, pad_id: int, most: int = HELD_OUT) -> list[Batch]:
    """Rows of examples as this process's batches, as many in each process: what is missing carries no loss."""
    packed = [collate([one], pad_id) for one in islice(rows(examples, row, seed=0), most)]
    blank = [replace(packed[0], targets=torch.full_like(packed[0].targets, IGNORED))] if packed else []
    packed += blank * (-len(packed) % world.size)
    return packed[world.rank :: world.size]


def held_out(loss: Any, batches: Sequence[Batch], world: World) -> Mapping[str, float]:
    """The parts of the loss on batches that are not trained on, over all processes; ``valid_`` stands before them."""
    counts = counted(loss, batches, world)
    totals = totals_of(counts)
    found = Counter[str]()
    with torch.no_grad():
        for batch in batches:
            losses = loss(batch.to(world.device), totals)
            found.update({name: float(value) for name, value in losses.parts.items()})
    summed = zip(found, world.sum(list(found.values())), strict=True)
    return {f"valid_{name}": value for name, value in summed if counts.get(segment(name), 1.0)}
