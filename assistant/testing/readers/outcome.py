"""What came of one test."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

Result = Literal["passed", "failed", "skipped"]
"""A test that is expected to fail is skipped, whatever it does: it proves nothing."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One test: an id that is the same in every run, what came of it, and its seconds where the runner says them."""

    id: str
    result: Result
    seconds: float | None = None


Reader = Callable[[str], Iterable[Outcome]]
"""Gets the output of a run, without escape sequences."""


def joined(*names: str) -> str:
    """The id of a test in groups, as most runners of JavaScript write it."""
    return " > ".join(name for name in names if name)


def seconds(number: str, unit: str = "s") -> float | None:
    """A duration as printed, in seconds; None where there is none."""
    scale = {"s": 1.0, "ms": 1e-3, "m": 60.0, "µs": 1e-6, "us": 1e-6, "ns": 1e-9}.get(unit)
    try:
        return float(number) * scale if scale else None
    except ValueError:
        return None
