"""The loop that fits weights, the same for distillation and cold start; it reads from top to bottom."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from training.runtime.checkpoints import Checkpoints
from training.runtime.fitting import LossModel, Updates
from training.runtime.folder import rows
from training.runtime.job import Job
from training.runtime.metrics import Metrics
from training.runtime.optimizer import Optimizer, rate
from training.runtime.probing import probe
from training.runtime.progress import Progress
from training.runtime.sharding import shard
from training.runtime.watching import Watch
from training.runtime.world import World
from training.settings import Fit

Evaluate = Callable[[], Mapping[str, float]]
"""Figures on held-out data, by name."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """How it ended: `step` updates are done; where that is not all of them, `why` says so in a sentence."""

    step: int
    finished: bool = True
    why: str = ""
    figures: Mapping[str, float] = field(default_factory=dict)
    checkpoint: Path | None = None


def fit(job: Job, settings: Fit, loss: Any, updates: Updates, steps: int, evaluate: Evaluate | None = None) -> Fitted:
    """Fit the trained weights of `loss` (a module that is a `LossModel`) for `steps` updates, in place.

    A stage that has checkpoints goes on from the newest. It is saved every `settings.save` updates (0: never), at the
    end, and where it is stopped; what stops it is a signal, or a figure that `Watch` cannot let pass.

    Raises:
        UserError: memory does not suffice, or a checkpoint cannot be written or read back.
    """
    world = job.world
    loss = shard(loss, world, job.recipe.model.dtype)
    optimizer = Optimizer(loss, settings)
    checkpoints = Checkpoints(job.folder, job.stage, world, settings.keep, job.say)
    step = _begun(job, checkpoints, optimizer, updates, loss)
    watch, figures = watching(job), _last(job)
    with ExitStack() as shown:
        metrics, progress = _shown(job, steps, shown)
        while step < steps:
            figures = update(loss, next(updates), optimizer, rate(settings, step, steps), world)
            step += 1
            if evaluate and (step == steps or _due(step, settings.evaluate)):
                figures |= _evaluated(loss, evaluate)
            metrics(step, figures)
            progress(step, figures)
            why = watch.see(figures) or ""
            wrong, asked = world.max([bool(why), job.stop.asked])
            if wrong:
                return Fitted(step, False, _with_last(why, checkpoints), figures, checkpoints.last())
            if asked or step == steps or _due(step, settings.save):
                checkpoints.save(step, optimizer, updates)
            if asked and step < steps:
                why = f"stopped after update {step} of {steps}, as asked"
                return Fitted(step, False, _with_last(why, checkpoints), figures, checkpoints.last())
    return Fitted(step, True, "", figures, checkpoints.last())


def update(
    loss: LossModel, batches: Sequence[Any], optimizer: Optimizer, rate: float, world: World
) -> dict[str, float]:
    """One update over the micro-batches of all processes, weighed by what carries loss; gives its figures."""
    began = time.perf_counter()
    counts = counted(loss, batches, world)
    totals = totals_of(counts)
    parts = Counter[str]()
    for batch in batches:
        found = loss(batch.to(world.device), totals)
        (found.total * world.size).backward()  # FSDP2 takes the mean over processes, and the totals count them all
        parts.update({name: part.item() for name, part in found.parts.items()} | {"loss": found.total.item()})
    norm = optimizer.step(rate)
    (read, *sums), seconds = world.sum([_read(batches), *parts.values()]), time.perf_counter() - began
    figures = {name: value for name, value in zip(parts, sums, strict=True) if counts.get(segment(name), 1.0)}
    spent = {"seconds": seconds, "tokens_per_second": read / seconds}
    return figures | {"grad_norm": norm, "lr": rate, "tokens": totals["tokens"], **spent}


def _read(batches: Sequence[Any]) -> float:
    """The tokens of batches, prompts and padding too: what speed is counted in, as other programs do."""
    return float(sum(batch.ids.numel() for batch in batches))


def counted(loss: LossModel, batches: Sequence[Any], world: World) -> dict[str, float]:
    """The counts of all micro-batches in all processes."""
    counts = Counter[str]()
    for batch in batches:
        counts.update(loss.counts(batch))
    return dict(zip(counts, world.sum(list(counts.values())), strict=True))


def totals_of(counts: Mapping[str, float]) -> dict[str, float]:
    """What the loss of an update is divided by: the counts, at least 1."""
    return {name: max(1.0, count) for name, count in counts.items()}


def segment(name: str) -> str:
    """What the figure ``loss_think`` is a mean over, by the name of its count; without any it says nothing."""
    return name.removeprefix("loss_")


def _begun(job: Job, checkpoints: Checkpoints, optimizer: Optimizer, updates: Updates, loss: Any) -> int:
    """The step to go on from: a checkpoint's, or 0 with save and load rehearsed; either way the largest batch is tried.

    So the loss is also the first that computes: FSDP2 takes that module for the root.
    """
    loss.train()
    job.say(f"{job.stage}: the largest batch first")
    probe(loss, updates, job.world)
    optimizer.clear()
    found = checkpoints.load(optimizer, updates) if job.resume else None
    if found is None:
        job.say(f"{job.stage}: a checkpoint there and back")
        checkpoints.rehearse(optimizer, updates)
    step = found or 0
    if job.world.main:
        job.folder.forget(job.stage, step)
    if step:
        job.say(f"{job.stage}: going on behind update {step}")
    return step


def watching(job: Job) -> Watch:
    """One that knows what a resumed stage did before; only the main process has its figures, and tells the others."""
    watch = Watch()
    for row in rows(job.folder.metrics) if job.world.main else ():
        if row["stage"] == job.stage:
            watch.see({name: value for name, value in row.items() if isinstance(value, float)})
    return watch


def _last(job: Job) -> dict[str, float]:
    """The last figures that a resumed stage has, for where no update is left; none, but for the main process."""
    found = [row for row in rows(job.folder.metrics) if row["stage"] == job.stage] if job.world.main else []
    return {name: value for name, value in (found[-1] if found else {}).items() if isinstance(value, float)}


def _due(step: int, every: int) -> bool:
    """Whether it is time for what is done every so many updates; 0 is never."""
    return bool(every) and step % every == 0


def _shown(
    job: Job, steps: int, stack: ExitStack
) -> tuple[Callable[[int, Mapping[str, float]], None], Callable[[int, Mapping[str, float]], None]]:
    """Where figures go: nowhere, but for the main process."""
    if not job.world.main:
        return lambda step, figures: None, lambda step, figures: None
    metrics = stack.enter_context(Metrics.of(job.folder, job.stage, job.recipe.log))
    progress = stack.enter_context(Progress(job.stage, steps))
    return metrics.put, progress.show


def _evaluated(loss: Any, evaluate: Evaluate) -> dict[str, float]:
    loss.eval()
    try:
        return dict(evaluate())
    finally:
        loss.train()


def _with_last(why: str, checkpoints: Checkpoints) -> str:
    last = checkpoints.last()
    return f"{why}; the last good checkpoint is {last}" if last else f"{why}; no checkpoint was written before"
