"""The algebra of votes: which mode they are for, and how those on like tasks are put together. Pure functions."""

from __future__ import annotations

import json
from collections.abc import Container, Iterable, Iterator, Mapping
from fractions import Fraction
from typing import NamedTuple

from model.format import Mode
from model.prompt import Message
from training.data.asking.pass_rates import PassRates
from training.data.schema import Difficulty, Sample, Votes, content_id

HEAD = ("| family | difficulty | tasks | on | off | mode |", "|---|---|---|---|---|---|")


class Stratum(NamedTuple):
    """Tasks that are alike."""

    family: str
    difficulty: Difficulty


def decided(votes: Votes, delta: float) -> Mode | None:
    """The mode that votes are for; None where one mode was not tried, or nothing was right in either.

    On wins where its pass rate is higher by more than `delta`; rates are compared as fractions, so that a tie is one.
    """
    if not votes.on_tried or not votes.off_tried or not (votes.on_passed or votes.off_passed):
        return None
    gain = Fraction(votes.on_passed, votes.on_tried) - Fraction(votes.off_passed, votes.off_tried)
    return Mode.ON if gain > Fraction(str(delta)) else Mode.OFF


def added(votes: Iterable[Votes]) -> Votes:
    """Votes on several tasks as one."""
    each = list(votes)
    return Votes(
        sum(one.on_passed for one in each),
        sum(one.on_tried for one in each),
        sum(one.off_passed for one in each),
        sum(one.off_tried for one in each),
    )


def stratum_of(sample: Sample) -> Stratum:
    """Family and difficulty."""
    return Stratum(sample.family, sample.tags.difficulty)


def strata(samples: Iterable[Sample], rates: PassRates) -> dict[Stratum, tuple[int, Votes]]:
    """The votes of each stratum and on how many tasks, each task once, whatever order samples come in."""
    tasks: dict[Stratum, set[str]] = {}
    for sample in samples:
        if sample.task in rates.by_task:
            tasks.setdefault(stratum_of(sample), set()).add(sample.task)
    return {each: (len(found), added(map(rates.votes, found))) for each, found in sorted(tasks.items())}


def table(known: Mapping[Stratum, tuple[int, Votes]], delta: float) -> Iterator[str]:
    """The votes as rows of a Markdown table."""
    if known:
        yield from HEAD
    for (family, difficulty), (tasks, votes) in known.items():
        on, off = f"{votes.on_passed} / {votes.on_tried}", f"{votes.off_passed} / {votes.off_tried}"
        yield f"| {family} | {difficulty} | {tasks} | {on} | {off} | {decided(votes, delta) or '–'} |"


def query_of(sample: Sample, steps: Container[str] = ()) -> str:
    """What a sample replies to: a task, in whatever words it is put; in the families named `steps`, its very prompt."""
    if sample.task and sample.family not in steps:
        return content_id("query", sample.family, sample.task)
    said = [part for message in sample.messages for part in (message.role, message.content, *_calls(message))]
    return content_id("query", sample.family, sample.task, *(tool.name for tool in sample.tools), "", *said)


def _calls(message: Message) -> Iterator[str]:
    for call in message.calls:
        yield f"{call.name} {json.dumps(call.arguments, sort_keys=True)}"
