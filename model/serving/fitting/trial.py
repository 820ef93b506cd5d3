"""One way to run a model on GPUs, with the memory that it takes."""

from __future__ import annotations

from dataclasses import dataclass
from math import floor

from model.architecture import Architecture
from model.catalog import CatalogEntry
from model.serving.fitting.footprint import BLOCK, Batch, Overhead, Split, token_bytes
from model.serving.plan import GIB, Gpu, Machine

SURE = 0.9
"""The share of the reckoned cache that contexts get: an engine that finds less does not start; our choice."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One way to run a model, and the memory it takes of the fullest GPU, in bytes."""

    entry: CatalogEntry
    shape: Architecture
    machine: Machine
    gpu: Gpu
    batch: Batch
    share: float
    quantization: str | None
    kv_dtype: str
    split: Split
    weights: float
    overhead: Overhead
    needed: int

    @property
    def left(self) -> float:
        """Bytes of each GPU that are left for the cache; negative where even the rest does not fit."""
        return self.gpu.memory * GIB * self.share - self.weights - self.overhead.total

    @property
    def tokens(self) -> int:
        """Tokens that the cache holds."""
        each = token_bytes(self.shape, self.kv_dtype, self.split)
        return max(0, floor(self.left / each / BLOCK) * BLOCK)

    @property
    def sure(self) -> int:
        """Tokens that the cache holds even if the estimate is somewhat off."""
        return floor(self.tokens * SURE)

    @property
    def fits(self) -> bool:
        """Whether all that is needed has room."""
        return self.sure >= self.needed
