"""Estimates in lines that people read, with the arithmetic."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import inf

from model.serving.plan import GIB
from training.estimate import DRAWING, PASSING, ROOM, StageEstimate
from training.estimating.marks import MARKS
from training.settings import Recipe

_MIB = 2**20


def lines(recipe: Recipe, estimates: Sequence[StageEstimate]) -> tuple[str, ...]:
    """Everything that was reckoned, a line each; estimates of one process where there are several."""
    return tuple(_lines(recipe, estimates))


def duration(seconds: float) -> str:
    """A time that was estimated: two digits are all that count."""
    for size, unit in ((86_400, "days"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.2g} {unit}" if seconds < 100 * size else f"{seconds / size:,.0f} {unit}"
    return f"{seconds:.2g} s" if seconds < 100 else f"{seconds:.0f} s"


def _lines(recipe: Recipe, estimates: Sequence[StageEstimate]) -> Iterator[str]:
    where = recipe.hardware
    if estimates:
        spread = f" × {where.processes} processes" if where.processes > 1 else ""
        yield f"{'hardware':12}{estimates[0].device.words}{spread}"
        shape = estimates[0].weights.shape
        yield f"{'model':12}{recipe.model.source}: {shape.parameters / 1e9:.3g} B weights in {shape.layers} layers"
    for each in estimates:
        yield ""
        yield from _stage(each)
    known = [each.seconds for each in estimates if each.seconds is not None]
    if len(known) > 1:
        yield from ("", f"{'together':12}{duration(sum(known))}")


def _stage(found: StageEstimate) -> Iterator[str]:
    yield f"{found.stage}: trains {found.weights.words}"
    for part in found.parts:
        yield f"  {part.name:12}{_size(part.size):>10}  {part.words}"
    room = "" if found.room == inf else f" of {_size(found.room)} × {ROOM:g}{'' if found.fits else ': TOO MUCH'}"
    names = {part.name for part in found.parts}
    passing, drawing = (", ".join(name for name in each if name in names) for each in (PASSING, DRAWING))
    or_cache = f"; of {passing} and of {drawing} the larger" if drawing else ""
    yield f"  {'memory':12}{_size(found.memory):>10}{room}; estimated{or_cache}"
    yield from _pace(found)
    for mark in MARKS:
        if found.stage in mark.stages:
            yield f"  {'elsewhere':12}{mark.line}"
    if not found.fits:
        draws = "a smaller rl.rows, a LoRA with rollouts on a server" if found.draws else "model.checkpointing = true"
        yield f"  {'instead':12}{draws}, a smaller data.row, a LoRA, or more processes"


def _pace(found: StageEstimate) -> Iterator[str]:
    pace, spread = found.pace, f" × {found.processes}" if found.processes > 1 else ""
    work = f"{pace.tokens:,} tokens × {pace.operations / 1e9:.3g} GFLOP"
    reached = f"{found.device.flops / 1e12:.3g} TFLOP/s{spread}"
    rest = f" + {duration(pace.rollout)} of rollouts" if pace.rollout else ""
    yield f"  {'an update':12}{duration(pace.seconds):>10}  {work} / {reached}{rest} ({pace.passes} passes)"
    yield f"  {'speed':12}{pace.rate(found.processes):>10,.0f}  tokens/s of each process"
    if found.seconds is None:
        yield f"  {'all':12}{'':>10}  one epoch of data that are not there yet; steps = N bounds it"
    else:
        yield f"  {'all':12}{duration(found.seconds):>10}  {found.updates:,} updates"


def _size(size: float) -> str:
    return f"{size / GIB:.1f} GiB" if size >= GIB else f"{size / _MIB:.0f} MiB"
