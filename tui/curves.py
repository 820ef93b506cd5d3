"""Curves as text: a large one in braille, small ones in blocks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

_BLOCKS = "▁▂▃▄▅▆▇█"
_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
"""The bits of a braille cell, column by column, from the top."""
_BRAILLE = 0x2800
_LARGEST = 1e150


def spark(values: Sequence[float], width: int) -> str:
    """The values in one row of at most `width` cells, each the mean of those that fall into it."""
    means = _means(values, width)
    low, span = _range(means)
    return "".join(" " if math.isnan(each) else _BLOCKS[round((each - low) / span * 7)] for each in means)


def plot(values: Sequence[float], width: int, height: int) -> list[str]:
    """The values in `height` rows, over all of `width` cells, the highest row first; each cell has 2 × 4 dots."""
    means = _means(values, 2 * width)
    low, span = _range(means)
    cells = [[0] * width for _ in range(height)]
    step = (2 * width - 1) / max(1, len(means) - 1)
    for x, each in ((int(index * step), each) for index, each in enumerate(means)):
        if not math.isnan(each):
            y = round((1 - (each - low) / span) * (4 * height - 1))
            cells[y // 4][x // 2] |= _DOTS[x % 2][y % 4]
    return ["".join(chr(_BRAILLE + cell) for cell in row) for row in cells]


def said(value: float) -> str:
    """A figure with three or four digits that count."""
    if value and (abs(value) < 1e-3 or abs(value) >= 1e5):
        return f"{value:.2e}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.4g}"


def bounds(values: Sequence[float]) -> tuple[float, float]:
    """The least and the largest, of those that are numbers; zeros where none is."""
    found = [each for each in values if _shown(each)]
    return (min(found), max(found)) if found else (0.0, 0.0)


def _shown(value: float) -> bool:
    """Whether a figure has a place in a curve: numbers near the largest that there are would overflow its scale."""
    return abs(value) < _LARGEST


def _means(values: Sequence[float], width: int) -> list[float]:
    """The values as they are if they have room, else the means of equal stretches; NaN where there is no number."""
    if len(values) <= width:
        return [each if _shown(each) else math.nan for each in values]
    edges = [index * len(values) // width for index in range(width + 1)]
    return [_mean(values[begin:end]) for begin, end in pairwise(edges)]


def _mean(values: Sequence[float]) -> float:
    found = [each for each in values if _shown(each)]
    return sum(found) / len(found) if found else math.nan


def _range(values: Sequence[float]) -> tuple[float, float]:
    low, high = bounds(values)
    return low, (high - low) or 1.0
