"""Questions that wait for a person."""

from __future__ import annotations

import asyncio
from typing import Generic, TypeVar

T = TypeVar("T")


class Waiting(Generic[T]):
    """Answers on their way, by the id of what was asked."""

    def __init__(self) -> None:
        self._open: dict[str, asyncio.Future[T]] = {}

    def wait(self, id_: str) -> asyncio.Future[T]:
        """The answer to come."""
        waiting: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._open[id_] = waiting
        return waiting

    def give(self, id_: str, answer: T) -> None:
        """Answer one; what is not (or no longer) asked is ignored."""
        waiting = self._open.pop(id_, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(answer)

    def give_all(self, answer: T) -> None:
        """Answer everything that is open."""
        for id_ in list(self._open):
            self.give(id_, answer)
