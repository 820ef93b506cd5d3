"""How many adapters, and of what rank, a server keeps room for."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from model.serving.fitting import footprint
from model.serving.fitting.footprint import Batch, Split
from model.serving.plan import Plan, Runner

RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""What vLLM takes as --max-lora-rank."""
RANK = 32
"""The rank that room is kept for where none is known: that of our own adapters."""
KEPT = 8
"""Adapters in main memory (our choice)."""


@dataclass(frozen=True, slots=True)
class Slots:
    """Room for adapters: how many in one batch, how many in main memory, and the highest rank.

    Two, where one is used: a new version beside the old one, until the old one's replies have ended.
    """

    number: int = 2
    kept: int = KEPT
    rank: int = RANK


def slots_for(plan: Plan, users: int) -> Slots | None:
    """The room that a plan leaves for adapters; None where they would take memory that its contexts need."""
    if not plan.adapters:
        return Slots() if plan.runner is not Runner.VLLM or _spare(plan, users) >= _cost(plan) else None
    wanted = len(plan.adapters)
    rank = rank_for(_path(adapter) for adapter in plan.adapters)
    # Sizing keeps room for rank 64 each, which is as much as two of rank 32.
    return Slots(wanted + 1 if rank <= RANK else wanted, max(KEPT, wanted + 1), rank)


def rank_for(folders: Iterable[Path]) -> int:
    """The least rank of vLLM's that covers our own and those of adapters on this machine."""
    wanted = max([RANK, *(rank for folder in folders if (rank := _rank(folder)))])
    return next((rank for rank in RANKS if rank >= wanted), RANKS[-1])


def _spare(plan: Plan, users: int) -> float:
    """Bytes of each GPU's KV cache beyond the contexts of the users."""
    if plan.model.architecture is None:
        return float("inf")
    return (plan.kv_tokens - users * plan.context) * footprint.token_bytes(
        plan.model.architecture, plan.kv_dtype, _split(plan)
    )


def _cost(plan: Plan) -> float:
    """Bytes of each GPU that the slots take."""
    if plan.model.architecture is None:
        return 0
    return footprint.overhead(plan.model.architecture, Batch(0, 0), _split(plan), 1).adapters


def _split(plan: Plan) -> Split:
    return Split(plan.tensor_parallel, plan.pipeline_parallel)


def _path(adapter: str) -> Path:
    return Path(adapter.partition("=")[2])


def _rank(folder: Path) -> int | None:
    try:
        rank = json.loads((folder / "adapter_config.json").read_text("utf-8"))["r"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return rank if isinstance(rank, int) else None
