"""Models without a GPU: vLLM built for CPUs for small ones in 16 or 32 bits, llama.cpp for GGUF files."""

from __future__ import annotations

import re
from dataclasses import replace
from math import ceil, floor, inf
from pathlib import Path

from model.architecture import Architecture
from model.catalog import CatalogEntry
from model.serving.fitting import wording
from model.serving.fitting.footprint import KV_BYTES, KV_NAMES, token_bytes, weight_bytes
from model.serving.plan import GIB, Machine, Plan, Runner, Wish

SHARE = 0.9
"""The share of free main memory that may be taken; our choice."""
BESIDE = {Runner.VLLM_CPU: 2.0, Runner.LLAMA: 0.3}
"""GiB that the programs take beside weights and cache: vLLM with torch, llama.cpp; rounded up from what they took."""

_PART = re.compile(r"(.+)-\d{5}-of-(\d{5})\.gguf")


def on_main_memory(entry: CatalogEntry, machine: Machine, wish: Wish, needed: int) -> Plan | None:
    """A plan for main memory with room for `needed` tokens, or None.

    Where cores have no units for bf16 it is in 32 bits, or where that does not fit, or 16 were asked for, all the same
    in 16; `bits` of the plan's machine says which.
    """
    narrow = replace(machine, bits=16)
    if machine.bits == 32 and wish.quantization != "bf16" and (found := _planned(entry, machine, wish, needed)):
        return found
    return _planned(entry, narrow, wish, needed)


def _planned(entry: CatalogEntry, machine: Machine, wish: Wish, needed: int) -> Plan | None:
    runner = wish.runner or (Runner.LLAMA if entry.quantization == "gguf" else Runner.VLLM_CPU)
    shape = entry.architecture
    if runner is Runner.VLLM or (entry.parameters or 0) > wording.MOST_ON_CPU or not _can(entry, runner, wish):
        return None
    bits = machine.bits if runner is Runner.VLLM_CPU else 16
    kv_dtype = _kv_dtype(wish, bits)
    weights = _weights(entry, shape, runner, bits)
    each = token_bytes(shape, kv_dtype) if shape else 0
    left = (inf if machine.memory is None else machine.memory) * SHARE - weights - BESIDE[runner]
    cache = _cache(runner, left, each * max(needed, wish.users * (wish.context or entry.context)) / GIB)
    tokens = floor(cache * GIB / each) if each else needed
    if cache <= 0 or tokens < needed:
        return None
    context = wish.context or min(entry.context, tokens // wish.users)
    lines = _lines(entry, machine, runner, shape, kv_dtype, weights, cache, tokens, context)
    return Plan(
        model=entry,
        machine=machine,
        runner=runner,
        quantization=entry.quantization,
        kv_dtype=kv_dtype,
        tensor_parallel=1,
        pipeline_parallel=1,
        data_parallel=1,
        context=context,
        weights=weights,
        kv=cache,
        kv_tokens=tokens,
        users=tokens / context,
        lines=lines,
        adapters=wish.adapters,
        memory_share=wish.memory_share,
    )


def _can(entry: CatalogEntry, runner: Runner, wish: Wish) -> bool:
    """Whether the runner reads such files: llama.cpp GGUF, vLLM on CPUs 16 bits (made from a GGUF if need be)."""
    if wish.quantization not in (None, "none", "bf16", entry.quantization):
        return False
    if runner is Runner.LLAMA:
        return entry.quantization == "gguf"
    return entry.quantization in (None, "gguf") and entry.architecture is not None


def _kv_dtype(wish: Wish, bits: int) -> str:
    """What the cache holds: numbers of the width that is computed with, or narrower ones that were asked for."""
    asked = wish.kv_dtype or "auto"
    return "float32" if bits == 32 and KV_BYTES[asked] == 2 else asked


def _weights(entry: CatalogEntry, shape: Architecture | None, runner: Runner, bits: int) -> float:
    """GiB: of the file for llama.cpp, of so many bits for vLLM."""
    if runner is Runner.VLLM_CPU and shape:
        return weight_bytes(shape, None) * bits / 16 / GIB
    if entry.path is not None and entry.path.is_file():
        return sum(part.stat().st_size for part in _parts(entry.path)) / GIB
    return sum(file.size for file in entry.files) / GIB


def _parts(path: Path) -> list[Path]:
    """The files that belong to a GGUF file: large ones come in parts, of which the first is named."""
    if not (split := _PART.fullmatch(path.name)):
        return [path]
    head, last = split.groups()
    parts = (path.with_name(f"{head}-{number:05}-of-{last}.gguf") for number in range(1, int(last) + 1))
    return [part for part in parts if part.is_file()]


def _cache(runner: Runner, left: float, wanted: float) -> float:
    """GiB of cache: what all contexts take, if there is room; vLLM takes whole ones."""
    if runner is Runner.VLLM_CPU:
        whole = max(1, ceil(wanted))
        return float(whole if left >= whole else floor(left))
    return min(left, wanted)


def _lines(
    entry: CatalogEntry,
    machine: Machine,
    runner: Runner,
    shape: Architecture | None,
    kv_dtype: str,
    weights: float,
    cache: float,
    tokens: int,
    context: int,
) -> tuple[str, ...]:
    stored = f"{machine.bits} bits" if runner is Runner.VLLM_CPU else "the file's own bits"
    token = wording.token_line(shape, kv_dtype) if shape else "not known before it is loaded"
    memory = "unknown" if machine.memory is None else f"{machine.memory:.1f} GiB × {SHARE:g}"
    return (
        f"hardware  {wording.hardware(machine)} ({machine.source})",
        f"model     {entry.name} with {runner.value}: {stored}",
        f"weights   {weights:.2f} GiB",
        f"beside    {BESIDE[runner]:.1f} GiB for the program (estimated)",
        f"cache     {cache:.2f} GiB ({KV_NAMES[KV_BYTES[kv_dtype]]}) of the {memory} that may be taken",
        f"a token   {token}",
        f"tokens    {tokens:,}",
        f"context   {context:,} tokens, {tokens / context:.1f} such conversations at once",
    )
