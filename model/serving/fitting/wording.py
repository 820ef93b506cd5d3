"""The arithmetic of a plan in lines that people read, and the sentence for what does not fit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from model.architecture import Architecture
from model.catalog import CatalogEntry
from model.serving.fitting.footprint import BITS, KV_BYTES, KV_NAMES, bits_of, token_bytes, weight_bytes
from model.serving.fitting.trial import SURE, Trial
from model.serving.plan import GIB, Machine, Plan, Wish

KIB = 1024
MOST_ON_CPU = 10_000_000_000
"""Parameters: what is larger writes a few words a second at best without a GPU; our choice."""
_PRECISION = {
    None: "16 bits, as published",
    "fp8": "fp8, made from 16 bits while loading",
    "mixed": "int4 and int8, GPTQ",
    "awq": "int4, AWQ",
    "gptq": "int4, GPTQ",
    "int4": "int4",
    "int8": "int8",
}


def hardware(machine: Machine) -> str:
    """As in `2 × H100 80GB (SXM), 79.6 GiB each`, or the main memory."""
    if not machine.gpus:
        memory = "of unknown size" if machine.memory is None else f"{machine.memory:.1f} GiB free"
        return f"no GPU; main memory {memory}"
    counted = Counter((gpu.name, gpu.memory) for gpu in machine.gpus)
    words = [f"{count} × {name}, {memory:.1f} GiB{' each' * (count > 1)}" for (name, memory), count in counted.items()]
    nodes = f" on each of {machine.nodes} nodes" if machine.nodes > 1 else ""
    return " and ".join(words) + nodes


def precision(quantization: str | None) -> str:
    """What the weights are stored in."""
    return _PRECISION.get(quantization, quantization or "")


def arithmetic(trial: Trial, plan: Plan, wish: Wish) -> tuple[str, ...]:
    """Everything that was reckoned, a line each."""
    return tuple(f"{title:10}{text}" for title, text in _lines(trial, plan, wish))


def tally(trial: Trial) -> tuple[str, ...]:
    """The memory of one GPU, a line each."""
    return tuple(f"{title:10}{text}" for title, text in _memory(trial))


def _lines(trial: Trial, plan: Plan, wish: Wish) -> Iterator[tuple[str, str]]:
    yield "hardware", f"{hardware(trial.machine)} ({trial.machine.source})"
    yield "model", f"{trial.entry.name}: {precision(trial.quantization)}"
    yield from _memory(trial)
    kept = "" if plan.context == trial.entry.context or wish.context else f", of {SURE:.0%} of the cache to be sure"
    yield "context", f"{plan.context:,} tokens{kept}; {plan.users:.1f} such conversations at once"
    if trial.kv_dtype == "auto" and trial.gpu.fp8:
        yield "", f"with an fp8 cache (--kv-cache-dtype fp8) {2 * trial.tokens:,} tokens"
    if plan.data_parallel > 1:
        yield "copies", f"{plan.data_parallel}, each as reckoned here, on {_gpus(trial.split.gpus)} of its own"
    if spare := len(trial.machine.gpus) * trial.machine.nodes - trial.split.gpus * plan.data_parallel:
        copies = spare // trial.split.gpus
        more = f"; {copies} more {'copies' if copies > 1 else 'copy'} would fit (--data-parallel)" if copies else ""
        yield "idle", f"{_gpus(spare)}{more}"
    for name in ("architecture", "context", "weights"):
        if why := trial.entry.assumed.get(name):
            yield "assumed", f"{name}: {why}"
    if trial.quantization not in (None, *BITS):
        yield "assumed", f"weights: how {trial.quantization} packs them is not known here, so 16 bits are counted"


def _gpus(count: int) -> str:
    return f"{count} GPU{'s' * (count > 1)}"


def _memory(trial: Trial) -> Iterator[tuple[str, str]]:
    shape, split, beside = trial.shape, trial.split, trial.overhead
    whole = weight_bytes(shape, trial.quantization)
    yield "weights", f"{_factors(shape, trial.quantization)} = {whole / GIB:.1f} GiB"
    if split.gpus > 1:
        words = [f"tensor parallel {split.tensor}"] * (split.tensor > 1)
        words += [f"pipeline parallel {split.pipeline}"] * (split.pipeline > 1)
        yield "split", f"{' × '.join(words)}: {trial.weights / GIB:.1f} GiB on each GPU"
    usable = trial.gpu.memory * trial.share
    free = "" if trial.gpu.free is None else f", {trial.gpu.free:.1f} GiB of it free"
    yield "usable", f"{trial.gpu.memory:.1f} GiB{free} × {trial.share:g} = {usable:.1f} GiB of each GPU"
    rest = f" + {beside.adapters / GIB:.1f} GiB adapters" if beside.adapters else ""
    rest += f" + {beside.states / GIB:.2f} GiB states of linear attention" if beside.states else ""
    parts = f"{beside.runtime / GIB:.2f} GiB CUDA and graphs + {beside.activations / GIB:.2f} GiB for steps of"
    parts += f" {trial.batch.tokens:,} tokens + {beside.logits / GIB:.2f} GiB for {trial.batch.requests:,} requests"
    yield "beside", f"{parts}{rest} = {beside.total / GIB:.1f} GiB (estimated)"
    terms = f"{usable:.1f} − {trial.weights / GIB:.1f} − {beside.total / GIB:.1f}"
    yield "cache", f"{terms} = {trial.left / GIB:.1f} GiB on each GPU"
    yield "a token", token_line(shape, trial.kv_dtype)
    each = token_bytes(shape, trial.kv_dtype, split) / KIB
    yield "tokens", f"{max(0.0, trial.left) / GIB:.1f} GiB / {each:.4g} KiB on each GPU = {trial.tokens:,}"


def token_line(shape: Architecture, kv_dtype: str) -> str:
    """What the cache keeps of a token."""
    size = shape.kv_elements * KV_BYTES[kv_dtype] / KIB
    parts = f"2 × {shape.attention_layers} layers × {shape.kv_heads} heads × {shape.head_dim}"
    unit = "byte" if KV_BYTES[kv_dtype] == 1 else "bytes"
    return f"{parts} × {KV_BYTES[kv_dtype]} {unit} ({KV_NAMES[KV_BYTES[kv_dtype]]}) = {size:.4g} KiB of cache"


def _factors(shape: Architecture, quantization: str | None) -> str:
    if quantization is None:
        return f"{shape.parameters / 1e9:.2f} B parameters × 2 bytes"
    kept = (shape.embeddings + shape.vectors) / 1e9
    bits = f"{bits_of(quantization):.4g} bits"
    return f"{shape.matrices / 1e9:.2f} B parameters × {bits} + {kept:.2f} B × 16 bits"


def refusal(
    entry: CatalogEntry, machine: Machine, wish: Wish, tried: Sequence[Trial], needed: int
) -> tuple[str, tuple[str, ...]]:
    """The sentence, and the arithmetic of what came nearest."""
    there = hardware(machine)
    if entry.architecture is None and entry.quantization != "gguf":
        why = "its shape is not known here; give a folder with its config.json"
        return f"{entry.name} cannot be sized: {why}", (f"hardware  {there}",)
    if not tried and machine.gpus and wish.quantization:
        wanted = f"{entry.name} has no build in {wish.quantization} that is known here"
        return f"{wanted}; leave the quantization to the plan", (f"hardware  {there}",)
    if not tried:
        return main_memory_refusal(entry, machine, there)
    nearest = max(tried, key=lambda trial: (trial.sure / trial.needed, trial.left))
    users = f"{wish.users} conversations of " if wish.users > 1 else ""
    short = f"{needed:,} tokens" if wish.users == 1 else f"{users}{needed // wish.users:,} tokens"
    build = f"{nearest.entry.name}{'' if nearest.quantization == nearest.entry.quantization else ' in fp8'}"
    need = (nearest.weights + nearest.overhead.total) / GIB
    fact = f"{build} takes {need:.1f} of {nearest.gpu.memory * nearest.share:.1f} usable GiB on each GPU"
    room = f"and leaves room for {nearest.sure:,} tokens, not {short}" if nearest.left > 0 else "before any context"
    return f"{entry.name} does not fit {there}: {fact} {room}", (f"hardware  {there}", *tally(nearest))


def main_memory_refusal(entry: CatalogEntry, machine: Machine, there: str) -> tuple[str, tuple[str, ...]]:
    """Why a model does not run in main memory."""
    lines = [f"hardware  {there}"]
    if shape := entry.architecture:
        packed = entry.quantization if entry.quantization in BITS else None
        lines.append(f"weights   {_factors(shape, packed)} = {weight_bytes(shape, packed) / GIB:.1f} GiB")
        lines.append(f"a token   {token_line(shape, 'auto')}")
    if machine.gpus and entry.quantization == "gguf":
        return f"{entry.name} does not fit into main memory here: {there}", tuple(lines)
    if machine.gpus:
        return f"{entry.name} is not run in main memory while there are GPUs: {there}; let vLLM have them", tuple(lines)
    if (entry.parameters or 0) > MOST_ON_CPU:
        size = f"{(entry.parameters or 0) / 1e9:.1f} B parameters"
        return f"{entry.name} needs a GPU and here is none: with {size} a CPU writes a word in seconds", tuple(lines)
    return f"{entry.name} does not fit: {there} is too little for it, or it is in a form for GPUs only", tuple(lines)
