"""How fast the engine writes, alone and for many, and what it counts."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace

from assistant.doctor.finding import Outcome
from assistant.doctor.subject import Subject
from model.engine import Sampling
from model.format import ThinkRequest
from model.serving.metrics import described

MANY = 8
GAIN = 1.25
"""How many times faster eight streams together must be than one, to count as batched; our choice."""
WRITING = Sampling(temperature=0.0, max_tokens=256, seed=1)
_TASK = "Write a long story about a cat that keeps a lighthouse. Begin with the words: Night {number}."


@dataclass(frozen=True, slots=True)
class Pace:
    """Tokens that streams wrote together, in how many seconds, and how long each waited for its first one."""

    tokens: int
    seconds: float
    first: tuple[float, ...]

    @property
    def rate(self) -> float:
        """Tokens a second."""
        return self.tokens / self.seconds if self.seconds > 0 else 0.0

    def __str__(self) -> str:
        waits = sorted(self.first)
        longest = f" (the slowest {waits[-1]:.2f} s)" if len(waits) > 1 else ""
        return f"{self.rate:.0f} tokens/s, first token after {waits[len(waits) // 2]:.2f} s{longest}"


async def metrics(subject: Subject) -> Outcome:
    """What the server says at /metrics."""
    if subject.transport is None:
        return Outcome(None, "this engine has no server that could count")
    found = await subject.metrics()
    if found is None or not found.program:
        return Outcome(None, "none; nothing can be shown of the server's load and cache", "metrics")
    return Outcome(True, "; ".join(described(found)))


async def one_stream(subject: Subject) -> Outcome:
    """One reply alone."""
    return _told(await pace(subject, 1))


async def eight_streams(subject: Subject) -> Outcome:
    """Eight replies at once, against one alone."""
    half = replace(subject, limits=replace(subject.limits, speed=subject.limits.speed / 2))
    alone, many = await pace(half, 1), await pace(subject, MANY)
    found = _told(many)
    if found.ok and alone.tokens and many.rate < GAIN * alone.rate:
        return Outcome(None, f"{found.detail}: one after the other, not together", "8 streams")
    return found


def _told(found: Pace) -> Outcome:
    return Outcome(True, str(found)) if found.tokens and found.first else Outcome(False, "no token came in time")


async def pace(subject: Subject, streams: int) -> Pace:
    """Streams side by side until they end, or until the limit. Raises `EngineError` where one is refused."""
    wrote = await asyncio.gather(*(_write(subject, number) for number in range(streams)))
    last = max((end for _, _, end in wrote), default=0.0)
    return Pace(sum(tokens for tokens, _, _ in wrote), last, tuple(first for tokens, first, _ in wrote if tokens))


async def _write(subject: Subject, number: int) -> tuple[int, float, float]:
    """Tokens that one stream wrote within the limit, and the seconds to its first and its last one."""
    began = time.monotonic()
    tokens, first, last = 0, 0.0, 0.0
    with suppress(TimeoutError):
        async with asyncio.timeout(subject.limits.speed):
            stream = subject.engine.stream(subject.prompt(_TASK.format(number=number), ThinkRequest.OFF), WRITING)
            async with aclosing(stream) as deltas:
                async for delta in deltas:
                    last = time.monotonic() - began
                    first = first or (last if delta.text else 0.0)
                    tokens = delta.usage.completion if delta.usage else tokens + (delta.tokens or int(bool(delta.text)))
    return tokens, first, last
