"""Replies while they are drawn, and read afterwards: budgets of judge and thought as in use, and tokens' segments."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from model.budget import MOST_CUTS, Budget
from model.engines.detokenizer import Detokenizer
from model.format import Mode, Reply, Segment, ThinkRequest
from model.prompt import Dialect, Tokenizer
from training.data.masking import segments
from training.examples import Place
from training.sampling import Drawn

_PLACES: Mapping[Segment, Place] = {
    Segment.JUDGE: Place.JUDGE,
    Segment.MODE: Place.JUDGE,
    Segment.THINK: Place.THINK,
    Segment.ANSWER: Place.ANSWER,
    Segment.TOOL: Place.TOOL,
}


class Tokens(Tokenizer, Protocol):
    """A tokenizer both ways, with the ends of a reply: `model.engines.torch_tokens.Tokens` is one."""

    @property
    def ends(self) -> Collection[int]:
        """Tokens that end a reply."""

    def decode(self, ids: Sequence[int]) -> str:
        """The text of tokens."""


@dataclass(frozen=True, slots=True)
class Written:
    """A drawn reply, read: its text without the end token, its parts, and the segment of each of its tokens."""

    drawn: Drawn
    text: str
    reply: Reply
    places: tuple[Place, ...]

    @property
    def spent(self) -> Counter[Place]:
        """Drawn tokens by segment."""
        return Counter(place for place, own in zip(self.places, self.drawn.own, strict=True) if own)


@dataclass(frozen=True, slots=True)
class Voice:
    """How tokens become replies: a tokenizer, a dialect, and budgets of tokens for judge and thought."""

    tokens: Tokens
    dialect: Dialect
    budget: Budget = field(default_factory=Budget)

    def opening(self, mode: Mode, why: str = "") -> tuple[int, ...]:
        """Tokens that force a mode where a reply begins, as the assistant prefills it; `why` is the judge's text."""
        text = self.dialect.render((), (), ThinkRequest(mode.value), why).opening.text
        return tuple(self.tokens.encode(text, specials=True))

    def watch(self) -> BudgetWatch:
        """Somebody who holds a reply to the budgets."""
        return BudgetWatch(self)

    def read(self, drawn: Drawn) -> Written:
        """The reply that was drawn."""
        ids = drawn.ids[:-1] if drawn.finish == "stop" else drawn.ids
        text, starts = self._text(ids)
        parser = self.dialect.parser()
        first = parser.segment
        parser.feed(text)
        parser.close()
        places = _places(text, starts, first)
        end = places[-1:] or [_PLACES[first]]
        return Written(drawn, text, parser.reply, (*places, *end * (len(drawn.ids) - len(ids))))

    def _text(self, ids: Sequence[int]) -> tuple[str, list[int]]:
        """The text, and where in it each token begins."""
        pieces, text, starts = Detokenizer(self.tokens.decode), "", []
        for token in ids:
            starts.append(len(text))
            text += pieces.feed(token)
        return text + pieces.flush(), starts


class BudgetWatch:
    """Ends a judge or a thought that has spent its budget, in the words that the assistant would use."""

    def __init__(self, voice: Voice) -> None:
        self._voice = voice
        self._pieces = Detokenizer(voice.tokens.decode)
        self._parser = voice.dialect.parser()
        self._written = ""
        self._weights: Counter[Segment] = Counter()
        self._cuts: Counter[Segment] = Counter()

    def feed(self, token: int, *, own: bool) -> Sequence[int]:
        """Take a token; what must follow it. What was forced counts for no budget."""
        text = self._pieces.feed(token)
        self._written += text
        self._parser.feed(text)
        segment = self._parser.segment
        self._weights[segment] += own
        limit = self._voice.budget.of(segment)
        spent = limit is not None and self._weights[segment] >= limit and self._cuts[segment] < MOST_CUTS
        if not own or not spent or self._parser.held:
            return ()
        self._cuts[segment] += 1
        return self._voice.tokens.encode(self._due(segment), specials=True)

    def _due(self, segment: Segment) -> str:
        """What ends the segment, behind what is written: no blank of it comes twice."""
        bare = self._written.rstrip()
        due = self._voice.dialect.cut(self._written, segment).text.removeprefix(bare)
        return due.removeprefix(self._written[len(bare) :])


def _places(text: str, starts: Sequence[int], first: Segment) -> list[Place]:
    """The segment in which each token begins, by where it begins."""
    borders, at = [], 0
    for part, segment in segments(text, first):
        at += len(part)
        borders.append((at, _PLACES[segment]))
    found, current = [], 0
    for start in starts:
        while current < len(borders) - 1 and start >= borders[current][0]:
            current += 1
        found.append(borders[current][1] if borders else _PLACES[first])
    return found
