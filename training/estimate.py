"""`kat train estimate`: memory and time of each stage that trains, with the arithmetic; nothing is loaded for it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from math import inf
from pathlib import Path
from typing import Any

from assistant.errors import UserError
from model.architecture import Architecture
from model.serving.hardware.gpus import gpu_type
from model.serving.hardware.memory import free_memory
from model.serving.hardware.processor import cpu_flags
from model.serving.plan import GIB
from training.estimating.memory import SIZES, Part, parts
from training.estimating.shapes import base_shape
from training.estimating.speed import Device, Pace, cpu_device, gpu_device, pace, updates
from training.estimating.weights import Weights, weights
from training.settings import TRAINS, Fit, Hardware, ModelTable, Recipe, StageName

PLAN = "packing.jsonl"
"""The packing plan beside samples (`training.data.packing_plan`, whose import takes long)."""
DEFAULT_GPU = "h100"
"""What a recipe's GPUs are taken to be where it does not say."""
ROOM = 0.92
"""The share of a device's memory that a stage may take: allocators lose some to fragments. Our choice."""


class UnknownShape(UserError):
    """Nothing is known of a model's shape before it is fetched."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What this computer has: free main memory in bytes, and what its cores can do."""

    memory: float
    cores: int
    flags: frozenset[str]


PASSING, DRAWING = ("activations", "head", "gathered"), ("cache", "decoding")
"""Parts of the memory that an update takes, and those that replies take while they are drawn: never both."""


@dataclass(frozen=True, slots=True)
class StageEstimate:
    """What one process of a stage takes: memory in bytes by part, of `room` bytes, and how fast it goes.

    `updates` is None where the stage runs over data that are not there yet.
    """

    stage: StageName
    weights: Weights
    parts: tuple[Part, ...]
    room: float
    device: Device
    pace: Pace
    updates: int | None
    processes: int

    @property
    def memory(self) -> float:
        """Bytes of one process, at the peak; replies are written before activations are kept, and not beside them."""
        return sum(part.size for part in self.parts) - min(self._of(PASSING), self._of(DRAWING))

    @property
    def draws(self) -> bool:
        """Whether it is the drawing of replies that takes most."""
        return self._of(DRAWING) > self._of(PASSING)

    def _of(self, names: tuple[str, ...]) -> float:
        return sum(part.size for part in self.parts if part.name in names)

    @property
    def fits(self) -> bool:
        """Whether there is room."""
        return self.memory <= self.room * ROOM

    @property
    def seconds(self) -> float | None:
        """The whole stage."""
        return None if self.updates is None else self.updates * self.pace.seconds

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "stage": self.stage,
            "stored": self.weights.stored,
            "trained": self.weights.trained,
            "memory_gib": round(self.memory / GIB, 2),
            "room_gib": None if self.room == inf else round(self.room / GIB, 2),
            "fits": self.fits,
            "parts_gib": {part.name: round(part.size / GIB, 3) for part in self.parts},
            "pace": asdict(self.pace),
            "tokens_per_second": round(self.pace.rate(self.processes), 1),
            "updates": self.updates,
            "seconds": self.seconds,
        }


def estimate(recipe: Recipe, base: Path, here: Machine | None = None) -> tuple[StageEstimate, ...]:
    """What each stage of a recipe takes that trains; relative places begin at `base`.

    Raises:
        UserError: the shape of the model is not known here.
    """
    shape = shape_of(recipe.model)
    device, room = _device(recipe, here or machine(recipe.hardware))
    tokens = corpus(recipe, base)
    return tuple(_stage(recipe, stage, fit, shape, (device, room, tokens)) for stage, fit in trains(recipe))


def trains(recipe: Recipe) -> Iterator[tuple[StageName, Fit]]:
    """The stages of a recipe that train, with their settings."""
    return ((stage, getattr(recipe, stage)) for stage in recipe.stages if stage in TRAINS)


def shape_of(model: ModelTable) -> Architecture:
    """The shape of the model that a recipe names.

    Raises:
        UserError: there is no such model, or its config was not fetched yet.
    """
    from model.catalog import described, resolve

    try:
        entry = described(resolve(model.source))
    except ValueError as error:
        raise UserError(f"model.source: {error}") from None
    shape = entry.architecture or base_shape(model.source)
    if shape is None:
        raise UnknownShape(f"the shape of {model.source} is not known here; name a folder that has its config.json")
    return shape


def machine(hardware: Hardware) -> Machine:
    """This computer, or the part of it that the recipe asks for."""
    free = free_memory()
    return Machine(inf if free is None else free * GIB, hardware.threads or cores(), cpu_flags())


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def corpus(recipe: Recipe, base: Path) -> int | None:
    """Tokens of the samples, from the packing plan beside them; None where there is none to read here."""
    place = base / Path(recipe.data.samples).expanduser() / PLAN
    try:
        with place.open(encoding="utf-8") as stream:
            return int(json.loads(stream.readline())["tokens"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _device(recipe: Recipe, here: Machine) -> tuple[Device, float]:
    """What computes, and the bytes of memory it has."""
    if not recipe.hardware.gpus:
        return cpu_device(here.cores, here.flags, recipe.model.dtype), here.memory
    try:
        kind = gpu_type(recipe.hardware.gpu or DEFAULT_GPU)
    except ValueError as error:
        raise UserError(f"hardware.gpu: {error}") from None
    return gpu_device(kind), kind.memory * GIB


def _teacher(recipe: Recipe, stage: StageName) -> Iterator[Part]:
    """A teacher that is loaded beside the model, if its shape is known here."""
    source, size = recipe.distill.teacher, SIZES[recipe.model.dtype]
    if stage != "distill" or not source or "://" in source or recipe.distill.drafter_only:
        return
    with suppress(UserError):
        shape = shape_of(replace(recipe.model, source=source))
        yield Part("teacher", shape.parameters * size, f"{shape.parameters / 1e9:.3g} B weights × {size} bytes")


def _stage(
    recipe: Recipe, stage: StageName, fit: Fit, shape: Architecture, found: tuple[Device, float, int | None]
) -> StageEstimate:
    device, room, tokens = found
    kept = weights(recipe, shape, stage)
    return StageEstimate(
        stage=stage,
        weights=kept,
        parts=(*parts(recipe, stage, fit, kept), *_teacher(recipe, stage)),
        room=room,
        device=device,
        pace=pace(recipe, stage, fit, kept, device),
        updates=updates(fit, tokens),
        processes=recipe.hardware.processes,
    )
