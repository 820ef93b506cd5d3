"""Intervals and tests for shares and for paired figures. Pure functions, each with its source."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import NamedTuple

Z95 = 1.959963984540054
"""The 0.975 quantile of the standard normal distribution."""
_RESAMPLES = 2_000
"""How often the bootstrap draws; our choice, enough for two digits of a 95 % interval."""


class Interval(NamedTuple):
    """From `low` to `high`."""

    low: float
    high: float


def wilson(solved: int, tried: int, z: float = Z95) -> Interval:
    """The score interval for a share of `solved` of `tried` (E. B. Wilson, JASA 22, 1927): with p = solved / tried,

    (p + z²/2n ± z·sqrt(p(1 - p)/n + z²/4n²)) / (1 + z²/n). Nothing tried says nothing: 0 to 1.

    Raises:
        ValueError: `solved` is not between 0 and `tried`.
    """
    if not 0 <= solved <= tried:
        raise ValueError(f"{solved} of {tried} is no share")
    if not tried:
        return Interval(0.0, 1.0)
    share, spread = solved / tried, z * z / tried
    middle = share + spread / 2
    reach = z * math.sqrt(share * (1 - share) / tried + spread / (4 * tried))
    low, high = (middle - reach) / (1 + spread), (middle + reach) / (1 + spread)
    return Interval(0.0 if not solved else max(0.0, low), 1.0 if solved == tried else min(1.0, high))


def mcnemar(gained: int, lost: int) -> float:
    """The exact two-sided p-value that `gained` and `lost` differ by chance alone (Q. McNemar, Psychometrika 12, 1947).

    Of the pairs that differ, either way is as likely: min(1, 2·P(X ≤ min(gained, lost))), X binomial with 1/2.
    """
    if min(gained, lost) < 0:
        raise ValueError("a count is not negative")
    pairs = gained + lost
    tail = sum(math.comb(pairs, number) for number in range(min(gained, lost) + 1))
    return min(1.0, 2 * tail / (1 << pairs))


def saving(pairs: Sequence[tuple[float, float]]) -> float | None:
    """The share that the first of each pair saves against the second, over all: 1 - Σ first / Σ second."""
    spent = math.fsum(second for _, second in pairs)
    return 1 - math.fsum(first for first, _ in pairs) / spent if spent > 0 else None


def saving_interval(
    pairs: Sequence[tuple[float, float]], *, seed: int = 0, resamples: int = _RESAMPLES
) -> Interval | None:
    """The 95 % percentile interval of `saving` by the paired bootstrap (B. Efron, Ann. Statist. 7, 1979).

    Pairs are drawn with replacement, so what belongs to one task stays together. None where nothing can be drawn.
    """
    draw = random.Random(seed)  # noqa: S311 - to be the same every time
    samples = (saving(draw.choices(pairs, k=len(pairs))) for _ in range(resamples if pairs else 0))
    found = sorted(value for value in samples if value is not None)
    return Interval(_quantile(found, 0.025), _quantile(found, 0.975)) if found else None


def _quantile(values: Sequence[float], share: float) -> float:
    """Of sorted values, between neighbours by their distance."""
    place = share * (len(values) - 1)
    below = math.floor(place)
    above = min(below + 1, len(values) - 1)
    return values[below] + (place - below) * (values[above] - values[below])
