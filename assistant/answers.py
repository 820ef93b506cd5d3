"""Questions that wait for a person."""

from __future__ import annotations

import asyncio
import time
from typing import Generic, TypeVar

T = TypeVar("T")


class Waiting(Generic[T]):
    """Answers on their way, by the id of what was asked. `seconds` are those that answers took so far."""

    def __init__(self) -> None:
        self._open: dict[str, asyncio.Future[T]] = {}
        self.seconds = 0.0

    def wait(self, id_: str) -> asyncio.Future[T]:
        """The answer to come."""
        waiting: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._open[id_] = waiting
        return waiting

    async def answer(self, waiting: asyncio.Future[T]) -> T:
        """The answer when it comes."""
        started = time.monotonic()
        try:
            return await waiting
        finally:
            self.seconds += time.monotonic() - started

    def give(self, id_: str, answer: T) -> None:
        """Answer one; what is not (or no longer) asked is ignored."""
        waiting = self._open.pop(id_, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(answer)

    def give_all(self, answer: T) -> None:
        """Answer everything that is open."""
        for id_ in list(self._open):
            self.give(id_, answer)
