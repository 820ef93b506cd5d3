"""A model that is asked for whole replies: in one mode or the other, kept on disk, retried, and counted."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import asdict, dataclass

from assistant.draft import tokens_of
from assistant.errors import UserError
from model.budget import Budget, BudgetedReply
from model.dialects import dialect
from model.engine import Engine, EngineError, EngineInfo, EngineRefused, EngineUnreachable, Finish, Sampling
from model.format import ThinkRequest
from model.prompt import Dialect, Message, Prompt
from training.data.asking.replies_cache import Drawn, ReplyCache, key_of
from training.data.flow.told import Cost
from training.data.stage import Context

_WHYS = {
    ThinkRequest.ON: "Thinking is switched on.",
    ThinkRequest.OFF: "Thinking is switched off.",
    ThinkRequest.AUTO: "",
}
"""What stands in the judge where a mode is prefilled: the words of the assistant's own rule for a pinned mode."""


AT_ONCE = 32
"""Requests at a time to a server that answers many hardly slower than one (vLLM, SGLang); our choice."""


@dataclass(frozen=True, slots=True)
class Drawing:
    """How replies are drawn: `tokens` a reply may have, of which `think` for its thought; `timeout` is in seconds.

    A request that fails is made again up to `retries` times, after `backoff` seconds and then twice as long each time.
    Temperature and top_p are those of HiPO's model card; the rest is our choice.
    """

    temperature: float = 0.6
    top_p: float = 0.95
    tokens: int = 1024
    think: int = 640
    timeout: float = 120.0
    retries: int = 3
    backoff: float = 0.5

    def sampling(self, seed: int, temperature: float | None = None) -> Sampling:
        """How a reply of this seed is drawn; servers take seeds of 31 bits."""
        warmth = self.temperature if temperature is None else temperature
        return Sampling(warmth, self.top_p, self.tokens, seed % 2**31)


@dataclass(slots=True)
class Costs:
    """What was asked of a model so far: replies drawn and found on disk, their tokens, seconds from asking to reply."""

    drawn: int = 0
    found: int = 0
    tokens: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        return (
            f"{self.drawn} replies drawn, {self.found} kept from before, {self.tokens:,} tokens, {self.seconds:.1f} s"
        )


class TookTooLong(Exception):
    """A reply did not come within its time."""


class BrokeOff(Exception):
    """A reply broke off each time."""


class Model:
    """An engine with a cache before it. `name` is the model's, which is what replies are kept under, not its place."""

    def __init__(
        self, engine: Engine, name: str, speaker: Dialect, cache: ReplyCache, drawing: Drawing, most: int
    ) -> None:
        self.name, self.costs = name, Costs()
        self._engine, self._speaker, self._cache, self._drawing = engine, speaker, cache, drawing
        self._free = asyncio.Semaphore(max(1, most))

    async def reply(
        self, messages: Sequence[Message], think: ThinkRequest, seed: int, temperature: float | None = None
    ) -> Drawn:
        """The reply to a conversation in the mode asked for.

        Raises:
            TookTooLong, BrokeOff: there is none.
            EngineError: the engine refuses the request, or is gone and did not come back.
        """
        prompt = self._speaker.render(messages, (), think, _WHYS[think])
        sampling = self._drawing.sampling(seed, temperature)
        key = key_of(self.name, prompt, sampling, think=self._drawing.think)
        if kept := self._cache.get(key):
            self.costs.found += 1
            self.costs.tokens += kept[0].spent
            return kept[0]
        async with self._free:
            drawn = await self._drawn(prompt, sampling)
        return self._cache.put(key, [drawn])[0]

    async def _drawn(self, prompt: Prompt, sampling: Sampling) -> Drawn:
        wait = self._drawing.backoff
        for left in range(self._drawing.retries, -1, -1):
            try:
                return await self._timed(prompt, sampling)
            except EngineRefused:
                raise
            except (EngineError, BrokeOff):
                if not left:
                    raise
            await asyncio.sleep(wait)
            wait *= 2
        raise EngineUnreachable("the engine did not answer; look whether it runs")

    async def _timed(self, prompt: Prompt, sampling: Sampling) -> Drawn:
        started = time.monotonic()
        try:
            async with asyncio.timeout(self._drawing.timeout):
                drawn = await self._once(prompt, sampling)
        except TimeoutError:
            raise TookTooLong(f"no whole reply came within {self._drawing.timeout:g} seconds") from None
        finally:
            self.costs.seconds += time.monotonic() - started
        self.costs.drawn += 1
        self.costs.tokens += drawn.spent
        return drawn

    async def _once(self, prompt: Prompt, sampling: Sampling) -> Drawn:
        reading = BudgetedReply(self._engine, self._speaker, prompt, sampling, Budget(think=self._drawing.think))
        async with aclosing(reading.deltas()) as deltas:
            async for _ in deltas:
                pass
        if reading.finish is Finish.CUT or reading.finish is None:
            raise BrokeOff(reading.error or "the reply broke off")
        spent = tokens_of(reading.usage, reading.weights)
        tokens = {"prompt": spent.prompt, "judge": spent.judge, "think": spent.think, "answer": spent.answer}
        return Drawn(reading.reply, tokens, str(reading.finish))


@asynccontextmanager
async def opened(context: Context, drawing: Drawing) -> AsyncIterator[Model]:
    """The model that the context names, with the replies kept in its cache; at most `jobs` requests at a time, of one
    that batches them `AT_ONCE` at least.

    The embedded one is asked one thing after the other: it gains nothing from more, and what it keeps of prompts, on
    which the last bits of its numbers hang, is then the same each time. For that reason no engine is kept open from
    one call of a stage to the next: what comes of some records must not hang on those before them.

    Raises:
        UserError: the context names none.
        EngineError: it cannot be reached.
    """
    if context.engine is None:
        raise UserError("this stage asks a model; name one with --teacher, or as engine in the recipe")
    engine: Engine = await context.engine()
    try:
        info = await engine.info()
        kept = ReplyCache(context.cache / "replies")
        model = Model(engine, info.model, dialect(info.dialect), kept, drawing, _at_once(info, context.jobs))
        yield model
        context.watch(Cost.of(f"{info.model}: {model.costs}", asdict(model.costs)))
    finally:
        await engine.aclose()


def _at_once(info: EngineInfo, jobs: int) -> int:
    if info.name == "embedded":
        return 1
    return max(jobs, AT_ONCE) if info.batches else jobs
