"""A reply that is written segment by segment: how an engine that steers a model itself keeps it to KAT's format.

Each segment has its own grammar and limit, so that even a model that never saw the format writes it: the judge has at
most 40 tokens, and a segment that the model leaves open is closed for it. A prefix cache makes the seams cheap.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Protocol

from model.engine import Delta, EngineRefused, Finish, Sampling, Usage
from model.engines.stops import StopWords
from model.format import Segment
from model.grammar import gbnf
from model.prompt import Prompt, ToolSpec

JUDGE_TOKENS = 40
SEGMENT_TOKENS = {Segment.JUDGE: JUDGE_TOKENS, Segment.THINK: 240, Segment.ANSWER: 360}
"""The most tokens a segment may have; our choice, so that a loop of a tiny model ends within seconds."""
_REPEAT_PENALTY = {Segment.THINK: 1.1, Segment.ANSWER: 1.1}


@dataclass(slots=True)
class Part:
    """One segment as it is generated: at most `limit` tokens, held to `grammar` (GBNF) where there is one."""

    segment: Segment
    limit: int
    grammar: str | None = None
    penalty: float = 1.0
    text: str = ""
    tokens: int = 0
    finish: str | None = None


class Turn:
    """A reply under way, across its segments. `ids` is the prompt and what was written in the segments before.

    `held` says whether the model is kept to KAT's format; else all is one segment.
    """

    def __init__(self, prompt: Prompt, sampling: Sampling, ids: list[int], *, held: bool) -> None:
        self.segment = prompt.opening.segment
        self.ids = ids
        self.sampling = sampling
        self.stops = StopWords(sampling.stop)
        self.over = False
        self._held = held
        self._tools: tuple[ToolSpec, ...] = prompt.tools
        self._usage = Usage(prompt=len(ids))
        self._unsaid = 0
        self._finish = Finish.STOP
        self._error: str | None = None

    @property
    def written(self) -> int:
        """Tokens of the reply so far."""
        return self._usage.completion

    def part(self, segment: Segment) -> Part:
        """The next segment, with what is left of its tokens."""
        left = self.sampling.max_tokens - self.written
        if not self._held:
            return Part(segment, left)
        most = min(left, SEGMENT_TOKENS.get(segment, left))
        return Part(segment, most, gbnf(segment, self._tools), _REPEAT_PENALTY.get(segment, 1.0))

    def add(self, part: Part, text: str, tokens: int) -> Delta | None:
        """Take what was generated; the delta that it makes, if any, with the tokens of those that made none."""
        part.text += text
        part.tokens += tokens
        self._unsaid += tokens
        self._usage = replace(self._usage, completion=self.written + tokens)
        certain = self.stops.feed(text)
        self.over = self.over or self.stops.hit
        return Delta(certain, self._said(), usage=self._usage) if certain else None

    def prefilled(self, cached: int, seconds: float) -> None:
        """Note how much of the prompt was known already, and how long the rest took."""
        self._usage = replace(self._usage, cached=cached, prefill=seconds)

    def follow(self, part: Part) -> tuple[str, Segment | None]:
        """The markup behind a finished segment, and the segment that comes next."""
        if self._ran_out(part):
            self._finish = Finish.LENGTH
            return "", None
        if not self._held:
            return "", None
        match part.segment:
            case Segment.JUDGE:
                return _rest(part.text, "\n</judge>\n\n"), Segment.MODE
            case Segment.MODE if part.text.startswith("<think_on>"):
                return "\n<think>\n", Segment.THINK
            case Segment.MODE:
                return "\n<answer>\n", Segment.ANSWER
            case Segment.THINK:
                return _rest(part.text, "\n</think>\n\n<answer>\n"), Segment.ANSWER
            case Segment.ANSWER:
                return _rest(part.text, "\n</answer>"), Segment.TOOL if self._tools else None
            case Segment.TOOL:
                return "", None

    def cut(self, error: str) -> None:
        """End the reply here, unless it had come to its own end."""
        if not self.over:
            self.over, self._finish, self._error = True, Finish.CUT, error

    def fail(self, who: str, message: str) -> None:
        """The engine cannot go on. Raises `EngineRefused` where nothing was written yet; else the reply is cut."""
        if self.written == 0:
            raise EngineRefused(f"{who} cannot answer: {message}")
        self.cut(f"{who} stopped: {message}; what came is kept")

    def last(self) -> Delta:
        """The delta that ends the stream."""
        return Delta(self.stops.flush(), self._said(), self._finish, self._usage, self._error)

    def _said(self) -> int:
        """Tokens since the last delta."""
        tokens, self._unsaid = self._unsaid, 0
        return tokens

    def _ran_out(self, part: Part) -> bool:
        """Whether the reply, and not only its segment, has no tokens left."""
        spent = self.written >= self.sampling.max_tokens
        if part.finish == "length":
            return spent or not self._held or part.tokens < part.limit
        last = Segment.TOOL if self._tools else Segment.ANSWER
        return spent and self._held and part.segment not in (last, Segment.TOOL)


class Writer(Protocol):
    """What runs a model, one segment at a time."""

    def write(self, turn: Turn, part: Part) -> AsyncGenerator[Delta, None]:
        """Generate `part` behind `turn.ids`, adding to the turn what comes, until it is over; closing it stops it."""

    async def encode(self, text: str) -> list[int]:
        """Token ids of text that holds no control tokens."""

    def stopped(self) -> str | None:
        """Why nothing more comes, where the engine was closed."""


async def written(turn: Turn, writer: Writer) -> AsyncGenerator[Delta, None]:
    """The whole reply, the last delta with its end."""
    segment: Segment | None = turn.segment
    while segment is not None:
        part = turn.part(segment)
        async with aclosing(writer.write(turn, part)) as deltas:
            async for delta in deltas:
                yield delta
        if part.finish is None and (reason := writer.stopped()):
            turn.cut(reason)
        if turn.over:
            break
        markup, segment = turn.follow(part)
        if segment is not None:
            turn.ids += await writer.encode(part.text + markup)
        if text := turn.stops.feed(markup):
            yield Delta(text)
        if turn.stops.hit:
            break
    yield turn.last()


def _rest(text: str, markup: str) -> str:
    """`markup` without the part of it that `text` already ends with."""
    for size in range(min(len(markup), len(text)), 0, -1):
        if text.endswith(markup[:size]):
            return markup[size:]
    return markup
