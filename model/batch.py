"""Many replies to one prompt: in one request where the engine can, else in several at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Protocol, runtime_checkable

from model.engine import Engine, Finish, Sampling, Usage
from model.prompt import Prompt

AT_ONCE = 8
"""Replies that are asked for side by side where an engine has no batches; our choice."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One of the replies, as text behind the prompt's opening, and why it ended."""

    text: str
    finish: Finish


@dataclass(frozen=True, slots=True)
class Samples:
    """The replies that came, and the tokens of all; the prompt's count as often as it was sent."""

    replies: tuple[Sample, ...] = ()
    usage: Usage = field(default_factory=Usage)

    def __add__(self, more: Samples) -> Samples:
        one, two = self.usage, more.usage
        total = Usage(one.prompt + two.prompt, one.cached + two.cached, one.completion + two.completion)
        return Samples(self.replies + more.replies, total)


@runtime_checkable
class Batching(Protocol):
    """An engine that draws several replies in one request."""

    async def batch(self, prompt: Prompt, sampling: Sampling, n: int, grammar: str | None) -> Samples:
        """At most `n` replies, held to `grammar` (GBNF) where the engine can. Raises `EngineError` if none comes."""


async def sample(engine: Engine, prompt: Prompt, sampling: Sampling, n: int, grammar: str | None = None) -> Samples:
    """`n` replies to `prompt`, or fewer where the engine broke off; with a seed, each has one of its own.

    A `grammar` in GBNF holds the replies of engines that can be held; others may write anything.
    Raises `EngineError` if none comes.
    """
    if n < 1:
        return Samples()
    if isinstance(engine, Batching):
        return await engine.batch(prompt, sampling, n, grammar)
    return await side_by_side(engine, prompt, sampling, n)


async def side_by_side(engine: Engine, prompt: Prompt, sampling: Sampling, n: int) -> Samples:
    """The same by `n` requests, a few at a time. Raises `EngineError` if the engine refuses one of them."""
    return await together(lambda index: _one(engine, prompt, reseeded(sampling, index)), range(n))


async def together(draw: Callable[[int], Awaitable[Samples]], seats: Iterable[int]) -> Samples:
    """What `draw` gives for each of `seats`, a few of them at a time; the first error ends all."""
    turn = asyncio.Semaphore(AT_ONCE)

    async def one(seat: int) -> Samples:
        async with turn:
            return await draw(seat)

    tasks = [asyncio.ensure_future(one(seat)) for seat in seats]
    try:
        return reduce(Samples.__add__, await asyncio.gather(*tasks), Samples())
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def reseeded(sampling: Sampling, offset: int) -> Sampling:
    """The same with a seed that is `offset` further on, where there is one."""
    return sampling if sampling.seed is None else replace(sampling, seed=sampling.seed + offset)


async def _one(engine: Engine, prompt: Prompt, sampling: Sampling) -> Samples:
    text, finish, usage = "", Finish.CUT, Usage()
    async with aclosing(engine.stream(prompt, sampling)) as deltas:
        async for delta in deltas:
            text += delta.text
            finish, usage = delta.finish or finish, delta.usage or usage
    return Samples((Sample(text, finish),), usage)
