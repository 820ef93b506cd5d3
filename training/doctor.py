"""`kat train doctor`: what this machine brings to training, proven by using it, and what would help."""

from __future__ import annotations

import ctypes.util
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from math import inf
from pathlib import Path

from assistant.doctor.finding import Finding
from assistant.errors import UserError
from model.serving.hardware.devices import find_machine
from model.serving.hardware.gpus import gpu_type
from model.serving.hardware.processor import UNITS, cpu_flags
from model.serving.plan import GIB, Gpu
from training.estimate import DEFAULT_GPU, StageEstimate, cores, estimate
from training.places import place
from training.settings import Hardware, Recipe
from training.supply import HELD, asked, held

NEEDED = ("torch", "transformers", "peft", "accelerate", "safetensors", "pyarrow", "trl", "datasets")
ALLOCATORS = ("tcmalloc_minimal", "tcmalloc", "jemalloc")
"""Preloaded, tcmalloc doubled the speed of a whole training loop on two cores; jemalloc does the same work."""
_ALIKE = 0.95
"""The share of a type's memory that a GPU must have to count as such; drivers keep some. Our choice."""
BUSY = 0.5
"""Other work, as a share of all cores, from which on threads get into each other's way; our choice."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a run would go: its folder, the recipe if there is one, and where its relative paths begin."""

    folder: Path
    recipe: Recipe | None = None
    base: Path = Path()


def findings(
    where: Place,
    environ: Mapping[str, str] = os.environ,
    update: Callable[[], Iterator[Finding]] | None = None,
) -> Iterator[Finding]:
    """All findings, what is quick first; `update` tries a tiny update, by default with torch."""
    yield packages()
    yield from processor(environ)
    yield gpus()
    yield writable(where.folder)
    yield telemetry(environ)
    if where.recipe:
        yield from of_recipe(where.recipe, where.base, where.folder)
    if update or find_spec("torch"):
        yield from (update or _tiny)()


def packages(there: Callable[[str], object] = find_spec) -> Finding:
    """Whether what trains is installed."""
    gone = [name for name in NEEDED if there(name) is None]
    if gone:
        return Finding("packages", False, f"missing: {', '.join(gone)}", "pip install 'kat-pilot[train]'")
    return Finding("packages", True, "all there")


def processor(environ: Mapping[str, str]) -> Iterator[Finding]:
    """Cores, their units for bf16, who else uses them, and the allocator."""
    count, busy = cores(), os.getloadavg()[0]
    others = f"{count} cores, load {busy:.1f}"
    crowded = busy > BUSY * count
    advice = "set hardware.threads = 1: two threads that wait for others were 3 to 6 times slower than one"
    yield Finding("cores", None if crowded else True, others, advice if crowded else None)
    units = sorted(cpu_flags() & set(UNITS))
    slow = 'set model.dtype = "float32" for runs without a GPU; bf16 is emulated here'
    yield Finding("bf16", True if units else None, ", ".join(units) or "no units for it", None if units else slow)
    yield allocator(environ)


def allocator(environ: Mapping[str, str], find: Callable[[str], str | None] = ctypes.util.find_library) -> Finding:
    """Whether a fast allocator is preloaded; it counts on CPUs only."""
    loaded = environ.get("LD_PRELOAD", "")
    if any(name in loaded for name in ("tcmalloc", "jemalloc")):
        return Finding("allocator", True, loaded)
    there = next((found for name in ALLOCATORS if (found := find(name))), None)
    how = f"begin commands with LD_PRELOAD={there}" if there else "install libtcmalloc-minimal4, then ask again"
    return Finding("allocator", None, "the system's; large tensors are given back and asked for again", how)


def gpus() -> Finding:
    """The GPUs."""
    machine = find_machine()
    if not machine.gpus:
        return Finding("GPU", None, f"{machine.source}; runs are small ones")
    names = ", ".join(f"{gpu.name} ({gpu.memory:.0f} GiB)" for gpu in machine.gpus)
    return Finding("GPU", True, names)


def writable(folder: Path) -> Finding:
    """Whether the folder of the run can be written, and how much room there is."""
    above = next(each for each in (folder, *folder.parents) if each.exists())
    try:
        with tempfile.NamedTemporaryFile(dir=above):
            pass
    except OSError as error:
        return Finding("folder", False, f"{above} cannot be written: {error.strerror}", "name another with --out")
    return Finding("folder", True, f"{folder}, {shutil.disk_usage(above).free / GIB:.0f} GiB free")


def telemetry(environ: Mapping[str, str]) -> Finding:
    """Whether libraries call home: not from our commands."""
    words = "off: our commands set HF_HUB_DISABLE_TELEMETRY and DO_NOT_TRACK before anything is imported"
    return Finding("telemetry", True, "off" if environ.get("HF_HUB_DISABLE_TELEMETRY") else words)


def of_recipe(recipe: Recipe, base: Path, folder: Path) -> Iterator[Finding]:
    """What a recipe needs: data, memory, room on the disk."""
    yield from data(recipe, base)
    try:
        stages = estimate(recipe, base)
    except UserError as error:
        yield Finding("estimate", False, str(error))
        return
    if recipe.hardware.gpus:
        yield wanted_gpus(recipe.hardware, find_machine().gpus)
    yield from map(_memory, stages)
    yield _room(recipe, stages, folder)


def wanted_gpus(wanted: Hardware, here: Sequence[Gpu]) -> Finding:
    """Whether a node that is like this machine has the GPUs that a recipe is reckoned for."""
    least = gpu_type(wanted.gpu or DEFAULT_GPU)
    enough = [gpu for gpu in here if gpu.memory >= _ALIKE * least.memory]
    words = f"{wanted.gpus} with {least.memory:.0f} GiB wanted, {len(enough)} of {len(here)} here are such"
    if len(enough) >= wanted.gpus:
        most = max(map(held, enough), default=0.0)
        if most > HELD:
            others = f"{words}; others hold {most:.0f} GiB of one"
            return Finding("GPUs of the recipe", None, others, "end them first: `kat serve stop` ends a teacher")
        return Finding("GPUs of the recipe", True, words)
    ok = None if wanted.nodes > 1 else False  # a cluster is asked from a machine that has none
    return Finding("GPUs of the recipe", ok, words, "set hardware.gpus and hardware.gpu to what runs it, or gpus = 0")


def data(recipe: Recipe, base: Path) -> Iterator[Finding]:
    """Whether samples and tasks are there."""
    from training.data.flow.places import content

    makes = ""
    if recipe.data.recipe:
        asks = asked(recipe.data, base)
        makes = f"the recipe {recipe.data.recipe} makes them first" + (
            f"; {asks} must answer then" if "://" in asks else ""
        )
    for name, where in (("samples", recipe.data.samples), ("tasks", recipe.data.tasks)):
        if not where:
            continue
        if content(place(base, where)):
            yield Finding(name, True, where)
        else:
            advice = makes or "make them with `kat train data`, or set data.recipe"
            yield Finding(name, None if makes else False, f"{where} is not there (seen from {base})", advice)


def _memory(stage: StageEstimate) -> Finding:
    room = "an unknown amount" if stage.room == inf else f"{stage.room / GIB:.1f} GiB"
    words = f"about {stage.memory / GIB:.1f} GiB of {room} for each process"
    return Finding(f"memory of {stage.stage}", stage.fits, words, None if stage.fits else "kat train estimate says why")


def _room(recipe: Recipe, stages: tuple[StageEstimate, ...], folder: Path) -> Finding:
    """Each checkpoint has masters and two moments of what is trained; whole weights are kept per stage."""
    keep = max((recipe.distill.keep, recipe.coldstart.keep, recipe.rl.keep))
    size = sum((keep + 1) * 12 * each.weights.trained + 2 * each.weights.trained for each in stages)
    above = next(each for each in (folder, *folder.parents) if each.exists())
    free = shutil.disk_usage(above).free
    words = f"checkpoints take about {size / GIB:.1f} of {free / GIB:.0f} GiB"
    return Finding("disk", size < free, words, None if size < free else "lower keep, or name another folder")


def _tiny() -> Iterator[Finding]:
    from training.tiny_update import tried

    return tried()
