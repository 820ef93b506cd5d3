"""Random numbers that depend on a seed and on what they are for, not on order and not on processes."""

from __future__ import annotations

import hashlib
import random


def derived(seed: int, *names: str | int) -> int:
    """A seed of 64 bits for one purpose, from the seed of the whole run and what names the purpose."""
    digest = hashlib.sha256("\0".join(map(str, (seed, *names))).encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big")


def rng(seed: int, *names: str | int) -> random.Random:
    """A generator for one purpose; the same names give the same numbers on every machine."""
    return random.Random(derived(seed, *names))  # noqa: S311 - reproducible on purpose, no secret
