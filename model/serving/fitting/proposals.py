"""What to do where a model does not fit: other hardware for it, other models for this hardware."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice

from model.catalog import CATALOG, CatalogEntry
from model.serving.hardware.gpus import gpu_type, recognised
from model.serving.plan import Machine, Plan, Wish

Fitting = Callable[[CatalogEntry, Machine, Wish], Plan | None]
COMMON = (("l40s", 1), ("h100", 1), ("l40s", 2), ("h100", 2), ("h200", 1), ("h100", 4), ("h200", 4), ("h100", 8))
"""Hardware that can be rented nearly everywhere, cheapest first (our choice)."""
_MODELS = 2
"""Other models that are named."""
_GGUF = (18, 24)
"""GiB that a GGUF of 3 bits of the 40B takes at most, and that a GPU or main memory should have for it."""


def proposals(entry: CatalogEntry, machine: Machine, wish: Wish, fitting: Fitting) -> tuple[str, ...]:
    """What would fit, as things to type."""
    free = replace(wish, tensor_parallel=None, pipeline_parallel=None, data_parallel=1)
    return (
        *islice(_lesser(entry, machine, free, fitting), 1),
        *_more_of_it(entry, machine, free, fitting),
        *islice(_elsewhere(entry, free, fitting), 2),
        *_packed(entry, machine),
        *islice(_others(entry, machine, fitting), _MODELS),
    )


def _lesser(entry: CatalogEntry, machine: Machine, wish: Wish, fitting: Fitting) -> Iterator[str]:
    """The same model on the same machine, with less asked of it."""
    for less, words in (
        (replace(wish, users=1), "for one user at a time"),
        (replace(wish, context=None), "with a shorter context"),
        (replace(wish, users=1, context=None), "with a shorter context for one user at a time"),
        (replace(wish, users=1, context=None, quantization=None, kv_dtype=None), "with other precision"),
    ):
        if less != wish and (found := fitting(entry, machine, less)):
            yield f"{found.model.name} here {words}: {found.context:,} tokens"


def _more_of_it(entry: CatalogEntry, machine: Machine, wish: Wish, fitting: Fitting) -> Iterator[str]:
    """The same model on more of the GPUs that are there."""
    if not machine.gpus:
        return
    kind = recognised(machine.gpus[0].name)
    gpu = kind.gpu if kind else replace(machine.gpus[0], free=None)
    for count in (each for each in (1, 2, 4, 8) if each >= len(machine.gpus)):
        if found := fitting(entry, Machine((gpu,) * count, "asked for"), wish):
            yield _named(found, f"{kind.key}:{count}" if kind else f"{count} × {gpu.name}")
            return


def _elsewhere(entry: CatalogEntry, wish: Wish, fitting: Fitting) -> Iterator[str]:
    seen = set()
    for key, count in COMMON:
        found = fitting(entry, Machine((gpu_type(key).gpu,) * count, "asked for"), wish)
        if found and (found.model.name, found.quantization) not in seen:
            seen.add((found.model.name, found.quantization))
            yield _named(found, f"{key}:{count}")


def _named(plan: Plan, gpus: str) -> str:
    online = " in fp8" if plan.quantization == "fp8" and plan.model.quantization is None else ""
    return f"{plan.model.name}{online} on {gpus}: a context of {plan.context:,} tokens"


def _packed(entry: CatalogEntry, machine: Machine) -> Iterator[str]:
    room = max([gpu.memory for gpu in machine.gpus] or [machine.memory or 0.0])
    if "KAT-V1-40B" in (entry.name, entry.base) and room >= _GGUF[1] * 0.95:
        yield f"a GGUF of 16 to {_GGUF[0]} GiB (Q3 or IQ3) of it with llama.cpp: kat serve FILE.gguf"


def _others(entry: CatalogEntry, machine: Machine, fitting: Fitting) -> Iterator[str]:
    """Other models for this machine, largest first, those that speak like the one asked for before others."""
    others = [each for each in CATALOG.values() if each.base is None and each.name != (entry.base or entry.name)]
    for other in sorted(others, key=lambda each: (each.dialect != entry.dialect, -(each.parameters or 0))):
        if found := fitting(other, machine, Wish()):
            yield f"{found.model.name} here: a context of {found.context:,} tokens"
