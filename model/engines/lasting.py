"""An engine that is waited for when it goes away; a reply that it had begun goes on where it broke off.

What came is put behind the prompt and the rest is asked for, so that no token is written twice. An engine that cannot
go on behind any opening is only asked again where nothing had come.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace

from model.batch import Samples, sample
from model.dialects import dialect
from model.engine import Delta, Engine, EngineError, EngineInfo, EngineUnreachable, Finish, Sampling, Usage
from model.prompt import Prompt

LOSSES = 3
"""How often one reply may lose its engine: a prompt that brings it down is not sent for ever. Our choice."""
PAUSE = 1.0
"""Seconds between two attempts to reach it; our choice."""
SETTLING = 20.0
"""Seconds in which one that has just come back may refuse what it did before: its adapters are loaded again behind its
start. Our choice."""


@dataclass(frozen=True, slots=True)
class Lost:
    """The engine went away. `written` is the reply so far, its opening included; it is waited for `seconds` at most."""

    error: str
    written: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Found:
    """It answers again, after so many `seconds`."""

    seconds: float


Patience = Callable[[], float]
"""Seconds that a lost engine is waited for, as things are now; with 0 a reply that had begun is asked for once more."""


class Lasting:
    """Any engine, waited for. `tell` hears of each loss and of its end."""

    def __init__(
        self,
        engine: Engine,
        patience: Patience = lambda: 0.0,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.tell: Callable[[Lost | Found], None] = lambda _: None
        self._engine, self._patience, self._sleep, self._clock = engine, patience, sleep, clock

    async def info(self) -> EngineInfo:
        """What the engine says."""
        return await self._engine.info()

    async def stream(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[Delta, None]:
        """The engine's reply, over as many requests as it takes.

        Raises:
            EngineError: nothing came at all, and the engine did not come back.
        """
        reply, last = _Reply(prompt, sampling, (await self._engine.info()).continues), None
        while last is None:
            try:
                async with aclosing(self._request(reply)) as deltas:
                    async for delta in deltas:
                        yield delta
                return
            except _Gone as gone:
                last = await self._wait(reply, gone.error)
        yield last

    async def count(self, prompt: Prompt) -> int | None:
        """What the engine counts."""
        return await self._engine.count(prompt)

    async def batch(self, prompt: Prompt, sampling: Sampling, n: int, grammar: str | None) -> Samples:
        """Several replies of the engine, in the way that it has; it is not waited for."""
        return await sample(self._engine, prompt, sampling, n, grammar)

    async def aclose(self) -> None:
        """Close the engine."""
        await self._engine.aclose()

    async def _request(self, reply: _Reply) -> AsyncGenerator[Delta, None]:
        """The deltas of one request. Raises `_Gone` where the engine leaves it unanswered, or half answered."""
        try:
            async with aclosing(self._engine.stream(reply.asked, reply.sampling)) as deltas:
                async for delta in deltas:
                    if delta.lost and reply.can_go_on:
                        reply.take(delta)
                        raise _Gone(EngineUnreachable(delta.error or "the engine went away"))
                    self._found(reply)
                    yield reply.take(delta)
        except EngineError as error:
            if reply.came or reply.since is not None or isinstance(error, EngineUnreachable):
                raise _Gone(error) from error
            raise

    async def _wait(self, reply: _Reply, error: EngineError) -> Delta | None:
        """None where the engine shall be asked again, else how the reply ends without it."""
        fresh = reply.since is None
        if fresh:
            reply.lose(str(error), self._clock())
        if not self._pays(reply, error, fresh=fresh):
            if not reply.came:
                raise error
            return Delta("", 0, Finish.CUT, reply.usage, reply.error)
        if reply.sampling.max_tokens <= 0:
            return Delta("", 0, Finish.LENGTH, reply.usage)
        if fresh:
            self.tell(Lost(reply.error, reply.asked.opening.text, self._patience()))
        if not (fresh and reply.came):
            await self._sleep(PAUSE)
        return None

    def _pays(self, reply: _Reply, error: EngineError, *, fresh: bool) -> bool:
        """Whether to ask again: a reply that just broke off is asked for in any case, else while patience lasts."""
        if reply.losses > LOSSES:
            return False
        if not isinstance(error, EngineUnreachable):
            return not fresh and reply.refused_for(self._clock()) < min(SETTLING, self._patience())
        return (fresh and reply.came) or reply.away(self._clock()) < self._patience()

    def _found(self, reply: _Reply) -> None:
        """Say that the engine is back, if it was away."""
        if reply.since is not None:
            self.tell(Found(reply.away(self._clock())))
            reply.since = None


class _Gone(Exception):
    """The engine went away."""

    def __init__(self, error: EngineError) -> None:
        super().__init__(str(error))
        self.error = error


class _Reply:
    """A reply over several requests: what came of it, and what to ask for the rest of it.

    `asked` is the prompt with all that came as its opening, `sampling` has the tokens that are left; `since` is when
    the engine went away, or None while it answers.
    """

    def __init__(self, prompt: Prompt, sampling: Sampling, continues: bool) -> None:
        self.asked, self.sampling = prompt, sampling
        self.came = False
        self.usage: Usage | None = None
        self.since: float | None = None
        self._refused: float | None = None
        self.losses = 0
        self.error = ""
        self._continues = continues
        self._text = ""
        self._before = self._here = 0

    @property
    def can_go_on(self) -> bool:
        """Whether what is missing can be asked for."""
        return self._continues or not self.came

    def take(self, delta: Delta) -> Delta:
        """The delta with the usage of the whole reply."""
        self._text += delta.text
        self.came = self.came or bool(delta.text)
        if delta.usage is None:
            self._here += delta.tokens
            return delta
        self._here = delta.usage.completion
        self.usage = replace(self.usage or delta.usage, completion=self._before + self._here)
        return replace(delta, usage=self.usage)

    def away(self, now: float) -> float:
        """Seconds since the engine went away."""
        return 0.0 if self.since is None else now - self.since

    def refused_for(self, now: float) -> float:
        """Seconds since it refused for the first time after it went away."""
        self._refused = now if self._refused is None else self._refused
        return now - self._refused

    def lose(self, error: str, now: float) -> None:
        """The engine went away; the next request goes on behind what came."""
        self.since, self.error, self.losses, self._refused = now, error, self.losses + 1, None
        self.sampling = replace(self.sampling, max_tokens=self.sampling.max_tokens - self._here)
        self._before, self._here = self._before + self._here, 0
        if self._text:
            self.asked, self._text = _behind(self.asked, self._text), ""


def _behind(prompt: Prompt, text: str) -> Prompt:
    """The prompt with `text` behind its opening."""
    speaker = dialect(prompt.dialect)
    parser, written = speaker.parser(), prompt.opening.text + text
    parser.feed(written)
    return speaker.reopen(prompt, speaker.resume(written, parser.segment))
