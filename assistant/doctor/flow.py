"""Whether the engine stops when told to, remembers prompts, and refuses those that are too long."""

from __future__ import annotations

import asyncio
import secrets
import time
from contextlib import aclosing

from assistant.doctor.finding import Outcome
from assistant.doctor.subject import Subject
from assistant.doctor.switching import HARD
from model.engine import EngineError, EngineRefused, Finish, Sampling, Usage
from model.format import ThinkRequest
from model.prompt import Prompt
from model.serving.metrics import ServerMetrics

CLOSE_SECONDS = 1.0
"""How long closing a stream, or what that costs the next reply, may take; our choice."""
CACHED_SHARE = 0.5
"""The share of a prompt sent again that must come from the cache; our choice, blocks are at most 256 tokens."""
LINES = 40
"""Lines of the prompt that is sent twice, some 10 tokens each."""
PROBE_TOKENS = 512
"""Length of the prompt by which the speed of reading is estimated."""
OVER = 64
"""Tokens by which a prompt is too long."""
ONE = Sampling(temperature=0.0, max_tokens=1, seed=1)
LONG = Sampling(temperature=0.0, max_tokens=1024, seed=1)
_LOOK_SECONDS = 0.02


async def cancel(subject: Subject) -> Outcome:
    """A stream that is closed leaves the engine to the next one."""
    short = subject.prompt("Say yes.", ThinkRequest.OFF)
    usual = await _seconds(subject, short)
    before = await subject.metrics()
    stream = subject.engine.stream(subject.prompt(HARD, ThinkRequest.ON), LONG)
    await anext(stream)
    began = time.monotonic()
    await stream.aclose()
    closed = time.monotonic() - began
    then = await _seconds(subject, short)
    # Counted behind the next reply: an engine that has nothing to do may leave its gauges as they were.
    freed = await _freed(subject, before, began)
    told = f"closed after {_ms(closed)}, the next reply came after {_ms(then)} (before: {_ms(usual)})"
    if closed > CLOSE_SECONDS or then > usual + CLOSE_SECONDS:
        return Outcome(False, told)
    if before is None or before.running is None:
        return Outcome(True, told)
    if freed is None:
        return Outcome(False, f"{told}, but after {subject.limits.cancel:g} s the server still counts it as running")
    return Outcome(True, f"{told}, by its count the server was free after {_ms(freed)}")


async def prefix_cache(subject: Subject) -> Outcome:
    """The same prompt again is not read again."""
    lines = (f"Line {number} says {number * 7}." for number in range(LINES))
    prompt = subject.prompt("\n".join([secrets.token_hex(8), *lines]), ThinkRequest.OFF)
    first = await _seconds(subject, prompt)
    before = await subject.metrics()
    began = time.monotonic()
    usage = await _read(subject, prompt)
    again = time.monotonic() - began
    after = await subject.metrics(before)
    times = f"{_ms(first)} the first time, {_ms(again)} the second"
    if usage and usage.cached >= CACHED_SHARE * usage.prompt > 0:
        return Outcome(True, f"{usage.cached} of {usage.prompt} tokens from the cache; {times}")
    if after and after.hit_rate is not None and after.hit_rate >= CACHED_SHARE:
        return Outcome(True, f"{after.hit_rate:.0%} by the server's metrics, its replies do not say; {times}", "cached")
    if usage is None or (subject.kind not in _TELLS and not usage.cached):
        return Outcome(None, f"the server does not say what it had cached; {times}")
    return Outcome(False, f"{usage.cached} of {usage.prompt} tokens from the cache; {times}")


_TELLS = frozenset({"vllm", "sglang", "llama-server", "embedded"})
"""Servers that count what they took from their cache, in replies or at /metrics."""


async def context(subject: Subject) -> Outcome:
    """What is longer than the context is refused, what nearly fills it is not."""
    most = subject.info.context
    if most is None:
        return Outcome(None, "the server does not say how long a prompt may be", "context unknown")
    try:
        await _read(subject, await _sized(subject, most + OVER))
    except EngineRefused as error:
        refused = f"more than {most} tokens are refused ({_short(str(error))})"
    else:
        return Outcome(False, f"a prompt of more than {most} tokens was taken: part of it is lost unseen")
    return await _nearly_full(subject, most, refused)


async def _nearly_full(subject: Subject, most: int, refused: str) -> Outcome:
    size = min(PROBE_TOKENS, most // 2)
    seconds = await _seconds(subject, await _sized(subject, size))
    expected = seconds * (most - OVER) / size
    if expected > subject.limits.prefill:
        return Outcome(True, f"{refused}; one that nearly fills it was not tried, it would take about {expected:.0f} s")
    try:
        spent = await _seconds(subject, await _sized(subject, most - OVER))
    except EngineError as error:
        return Outcome(False, f"a prompt of about {most - OVER} tokens should fit into {most}, but: {error}")
    return Outcome(True, f"{refused}; about {most - OVER} were read in {spent:.1f} s")


async def _sized(subject: Subject, tokens: int) -> Prompt:
    """A prompt of about so many tokens, and another one each time; by the engine's own count where it counts."""
    head, unit = f"{secrets.token_hex(4)} ", "alpha beta gamma delta "
    empty = await subject.engine.count(subject.prompt(head, ThinkRequest.OFF))
    some = await subject.engine.count(subject.prompt(head + unit * 100, ThinkRequest.OFF))
    if empty is None or some is None:
        return subject.prompt(head + unit * (tokens // 4), ThinkRequest.OFF)
    words = max(0, tokens - empty) * 100 // max(1, some - empty)
    return subject.prompt(head + unit * words, ThinkRequest.OFF)


async def _read(subject: Subject, prompt: Prompt) -> Usage | None:
    """Have a prompt read and one token written; what the engine counted. Raises `EngineError`."""
    usage = None
    async with aclosing(subject.engine.stream(prompt, ONE)) as stream:
        async for delta in stream:
            usage = delta.usage or usage
            if delta.finish is Finish.CUT:
                raise EngineError(delta.error or "the reply broke off")
    return usage


async def _seconds(subject: Subject, prompt: Prompt) -> float:
    began = time.monotonic()
    await _read(subject, prompt)
    return time.monotonic() - began


async def _freed(subject: Subject, before: ServerMetrics | None, began: float) -> float | None:
    """Seconds from `began` until the server runs no more than before; None if it takes too long or does not count."""
    if before is None or before.running is None:
        return None
    end = time.monotonic() + subject.limits.cancel
    while time.monotonic() < end:
        now = await subject.metrics()
        if now and now.running is not None and now.running <= before.running:
            return time.monotonic() - began
        await asyncio.sleep(_LOOK_SECONDS)
    return None


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"


def _short(text: str) -> str:
    return text if len(text) <= 120 else f"{text[:119]}…"
