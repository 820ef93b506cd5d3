"""Rollouts: replies, or whole episodes, that are drawn, read and scored; and the rows that a trainer learns from.

A rollout is one or more turns. The turns of an episode are documents of one row: KAT's template strips earlier judges
and thoughts, so that a later prompt does not continue the row, and must not see what stands before it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from assistant.think import Situation, pinned_mode
from model.format import Mode, ThinkRequest
from training.budgets import Voice, Written
from training.examples import Place
from training.rewards import Score
from training.sampling import Ask, Drawn, Limits

T = TypeVar("T")
Prompted = Callable[[T], Sequence[int]]
"""A task as the token ids of its prompt, at whose end the reply begins."""
Scored = Callable[[T, Written], Score]
"""What a reply to a task is worth; called in threads, several at a time where `jobs` allows it."""


class Draws(Protocol):
    """Anything that draws replies: `training.sampling.Sampler`, `training.syncing.ServerSampler`."""

    def draw(self, asks: Sequence[Ask], limits: Limits, seed: int = 0) -> list[Drawn]:
        """A reply to each ask, in their order."""


@dataclass(frozen=True, slots=True)
class Seat(Generic[T]):
    """A rollout to be made: its task, and the mode that is forced on it, or None."""

    task: T
    mode: Mode | None = None


@dataclass(frozen=True, slots=True)
class Turn:
    """A reply behind its prompt."""

    prompt: tuple[int, ...]
    written: Written


@dataclass(frozen=True, slots=True)
class Tried:
    """A rollout. `mode` is what it chose, or what was forced on it; of an episode, what most of its turns did.

    `wish` is what the user asked for. `lost` says that it broke off by no fault of the model: nothing is learned of it.
    """

    turns: tuple[Turn, ...]
    score: Score
    mode: Mode | None
    forced: bool = False
    wish: ThinkRequest = ThinkRequest.AUTO
    lost: bool = False

    @property
    def spent(self) -> int:
        """Tokens that the model drew."""
        return sum(turn.written.drawn.spent for turn in self.turns)

    def spent_in(self, place: Place) -> int:
        """Those of one segment."""
        return sum(turn.written.spent[place] for turn in self.turns)


Play = Callable[[Sequence[Seat[T]], int], list[Tried]]
"""Makes rollouts, one a seat, in their order; by a seed."""


@dataclass(frozen=True, slots=True)
class Replies(Generic[T]):
    """Single replies: all prompts at once to whoever draws, all replies to the checker."""

    draws: Draws
    voice: Voice
    pose: Prompted[T]
    score: Scored[T]
    limits: Limits = field(default_factory=Limits)
    wish: Callable[[T], ThinkRequest] = lambda _: ThinkRequest.AUTO
    jobs: int = 1

    def __call__(self, seats: Sequence[Seat[T]], seed: int) -> list[Tried]:
        """One rollout a seat."""
        asks = [Ask(tuple(self.pose(seat.task)), self._forced(seat.mode)) for seat in seats]
        written = [self.voice.read(each) for each in self.draws.draw(asks, self.limits, seed)]
        with ThreadPoolExecutor(max_workers=max(1, self.jobs)) as threads:
            scores = list(threads.map(self.score, [seat.task for seat in seats], written))
        return [self._tried(*each) for each in zip(seats, asks, written, scores, strict=True)]

    def longest(self, tasks: Iterable[T]) -> int:
        """Tokens of the longest row that one of these may become."""
        opening = max(len(self._forced(mode)) for mode in Mode)
        return max((len(self.pose(task)) for task in tasks), default=0) + opening + self.limits.tokens

    def _forced(self, mode: Mode | None) -> tuple[int, ...]:
        return self.voice.opening(mode, why_forced(mode)) if mode else ()

    def _tried(self, seat: Seat[T], ask: Ask, written: Written, score: Score) -> Tried:
        turn = Turn(ask.prompt, written)
        return Tried((turn,), score, written.reply.mode, seat.mode is not None, self.wish(seat.task))


def why_forced(mode: Mode) -> str:
    """The judge's text where a mode is forced, as the assistant has it for a mode that is pinned."""
    decision = pinned_mode(Situation("", ThinkRequest(mode.value), 0))
    return decision.why if decision else ""


def seats(tasks: Sequence[T], group: int, *, paired: bool) -> list[Seat[T]]:
    """`group` seats for each task. Where `paired`, every second one is forced, by turns into each mode.

    So each group has both modes, whatever the policy prefers, and half of it chooses for itself: only what was chosen
    teaches the judge, whose forced tokens carry no loss. That a half is forced, and not all, is our choice.
    """
    forced: tuple[Mode | None, ...] = (None, Mode.ON, None, Mode.OFF) if paired else (None,)
    return [Seat(task, forced[number % len(forced)]) for task in tasks for number in range(group)]


def majority(modes: Sequence[Mode | None]) -> Mode | None:
    """What most did; thinking where it is even, None where nobody chose."""
    on, off = modes.count(Mode.ON), modes.count(Mode.OFF)
    if not on and not off:
        return None
    return Mode.ON if on >= off else Mode.OFF


@dataclass(frozen=True, slots=True)
class Row:
    """A rollout as a trainer takes it: the first prompt, and behind it replies with later prompts between them.

    All but `prompt` are as long as the completion: `own` is 1 where the model drew the token, `documents` counts turns.
    """

    prompt: tuple[int, ...]
    completion: tuple[int, ...]
    logprobs: tuple[float, ...]
    own: tuple[int, ...]
    documents: tuple[int, ...]
    places: tuple[int, ...]


def row(tried: Tried) -> Row:
    """The row of a rollout; of a lost one no token counts."""
    ids: list[int] = []
    logprobs: list[float] = []
    own: list[int] = []
    documents: list[int] = []
    places: list[int] = []
    for number, turn in enumerate(tried.turns):
        drawn, before = turn.written.drawn, turn.prompt if number else ()
        ids += [*before, *drawn.ids]
        logprobs += [*[0.0] * len(before), *drawn.logprobs]
        own += [*[0] * len(before), *(int(each and not tried.lost) for each in drawn.own)]
        documents += [number] * (len(before) + len(drawn.ids))
        places += [*[int(Place.PROMPT)] * len(before), *map(int, turn.written.places)]
    return Row(tried.turns[0].prompt, tuple(ids), tuple(logprobs), tuple(own), tuple(documents), tuple(places))


def as_trl(rows: Sequence[Row], **extras: Sequence[Any]) -> dict[str, Any]:
    """Rows as TRL's `rollout_func` returns them; `extras` reach the rewards."""
    return {
        "prompt_ids": [list(each.prompt) for each in rows],
        "completion_ids": [list(each.completion) for each in rows],
        "logprobs": [list(each.logprobs) for each in rows],
        "env_mask": [list(each.own) for each in rows],
        **{name: list(values) for name, values in extras.items()},
    }
