"""How a model will run on a machine: precision, GPUs, context; by arithmetic that is shown, or why it does not fit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import floor

from model.architecture import Architecture
from model.catalog import CATALOG, CatalogEntry
from model.serving.fitting import footprint, wording
from model.serving.fitting.footprint import KV_BYTES, Split
from model.serving.fitting.main_memory import on_main_memory
from model.serving.fitting.proposals import proposals
from model.serving.fitting.trial import Trial
from model.serving.plan import GIB, DoesNotFit, Gpu, Machine, Plan, Runner, Wish

USEFUL = 16_384
"""Tokens of context under which an agent's work is not worth starting: prompt, map, a few files; our choice."""
WORTH_A_GPU = 8 * GIB
"""Bytes of weights from which on another GPU speeds a copy up more than their talking costs; our choice."""
STEP = 1_024
"""Contexts are multiples of this, for people to read."""


_ANYTHING = Wish()


def plan(
    entry: CatalogEntry, machine: Machine, wish: Wish = _ANYTHING, architecture: Architecture | None = None
) -> Plan:
    """The best way to run a model on a machine; `architecture` replaces what the entry says.

    Raises:
        DoesNotFit: with the arithmetic and what would fit.
        ValueError: the wish contradicts itself or the model; one sentence.
    """
    entry = entry if architecture is None else replace(entry, architecture=architecture)
    checked(entry, wish)
    _enough(machine, wish)
    if found := fitting(entry, machine, wish):
        return found
    tried = list(_tried(entry, machine, wish))
    message, lines = wording.refusal(entry, machine, wish, tried, _needed(entry, wish))
    raise DoesNotFit(message, lines, proposals(entry, machine, wish, fitting))


def fitting(entry: CatalogEntry, machine: Machine, wish: Wish) -> Plan | None:
    """As `plan`, or None."""
    packed = entry.quantization == "gguf" and wish.runner is not Runner.VLLM
    if packed or wish.runner in (Runner.LLAMA, Runner.VLLM_CPU) or not machine.gpus:
        return on_main_memory(entry, machine, wish, _needed(entry, wish))
    return next((_planned(trial, wish) for trial in _tried(entry, machine, wish) if trial.fits), None)


def checked(entry: CatalogEntry, wish: Wish) -> None:
    """Whether the wish makes sense for the model. Raises ValueError."""
    for name in ("users", "data_parallel", "context", "tensor_parallel", "pipeline_parallel"):
        value = getattr(wish, name)
        if value is not None and value < 1:
            raise ValueError(f"{name.replace('_', ' ')} is {value}; give at least 1")
    if wish.context and wish.context > entry.context and "context" not in entry.assumed:
        raise ValueError(f"{entry.name} reads {entry.context:,} tokens at most; ask for a context up to that")
    kinds = [name for name, size in KV_BYTES.items() if size <= 2]
    if wish.kv_dtype and wish.kv_dtype not in kinds:
        raise ValueError(f"no KV cache type {wish.kv_dtype!r}; there are {', '.join(kinds)}")
    if wish.quantization and wish.quantization not in ("none", *footprint.BITS):
        raise ValueError(f"no quantization {wish.quantization!r}; there are none, {', '.join(footprint.BITS)}")
    if not 0 < wish.memory_share <= 1:
        raise ValueError(f"the share of memory is {wish.memory_share:g}; give a number above 0 and up to 1")
    if problem := _split_problem(entry, wish):
        raise ValueError(f"{entry.name} cannot run over {wish.tensor_parallel} GPUs: {problem}")


def _split_problem(entry: CatalogEntry, wish: Wish) -> str:
    if entry.architecture is None or wish.tensor_parallel is None:
        return ""
    return footprint.split_problem(entry.architecture, wish.tensor_parallel, wish.quantization or entry.quantization)


def _enough(machine: Machine, wish: Wish) -> None:
    asked = (wish.tensor_parallel or 1) * (wish.pipeline_parallel or 1) * wish.data_parallel
    there = len(machine.gpus) * machine.nodes
    if machine.gpus and asked > there:
        raise ValueError(f"{asked} GPUs are asked for and there are {there}; ask for fewer")


def _tried(entry: CatalogEntry, machine: Machine, wish: Wish) -> Iterator[Trial]:
    """All ways worth trying, best first; of each precision the split that suits it best."""
    if not machine.gpus:
        return
    for build, quantization in _builds(entry, machine, wish):
        for kv_dtype in _kv_types(machine, wish):
            if trials := list(_split(build, machine, wish, quantization, kv_dtype)):
                yield _preferred(trials)


def _preferred(trials: list[Trial]) -> Trial:
    """Of those that fit, the widest that is worth its GPUs, else the narrowest; if none fits, the roomiest."""
    fits = [trial for trial in trials if trial.fits]
    worth = [trial for trial in fits if trial.weights >= WORTH_A_GPU and trial.split.pipeline == 1]
    return worth[-1] if worth else fits[0] if fits else max(trials, key=lambda trial: trial.left)


def _split(
    entry: CatalogEntry, machine: Machine, wish: Wish, quantization: str | None, kv_dtype: str
) -> Iterator[Trial]:
    shape = entry.architecture
    if shape is None:
        return
    gpu = min(machine.gpus, key=lambda each: each.memory if each.free is None else min(each.memory, each.free))
    most = len(machine.gpus) * machine.nodes // wish.data_parallel
    tensors = [wish.tensor_parallel] if wish.tensor_parallel else _tensors(shape, machine, quantization)
    stages = [wish.pipeline_parallel] if wish.pipeline_parallel else list(range(1, machine.nodes + 1))
    for split in (Split(tensor, pipeline) for pipeline in stages for tensor in tensors):
        if split.gpus > most or split.pipeline > shape.layers:
            continue
        batch = footprint.batch_of(gpu)
        beside = footprint.overhead(shape, batch, split, len(wish.adapters), wish.users)
        weights = footprint.weight_share(shape, quantization, split)
        share, needed = _share(gpu, wish), _needed(entry, wish)
        yield Trial(entry, shape, machine, gpu, batch, share, quantization, kv_dtype, split, weights, beside, needed)


def _tensors(shape: Architecture, machine: Machine, quantization: str | None) -> list[int]:
    return footprint.splits(shape, len(machine.gpus), quantization)


def _builds(entry: CatalogEntry, machine: Machine, wish: Wish) -> Iterator[tuple[CatalogEntry, str | None]]:
    """The model's builds and their precisions, best first: 16 bits, fp8 while loading, then packed sisters."""
    if entry.quantization == "gguf":
        yield from [(entry, None)] if wish.runner is Runner.VLLM else []
        return
    if entry.quantization is not None:
        wished = wish.quantization in (None, entry.quantization)
        yield from [(entry, entry.quantization)] if wished else []
        return
    wanted = "bf16" if wish.quantization == "none" else wish.quantization
    if wanted in (None, "bf16"):
        yield entry, None
    if wanted == "fp8" or (wanted is None and all(gpu.fp8 for gpu in machine.gpus)):
        yield entry, "fp8"
    sisters = [each for each in CATALOG.values() if each.base == entry.name and wanted in (None, each.quantization)]
    yield from ((each, each.quantization) for each in sorted(sisters, key=_bits, reverse=True))


def _bits(entry: CatalogEntry) -> float:
    return footprint.bits_of(entry.quantization)


def _kv_types(machine: Machine, wish: Wish) -> tuple[str, ...]:
    if wish.kv_dtype:
        return (wish.kv_dtype,)
    return ("auto", "fp8") if all(gpu.fp8 for gpu in machine.gpus) else ("auto",)


def _needed(entry: CatalogEntry, wish: Wish) -> int:
    """Tokens that the cache must hold at least."""
    return wish.users * (wish.context or min(entry.context, USEFUL))


def _share(gpu: Gpu, wish: Wish) -> float:
    """The share of a GPU that the engine may take: as wished, and no more than is free, or it would not start."""
    if gpu.free is None:
        return wish.memory_share
    return min(wish.memory_share, floor(100 * gpu.free / gpu.memory) / 100)


def _planned(trial: Trial, wish: Wish) -> Plan:
    each = trial.sure // wish.users
    context = wish.context or min(trial.entry.context, each // STEP * STEP or each)
    kv = max(0.0, trial.left) * trial.split.gpus / GIB
    found = Plan(
        model=trial.entry,
        machine=trial.machine,
        runner=Runner.VLLM,
        quantization=trial.quantization,
        kv_dtype=trial.kv_dtype,
        tensor_parallel=trial.split.tensor,
        pipeline_parallel=trial.split.pipeline,
        data_parallel=wish.data_parallel,
        context=context,
        weights=footprint.weight_bytes(trial.shape, trial.quantization) / GIB,
        kv=kv,
        kv_tokens=trial.tokens,
        users=trial.tokens / context,
        lines=(),
        adapters=wish.adapters,
        memory_share=trial.share,
    )
    return replace(found, lines=wording.arithmetic(trial, found, wish))
