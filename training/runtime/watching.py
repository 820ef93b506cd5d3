"""Watching a run for what has gone wrong beyond repair, so that it stops with a reason and not with a bill."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import fmean

WINDOW = 20
"""Updates over which a figure is averaged before anything is said of it; with the next four, our choice."""
COLLAPSED = 0.05
"""The entropy has collapsed when it is under this share of what it was at first."""
LEAST_ENTROPY = 0.01
"""And under this many nats a token: a model that was sure from the start has not collapsed."""
EXPLODED = 4.0
"""The length has exploded when it is this many times what it was at first."""
ONE_MODE = 0.02
"""All rollouts choose one mode when the think rate stays within this of 0 or 1, and was not at first."""


@dataclass(slots=True)
class Watch:
    """Sees the figures of each update; those it knows are loss, grad_norm, entropy, length and think_rate."""

    _first: dict[str, float] = field(default_factory=dict)
    _last: dict[str, deque[float]] = field(default_factory=dict)

    def see(self, figures: Mapping[str, float]) -> str | None:
        """A sentence that says why the run must stop, or None."""
        for name in ("loss", "grad_norm"):
            if not math.isfinite(figures.get(name, 0.0)):
                return f"the {name.replace('_', ' ')} is {figures[name]}: the weights would be lost; lower lr"
        for name in ("entropy", "length", "think_rate"):
            if name in figures:
                self._last.setdefault(name, deque(maxlen=WINDOW)).append(figures[name])
        return self._collapse() or self._explosion() or self._one_mode()

    def _collapse(self) -> str | None:
        first, now = self._means("entropy")
        if now < min(COLLAPSED * first, LEAST_ENTROPY):
            return f"the entropy fell from {first:.3f} to {now:.4f} nats a token: nothing new is tried; lower lr"
        return None

    def _explosion(self) -> str | None:
        first, now = self._means("length")
        if first and now > EXPLODED * first:
            return f"replies grew from {first:,.0f} to {now:,.0f} tokens; look at samples.jsonl and at the rewards"
        return None

    def _one_mode(self) -> str | None:
        first, now = self._means("think_rate", 0.5)
        at_first, at_last = min(first, 1 - first), min(now, 1 - now)
        if at_last < ONE_MODE <= at_first:
            return f"all rollouts {'think' if now > 0.5 else 'answer without thought'}; set rl.paired, or lower lr"
        return None

    def _means(self, name: str, unknown: float = 0.0) -> tuple[float, float]:
        """Of a figure's first window and its last; the same where there is no whole window yet."""
        last = self._last.get(name, ())
        if len(last) < WINDOW:
            return (unknown, math.inf) if name == "entropy" else (unknown, unknown)
        now = fmean(last)
        return self._first.setdefault(name, now), now
