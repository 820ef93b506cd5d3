"""Hashes of runs of words or tokens, the same on every machine."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]

RECIPE = "blake2b-64, folded"
"""What names this way of hashing in files; a change of it needs another name."""
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
"""2^64 over the golden ratio (Knuth 6.4)."""


def of_runs(tokens: Sequence[str], size: int) -> Hashes:
    """Hashes of all runs of `size` tokens, in order; none where there are fewer tokens.

    Each token is hashed with BLAKE2b, and those of a run are folded one into the other.
    """
    count = len(tokens) - size + 1
    if count < 1 or size < 1:
        return np.zeros(0, dtype=np.uint64)
    values = np.fromiter(map(_hash, tokens), dtype=np.uint64, count=len(tokens))
    folded = np.zeros(count, dtype=np.uint64)
    for place in range(size):
        folded = (folded ^ values[place : place + count]) * _MULTIPLIER
        folded ^= folded >> np.uint64(29)
    return folded


@lru_cache(262_144)
def _hash(token: str) -> int:
    return int.from_bytes(hashlib.blake2b(token.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")
