"""The largest batch first: what does not fit into memory is said at once, with what would fit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from assistant.errors import UserError
from training.runtime.fitting import LossModel, Updates
from training.runtime.world import World

_SAYS = ("out of memory", "can't allocate memory", "not enough memory", "failed to allocate")
ADVICE = "lower data.row, set model.checkpointing = true, train a [model.lora], or lower chunk of the stage"


def probe(loss: LossModel, updates: Updates, world: World) -> float:
    """Compute the gradients of the largest micro-batch; gives the peak memory of the device in GiB (0: not known).

    The optimizer's moments must exist already. Gradients are left behind, for the caller to drop.

    Raises:
        UserError: there is not enough memory, with advice.
    """
    batch: Any = updates.largest()
    if batch is None:
        return 0.0
    batch = batch.to(world.device)
    totals = {name: max(1.0, count) for name, count in loss.counts(batch).items()}
    with largest_batch():
        loss(batch, totals).total.backward()
    return 0.0 if world.cpu else torch.cuda.max_memory_allocated() / 2**30


@contextmanager
def largest_batch() -> Iterator[None]:
    """While the largest batch is tried: what says that memory ran out is a `UserError` with advice."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and not any(words in str(error).lower() for words in _SAYS):
            raise
        raise UserError(f"the largest batch does not fit into memory; {ADVICE}") from None
