"""Budgets for the judge and the thought of one reply, and stepping into it from outside while it comes.

Tokens are counted as they stream. At a limit the stream is closed, what was written so far gets its closing tags, and
the engine is asked to go on behind them: so the answer follows the thought as far as it came. The same mechanism ends
a thought of which somebody has seen enough, and puts a fact into an open one. The prefix cache makes it cheap.

It asks nothing of a server but that it continues a prompt. Budgets that servers have of their own are not used, since
none is known to be right for KAT (vLLM's does not know the judge); only the embedded engine keeps limits of its own,
segment by segment, below which this works as everywhere. An engine that only chats cannot continue: it is asked anew,
told its thoughts so far, and with thinking off where an answer is due.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Literal

from model.engine import Delta, Engine, EngineError, Finish, Sampling, Usage
from model.escape import escape
from model.format import ModeChosen, Reply, ReplyDelta, Segment, TextDelta, ThinkRequest
from model.prompt import Dialect, Message, Opening, Prompt

Reason = Literal["judge_budget", "think_budget", "enough", "fact"]
"""What stepped into a reply: a budget, somebody who had seen enough, or a fact that somebody gave."""

MOST_CUTS = 2
"""How often a budget cuts one segment of a reply; our choice. A model that takes its thought up once more may do so."""
_LIMITED: dict[Segment, Reason] = {Segment.JUDGE: "judge_budget", Segment.THINK: "think_budget"}
_BEFORE_ANSWER = frozenset({Segment.JUDGE, Segment.MODE, Segment.THINK})
_THINK = {Segment.JUDGE: ThinkRequest.AUTO, Segment.THINK: ThinkRequest.ON}


@dataclass(frozen=True, slots=True)
class Budget:
    """The most tokens that one reply may spend on its judge and on its thought; None is no limit.

    A thought must leave room for an answer: `think` belongs below the `max_tokens` of the sampling.
    """

    judge: int | None = None
    think: int | None = None

    def of(self, segment: Segment) -> int | None:
        """The limit of a segment."""
        match segment:
            case Segment.JUDGE:
                return self.judge
            case Segment.THINK:
                return self.think
            case _:
                return None


def thought_of(reply: int, wanted: int | None = None) -> int:
    """Tokens of a thought that leave room for the answer in a reply of so many: three quarters, our choice.

    Where somebody wants another number it is that, but seven eighths at most.
    """
    return reply * 3 // 4 if wanted is None else min(wanted, reply * 7 // 8)


@dataclass(frozen=True, slots=True)
class Stepped:
    """Something stepped into a reply whose open segment had `tokens` tokens by then; `text` is the fact."""

    reason: Reason
    tokens: int
    text: str = ""


class Steering:
    """How to step into the reply that streams, from elsewhere in the same event loop. It may outlive many replies."""

    def __init__(self) -> None:
        self._open: Segment | None = None
        self._facts: list[str] = []
        self._enough = False
        self._spoken = asyncio.Event()

    def enough(self) -> bool:
        """End the open judge or thought now, so that the answer follows; out of a judge, with thinking off.

        False, and nothing happens, where none is open.
        """
        if self._open not in _BEFORE_ANSWER:
            return False
        self._enough = True
        self._spoken.set()
        return True

    def fact(self, text: str) -> bool:
        """Put a sentence into the open judge or thought. False where none is open, or the text is blank."""
        if self._open not in _LIMITED or self._enough or not text.strip():
            return False
        self._facts.append(text.strip())
        self._spoken.set()
        return True

    @property
    def spoken(self) -> bool:
        """Whether something was said that is not yet done."""
        return self._spoken.is_set()

    def watch(self, segment: Segment | None) -> None:
        """The segment that is open now; None when no reply can be stepped into any more."""
        self._open = segment
        if segment is None:
            self._facts.clear()
            self._enough = False
            self._spoken.clear()

    def take(self, tokens: int) -> Stepped | None:
        """What was said and not yet done, facts first; the open segment has `tokens` tokens."""
        if self._facts:
            return Stepped("fact", tokens, self._facts.pop(0))
        self._spoken.clear()
        if self._enough:
            self._enough = False
            return Stepped("enough", tokens)
        return None

    async def unless_spoken(self, stream: AsyncGenerator[Delta, None]) -> AsyncGenerator[Delta, None]:
        """The stream's deltas until somebody speaks; then it is closed, and a delta that came meanwhile is dropped."""
        spoken = asyncio.ensure_future(self._spoken.wait())
        try:
            while not self._spoken.is_set():
                item = asyncio.ensure_future(anext(stream))
                try:
                    await asyncio.wait({item, spoken}, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    await _ended(item)
                if item.cancelled() or isinstance(item.exception(), StopAsyncIteration) or self._spoken.is_set():
                    return
                yield item.result()
        finally:
            spoken.cancel()
            await stream.aclose()


class BudgetedReply:
    """One reply under a budget, over as many requests as it takes.

    While `deltas` runs and afterwards: `weights` are the tokens that came, by the segment that was open behind each
    piece (an engine that does not count gives 1 a piece). `usage` is None where the engine told nothing; its
    prompt, cached part and prefill are those of the first request that told, its completion is the sum. `stepped`
    is what stepped in, and `settled` says that this chose the mode. `finish` is None while it streams and after it
    was closed early, `error` belongs to `Finish.CUT`. `first_token`, `decode` (from the first token to the end,
    later requests included) and `queue` (the part of `first_token` that was not prefill, 0 where the engine does
    not say) are in seconds.
    """

    def __init__(
        self,
        engine: Engine,
        dialect: Dialect,
        prompt: Prompt,
        sampling: Sampling,
        budget: Budget = Budget(),
        steering: Steering | None = None,
    ) -> None:
        self.weights: Counter[Segment] = Counter()
        self.stepped: list[Stepped] = []
        self.settled = False
        self.finish: Finish | None = None
        self.error: str | None = None
        self.first_token = self.decode = self.queue = 0.0
        self._engine, self._dialect, self._sampling, self._budget = engine, dialect, sampling, budget
        self._prompt = self._asked = prompt
        self._steering = steering or Steering()
        self._parser = dialect.parser()
        self._written = [prompt.opening.text]
        self._spent = _Spent()
        self._cuts: Counter[Segment] = Counter()

    @property
    def reply(self) -> Reply:
        """The reply so far; whole once `deltas` has ended or was closed."""
        return self._parser.reply

    @property
    def usage(self) -> Usage | None:
        """Tokens over all requests."""
        return self._spent.usage

    async def deltas(self) -> AsyncGenerator[ReplyDelta | Stepped, None]:
        """What becomes known of the reply, and what steps into it. Closing this stops the engine.

        Of the prompt's own opening only the mode is told.

        Raises:
            EngineError: nothing came at all. An engine that fails later ends the reply with `Finish.CUT`.
        """
        started, first = time.monotonic(), 0.0
        try:
            for delta in self._parser.feed(self._prompt.opening.text):
                if isinstance(delta, ModeChosen):
                    yield delta
            async with aclosing(self._requests()) as pieces:
                async for piece in pieces:
                    first = first or (time.monotonic() if self._spent.came else 0.0)
                    for item in piece:
                        yield item
            for delta in self._parser.close():
                yield delta
        finally:
            self._parser.close()
            self._steering.watch(None)
            self._clock(started, first)

    def _clock(self, started: float, first: float) -> None:
        now = time.monotonic()
        self.first_token, self.decode = (first or now) - started, now - (first or now)
        prefill = self.usage.prefill if self.usage else None
        self.queue = 0.0 if prefill is None else max(0.0, self.first_token - prefill)

    async def _requests(self) -> AsyncGenerator[list[ReplyDelta | Stepped], None]:
        """What each piece brings, request after request, until the reply is over."""
        self._steering.watch(self._parser.segment)
        try:
            while self.finish is None:
                if step := self._due():
                    yield await self._step_in(step)
                elif (left := self._sampling.max_tokens - self._spent.tokens) <= 0:
                    self.finish = Finish.LENGTH
                else:
                    async with aclosing(self._request(left)) as pieces:
                        async for piece in pieces:
                            yield piece
        except EngineError as error:
            if not self._spent.came:
                raise
            self.finish, self.error = Finish.CUT, str(error)

    async def _request(self, left: int) -> AsyncGenerator[list[ReplyDelta | Stepped], None]:
        """One request, up to its end or to where something steps in."""
        self._spent.next_request()
        stream = self._engine.stream(self._asked, replace(self._sampling, max_tokens=left))
        async with aclosing(self._steering.unless_spoken(stream)) as deltas:
            async for delta in deltas:
                yield self._take(delta)
                if self._over_budget():
                    return
        if not self._steering.spoken:
            self.finish = self.finish or Finish.STOP

    def _take(self, delta: Delta) -> list[ReplyDelta | Stepped]:
        found: list[ReplyDelta | Stepped] = list(self._parser.feed(delta.text))
        self._written.append(delta.text)
        self._spent.take(delta)
        self.finish, self.error = delta.finish, delta.error
        if delta.text:
            self.weights[self._parser.segment] += delta.tokens or 1
        self._steering.watch(self._parser.segment if delta.finish is None else None)
        return found

    def _due(self) -> Stepped | None:
        """What must step in before the engine is asked (again)."""
        segment = self._parser.segment
        said = self._steering.take(self.weights[segment])
        return said or (Stepped(_LIMITED[segment], self.weights[segment]) if self._over_budget() else None)

    def _over_budget(self) -> bool:
        segment = self._parser.segment
        limit = self._budget.of(segment)
        spent = limit is not None and self.weights[segment] >= limit
        return spent and self._cuts[segment] < MOST_CUTS and self.finish is None

    async def _step_in(self, step: Stepped) -> list[ReplyDelta | Stepped]:
        """Begin the next request where `step` wants it. A tag that had only begun is left out: nobody saw it yet."""
        before, segment = self._parser.reply, self._parser.segment
        written = "".join(self._written).removesuffix(self._parser.held)
        continues = (await self._engine.info()).continues
        opening = self._opening(step, written, segment, continues=continues)
        self._parser = self._dialect.parser()
        self._parser.feed(opening.text)
        self._written = [opening.text]
        self._asked = self._dialect.reopen(self._prompt, opening) if continues else self._anew(opening.segment)
        self._cuts[segment] += step.reason in _LIMITED.values()
        self.settled = self.settled or (before.mode is None and self._parser.reply.mode is not None)
        self.stepped.append(step)
        self._steering.watch(self._parser.segment)
        return [step, *_news(before, self._parser.reply)]

    def _opening(self, step: Stepped, written: str, segment: Segment, *, continues: bool) -> Opening:
        """Where the reply goes on. A model that cannot be told to choose its mode now is not left to choose it."""
        match step.reason:
            case "fact":
                return self._dialect.resume(_with_note(written, step.text), segment)
            case "judge_budget" if continues:
                return self._dialect.cut(written, segment)
            case _:
                return self._dialect.answer(written, segment)

    def _anew(self, segment: Segment) -> Prompt:
        """For an engine that only chats: the same question again, with the thoughts so far and the mode that is due."""
        so_far = self.reply.think or self.reply.judge
        ask = "Go on from there." if segment in _THINK else "Answer now, without more thinking."
        said = [Message("user", f"Your thoughts on this so far:\n{so_far}\n\n{ask}")] if so_far else []
        think = _THINK.get(segment, ThinkRequest.OFF)
        prompt = self._dialect.render([*self._prompt.messages, *said], self._prompt.tools, think, "")
        return self._dialect.reopen(prompt, Opening("", segment))


class _Spent:
    """What the requests of a reply cost together."""

    def __init__(self) -> None:
        self.came = False
        self._before = self._here = 0
        self._first: Usage | None = None
        self._told = False

    @property
    def tokens(self) -> int:
        """Tokens that were generated; where an engine does not count, a piece of text is one."""
        return self._before + self._here

    @property
    def usage(self) -> Usage | None:
        return self._first and replace(self._first, completion=self.tokens)

    def next_request(self) -> None:
        self._before, self._here = self.tokens, 0
        self._told = self._first is not None

    def take(self, delta: Delta) -> None:
        self.came = True
        if delta.usage and delta.usage.completion:
            self._here = delta.usage.completion
        else:
            self._here += delta.tokens or int(bool(delta.text))
        if delta.usage and not self._told:
            self._first = delta.usage


def _with_note(written: str, fact: str) -> str:
    """A text with a note from the user on lines of its own, in which no control token is left."""
    gap = "\n" if written and not written.endswith("\n") else ""
    return f"{written}{gap}Note from the user: {escape(fact)}\n"


def _news(before: Reply, after: Reply) -> list[ReplyDelta]:
    """What a new opening added to a reply."""
    news: list[ReplyDelta] = []
    if after.mode is not None and after.mode is not before.mode:
        news.append(ModeChosen(after.mode))
    for segment, old, new in (
        (Segment.JUDGE, before.judge, after.judge),
        (Segment.THINK, before.think, after.think),
    ):
        if added := new.removeprefix(old):
            news.append(TextDelta(segment, added))
    return news


async def _ended(task: asyncio.Future[Delta]) -> None:
    """Cancel a task that is not done, and wait until it is."""
    if not task.done():
        task.cancel()
        await asyncio.wait({task})
