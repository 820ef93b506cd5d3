"""Accuracy against tokens, a point a mode: in the terminal, and as a PNG."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from assistant.errors import UserError
from assistant.evaluation.statistics import Interval
from assistant.evaluation.table import Figures

_INCHES = (6.4, 4.0)
_DOTS = 150
_MARGIN = 6
"""Columns left of the plot, for the labels of its rows."""


@dataclass(frozen=True, slots=True)
class Point:
    """A mode: mean tokens written a task, and the share solved with its interval."""

    name: str
    tokens: float
    rate: float
    interval: Interval


def points(figures: Figures) -> list[Point]:
    """A point a mode."""
    return [Point(f.mode.value, f.mean(f.tokens.written), f.rate, f.interval) for f in figures.modes]


def check_plot() -> None:
    """See that pictures can be made, before the work that they are to show.

    Raises:
        UserError: matplotlib is not installed.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise UserError('a plot needs matplotlib; install it with: pip install "kat-pilot[eval]"')


def text_plot(marks: Sequence[Point], width: int = 64, height: int = 13) -> str:
    """The points in `height` rows from 0 to 100 %, at most `width` columns wide; the names stand beside them."""
    columns = max(20, width - _MARGIN)
    most = max((point.tokens for point in marks), default=0) or 1.0
    grid = [[" "] * columns for _ in range(height)]
    for point in marks:
        _draw(grid, point, round(point.tokens / most * (columns - 1)))
    labels = {0: "100 %", (height - 1) // 2: " 50 %", height - 1: "  0 %"}
    rows = [f"{labels.get(number, ''):>5}│{''.join(row).rstrip()}" for number, row in enumerate(grid)]
    end = f"{most:,.0f}"
    foot = f"{'':6}0{'tokens written a task':^{columns - 1 - len(end)}}{end}"
    return "\n".join([*rows, f"{'':5}└{'─' * columns}", foot])


def png(marks: Sequence[Point], path: Path, title: str) -> None:
    """Write the plot as a picture.

    Raises:
        UserError: matplotlib is not installed, or the file cannot be written.
    """
    check_plot()
    from matplotlib.figure import Figure

    drawing = Figure(figsize=_INCHES, dpi=_DOTS, layout="constrained")
    axes = drawing.subplots()
    for point in marks:
        reach = ([100 * (point.rate - point.interval.low)], [100 * (point.interval.high - point.rate)])
        axes.errorbar([point.tokens], [100 * point.rate], yerr=reach, fmt="o", capsize=4, label=f"think {point.name}")
    axes.set(xlabel="tokens written a task (mean)", ylabel="solved (%, 95 % interval)", title=title, ylim=(-3, 103))
    axes.set_xlim(left=0)
    axes.grid(visible=True, alpha=0.3)
    axes.legend()
    try:
        drawing.savefig(path)
    except (OSError, ValueError) as error:
        raise UserError(f"the plot cannot be written to {path}: {error}") from None


def _draw(grid: list[list[str]], point: Point, column: int) -> None:
    """The interval as a bar, the point on it, and its name where there is room."""
    last = len(grid) - 1

    def row(share: float) -> int:
        return round((1 - share) * last)

    for number in range(row(point.interval.high), row(point.interval.low) + 1):
        grid[number][column] = "│" if grid[number][column] == " " else grid[number][column]
    at = row(point.rate)
    grid[at][column] = "●"
    for line in grid[at : at + 2]:
        if _write(line, column + 1, f" {point.name}") or _write(line, column - len(point.name) - 1, f"{point.name} "):
            return


def _write(line: list[str], start: int, text: str) -> bool:
    """Write into a line where it is free; False where it is not."""
    place = slice(start, start + len(text))
    free = start >= 0 and line[place] == [" "] * len(text)
    if free:
        line[place] = text
    return free
