"""The figures of a run: what each mode solved and cost, and what choosing saves against always thinking."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from assistant.evaluation.results import ERROR, Result
from assistant.evaluation.statistics import Interval, mcnemar, saving, saving_interval, wilson
from assistant.records import Tokens
from model.format import ThinkRequest

Pair = tuple[Result, Result]
COLUMNS = ("mode", "solved", "rate", "95 %", "thought", "prompt", "judge", "think", "answer", "seconds")
_SEGMENTS = ("prompt", "cached", "judge", "think", "answer")


@dataclass(frozen=True, slots=True)
class ModeFigures:
    """One mode: `rate` of `tried` with its Wilson interval, errors counted as unsolved.

    `think_rate` is the share of steps in which the model thought. `tokens` and `seconds` are sums.
    """

    mode: ThinkRequest
    tried: int
    solved: int
    errors: int
    rate: float
    interval: Interval
    think_rate: float | None
    tokens: Tokens
    seconds: float

    def mean(self, figure: float) -> float:
        """A sum as a mean of all that was tried."""
        return figure / self.tried if self.tried else 0.0

    def row(self) -> tuple[str, ...]:
        """The cells under `COLUMNS`; tokens and seconds a task."""
        means = (f"{self.mean(getattr(self.tokens, name)):,.0f}" for name in ("prompt", "judge", "think", "answer"))
        thought = "–" if self.think_rate is None else f"{self.think_rate:.0%}"
        low, high = self.interval
        spread = f"{100 * low:.0f}–{100 * high:.0f}%"
        solved = f"{self.solved}/{self.tried}"
        return (self.mode.value, solved, f"{self.rate:.0%}", spread, thought, *means, f"{self.mean(self.seconds):.1f}")


@dataclass(frozen=True, slots=True)
class Paired:
    """One way against another on the same tries: solved by the first alone (`gained`), by the second alone (`lost`).

    `p` is McNemar's. The shares saved are of tokens written and of seconds, with their 95 % intervals, over tasks.
    """

    pairs: int
    gained: tuple[str, ...]
    lost: tuple[str, ...]
    p: float
    tokens: float | None
    tokens_interval: Interval | None
    seconds: float | None
    seconds_interval: Interval | None

    def sentence(self) -> str:
        """All of it in a line."""
        return (
            f"{self.pairs} pairs: tokens written {_saved(self.tokens, self.tokens_interval)}, "
            f"seconds {_saved(self.seconds, self.seconds_interval)}; "
            f"{len(self.gained)} solved by it alone, {len(self.lost)} by the other alone (McNemar p = {self.p:.2g})"
        )


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of a run; `auto_against_on` where both modes were tried on the same tasks."""

    modes: tuple[ModeFigures, ...]
    auto_against_on: Paired | None

    def as_json(self) -> dict[str, Any]:
        """As a JSON object, modes by name."""
        modes = {each.mode.value: _json(each) for each in self.modes}
        return {"modes": modes, "auto_against_on": self.auto_against_on and asdict(self.auto_against_on)}


def figures(results: Sequence[Result]) -> Figures:
    """The figures of these results, of which each try has one."""
    modes = [mode for mode in ThinkRequest if any(result.mode is mode for result in results)]
    of = {mode: [result for result in results if result.mode is mode] for mode in ThinkRequest}
    pairs = pairs_of(of[ThinkRequest.AUTO], of[ThinkRequest.ON], lambda result: (result.task, result.repeat))
    return Figures(tuple(_figures(mode, of[mode]) for mode in modes), paired(pairs) if pairs else None)


def pairs_of(first: Iterable[Result], second: Iterable[Result], key: Callable[[Result], Any]) -> list[Pair]:
    """Results of the same task as it was, by `key`; where one is an error nothing can be compared."""
    others = {key(result): result for result in second}
    both = ((result, others[key(result)]) for result in first if key(result) in others)
    return [(a, b) for a, b in both if a.digest == b.digest and ERROR not in (a.outcome.status, b.outcome.status)]


def paired(pairs: Sequence[Pair]) -> Paired:
    """The first of each pair against the second."""
    gained = tuple(a.task for a, b in pairs if a.outcome.solved and not b.outcome.solved)
    lost = tuple(a.task for a, b in pairs if b.outcome.solved and not a.outcome.solved)
    tokens = _by_task(pairs, lambda result: result.outcome.tokens.written)
    seconds = _by_task(pairs, lambda result: result.outcome.seconds)
    return Paired(
        len(pairs),
        gained,
        lost,
        mcnemar(len(gained), len(lost)),
        saving(tokens),
        saving_interval(tokens),
        saving(seconds),
        saving_interval(seconds),
    )


def _by_task(pairs: Sequence[Pair], figure: Callable[[Result], float]) -> list[tuple[float, float]]:
    """The figure of both sides, repeats of a task added up: they are not independent of each other."""
    sums: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for a, b in pairs:
        sums[a.task][0] += figure(a)
        sums[a.task][1] += figure(b)
    return [(first, second) for first, second in sums.values()]


def _figures(mode: ThinkRequest, results: Sequence[Result]) -> ModeFigures:
    outcomes = [result.outcome for result in results]
    solved, steps = sum(each.solved for each in outcomes), sum(each.steps for each in outcomes)
    return ModeFigures(
        mode=mode,
        tried=len(outcomes),
        solved=solved,
        errors=sum(each.status == ERROR for each in outcomes),
        rate=solved / len(outcomes),
        interval=wilson(solved, len(outcomes)),
        think_rate=sum(each.thought for each in outcomes) / steps if steps else None,
        tokens=sum((each.tokens for each in outcomes), Tokens()),
        seconds=round(math.fsum(each.seconds for each in outcomes), 3),
    )


def _json(mode: ModeFigures) -> dict[str, Any]:
    return {name: value for name, value in asdict(mode).items() if name != "mode"}


def _saved(share: float | None, interval: Interval | None) -> str:
    if share is None or interval is None:
        return "cannot be compared"
    word = "saved" if share >= 0 else "more"
    low, high = sorted(interval if share >= 0 else (-interval.low, -interval.high))
    return f"{abs(share):.0%} {word} ({low:.0%} to {high:.0%})"
