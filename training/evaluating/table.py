"""The table of before and after, with intervals: for people in Markdown, for programs as tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from assistant.evaluation.statistics import mcnemar, saving, saving_interval, wilson
from training.evaluating.tries import Asked, Summary, Try, mode_accuracy, paired, summary

_HEAD = ("mode", "model", "solved", "95 %", "in its form", "thinks", "judge", "think", "answer", "tokens")
Columns = Mapping[str, Sequence[Try]]
"""Tries by the name of the model: ``before`` and ``after``, or the one that there is."""
Losses = Mapping[str, Mapping[str, float]]
"""Loss on held-out samples by the name of the model, in nats a token."""


def markdown(columns: Columns, losses: Losses) -> str:
    """The table, and below it what differs beyond chance."""
    return "\n".join([*_rows(columns), "", *_below(columns, losses)]).strip() + "\n"


def as_json(columns: Columns, losses: Losses) -> dict[str, Any]:
    """The same for programs."""
    found: dict[str, Any] = {"losses": {name: dict(loss) for name, loss in losses.items()}, "modes": {}, "choices": {}}
    for asked in _modes(columns):
        sums = {name: summary(_of(tries, asked)) for name, tries in columns.items()}
        found["modes"][asked] = {name: {**asdict(one), "interval": list(_interval(one))} for name, one in sums.items()}
        if len(columns) > 1:
            found["modes"][asked]["change"] = _change(columns, asked)
    for name, tries in columns.items():
        right, judged = mode_accuracy(tries)
        found["choices"][name] = {"right": right, "judged": judged, "interval": list(wilson(right, judged))}
    return found


def figures(tries: Sequence[Try], loss: Mapping[str, float]) -> dict[str, float]:
    """The main figures of one model, by name; shares are of tasks of which something told whether they were solved."""
    found = dict(loss)
    for asked in _modes({"": tries}):
        one = summary(_of(tries, asked))
        found |= {f"solved_{asked}": one.share, f"tokens_{asked}": one.tokens}
        if asked == "auto":
            found["think_rate"] = one.thought
    right, judged = mode_accuracy(tries)
    return found | ({"mode_accuracy": right / judged} if judged else {})


def _rows(columns: Columns) -> Iterator[str]:
    if not any(columns.values()):
        return
    yield f"| {' | '.join(_HEAD)} |"
    yield f"|{'---|' * len(_HEAD)}"
    for asked in _modes(columns):
        for name, tries in columns.items():
            yield f"| {' | '.join((asked, name, *_cells(summary(_of(tries, asked)))))} |"


def _cells(one: Summary) -> Iterator[str]:
    low, high = _interval(one)
    unknown = f" ({one.unknown} unknown)" if one.unknown else ""
    yield f"{one.passed} of {one.judged}, {one.share:.0%}{unknown}"
    yield f"{low:.0%} to {high:.0%}"
    yield f"{one.formed:.0%}"
    yield f"{one.thought:.0%}"
    yield from (f"{value:,.0f}" for value in (one.judge, one.think, one.answer, one.tokens))


def _below(columns: Columns, losses: Losses) -> Iterator[str]:
    for name, tries in columns.items():
        right, judged = mode_accuracy(tries)
        if judged:
            low, high = wilson(right, judged)
            share = f"{right / judged:.0%} ({low:.0%} to {high:.0%})"
            yield f"- {name}: the right mode chosen in {right} of {judged}, {share}"
    if len(columns) > 1:
        yield from (f"- {asked}: {_changed(_change(columns, asked))}" for asked in _modes(columns))
    for name, loss in losses.items():
        yield f"- {name}: on held-out samples {', '.join(f'{part} {value:.4f}' for part, value in loss.items())}"


def _change(columns: Columns, asked: Asked) -> dict[str, Any]:
    """Tasks gained and lost with McNemar's p, and the share of tokens saved with its interval."""
    before, after = columns.values()
    pairs = paired(before, after, asked)
    gained = sum(new.passed is True and old.passed is False for old, new in pairs)
    lost = sum(old.passed is True and new.passed is False for old, new in pairs)
    tokens = [(float(new.tokens), float(old.tokens)) for old, new in pairs]
    interval = saving_interval(tokens)
    return {
        "gained": gained,
        "lost": lost,
        "p": mcnemar(gained, lost),
        "saved": saving(tokens),
        "saved_interval": list(interval) if interval else None,
    }


def _changed(change: Mapping[str, Any]) -> str:
    words = f"{change['gained']} tasks gained, {change['lost']} lost (p {change['p']:.2g})"
    if change["saved"] is None or change["saved_interval"] is None:
        return words
    low, high = change["saved_interval"]
    return f"{words}; {change['saved']:.0%} of the tokens saved ({low:.0%} to {high:.0%})"


def _interval(one: Summary) -> tuple[float, float]:
    return wilson(one.passed, one.judged)


def _of(tries: Sequence[Try], asked: Asked) -> list[Try]:
    return [one for one in tries if one.asked == asked]


def _modes(columns: Columns) -> list[Asked]:
    order: tuple[Asked, ...] = ("auto", "on", "off")
    there = {one.asked for tries in columns.values() for one in tries}
    return [asked for asked in order if asked in there]
