"""The one line that a run shows while it works: rewritten on a terminal, now and then printed elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from typing import TextIO

EVERY = 30.0
"""Seconds between two lines where there is no terminal; our choice."""
SHOWN = ("loss", "reward", "accuracy", "think_rate", "lr", "tokens_per_second")
"""The figures that fit into a line, in this order."""


class Progress:
    """The line of a stage with `steps` updates. As a context it ends the line."""

    def __init__(
        self, stage: str, steps: int, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._stage, self._steps = stage, steps
        self._stream, self._clock = stream or sys.stderr, clock
        self._began: tuple[int, float] | None = None
        self._said = -EVERY

    def show(self, step: int, figures: Mapping[str, float]) -> None:
        """Show that `step` updates are done."""
        now = self._clock()
        self._began = self._began or (step - 1, now - figures.get("seconds", 0.0))
        line = f"{self._stage} {step}/{self._steps}{self._left(step, now)}"
        line += "".join(f"  {name.replace('_', ' ')} {said(figures[name])}" for name in SHOWN if name in figures)
        if self._stream.isatty():
            self._stream.write(f"\r\x1b[K{line[:120]}")
        elif now - self._said >= EVERY or step == self._steps:
            self._said = now
            self._stream.write(line + "\n")
        self._stream.flush()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._stream.isatty() and self._began:
            self._stream.write("\n")

    def _left(self, step: int, now: float) -> str:
        first, began = self._began or (step, now)
        left = (now - began) / max(1, step - first) * (self._steps - step)
        return f"  {duration(left)} left" if step < self._steps else f"  {duration(now - began)}"


def duration(seconds: float) -> str:
    """Seconds in words of a clock: ``0:42``, ``1:03:20``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def said(value: float) -> str:
    """A figure with three or four digits that count."""
    if value and (abs(value) < 1e-3 or abs(value) >= 1e5):
        return f"{value:.2e}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.4g}"
