"""An engine that several borrow, and none of them closes."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass

from model.batch import Samples, sample
from model.engine import Delta, Engine, EngineInfo, Sampling
from model.prompt import Prompt


@dataclass(frozen=True, slots=True)
class Lent:
    """An engine that outlives the session it is lent to."""

    engine: Engine

    async def info(self) -> EngineInfo:
        """What the engine says."""
        return await self.engine.info()

    def stream(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[Delta, None]:
        """The engine's reply."""
        return self.engine.stream(prompt, sampling)

    async def count(self, prompt: Prompt) -> int | None:
        """What the engine counts."""
        return await self.engine.count(prompt)

    async def batch(self, prompt: Prompt, sampling: Sampling, n: int, grammar: str | None) -> Samples:
        """Several replies of the engine, in the way that it has."""
        return await sample(self.engine, prompt, sampling, n, grammar)

    async def aclose(self) -> None:
        """Nothing: it is only lent."""
