"""Work that blocks, in a thread, read as an asynchronous stream."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import Executor
from typing import TypeVar

T = TypeVar("T")
Take = Callable[[T], bool]
"""Takes a piece, and returns True once no more is wanted."""


class Streams:
    """Runs work in `thread`, one after the other, and hands on what it gives while it goes on."""

    def __init__(self, thread: Executor) -> None:
        self._thread = thread
        self._running: set[threading.Event] = set()

    async def read(self, work: Callable[[Take[T]], object]) -> AsyncGenerator[T, None]:
        """What `work` gives to the function that it gets; closing the generator cancels it without waiting."""
        loop, queue, cancelled = asyncio.get_running_loop(), asyncio.Queue[T | None](), threading.Event()

        def take(piece: T) -> bool:
            if not cancelled.is_set():
                loop.call_soon_threadsafe(queue.put_nowait, piece)
            return cancelled.is_set()

        def over(done: asyncio.Future[object]) -> None:
            if not done.cancelled():
                done.exception()  # seen: after a cancel nobody asks for it, and the loop would complain
            queue.put_nowait(None)

        running: asyncio.Future[object]
        running = loop.run_in_executor(self._thread, lambda: None if cancelled.is_set() else work(take))
        running.add_done_callback(over)
        self._running.add(cancelled)
        try:
            while (piece := await queue.get()) is not None:
                yield piece
            if not running.cancelled():
                await running
        finally:
            cancelled.set()
            self._running.discard(cancelled)

    def cancel(self) -> None:
        """Have all work stop at the next piece."""
        for event in self._running:
            event.set()
