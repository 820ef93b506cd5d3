"""Work on many records at a time that waits for something else, such as a model; what comes of it keeps their order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TypeVar

T = TypeVar("T")
U = TypeVar("U")
M = TypeVar("M")
_AHEAD = 4
"""Records that are begun for each one that may be under way, so that a slow one holds nobody up; our choice."""


def abreast(
    records: Iterable[T],
    opened: Callable[[], AbstractAsyncContextManager[M]],
    work: Callable[[M, T], Awaitable[Sequence[U]]],
    jobs: int,
) -> Iterator[U]:
    """What `work` makes of each record, in their order; `opened` gives what all of them work with.

    About `jobs` times four records are begun at a time: `work` itself holds back what is dear. The first error that
    `work` raises ends it all. Closing the generator cancels what is under way. Not to be called in a running loop.
    """
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        shared = opened()
        model = runner.run(shared.__aenter__())
        pending: deque[asyncio.Task[Sequence[U]]] = deque()
        try:
            for record in records:
                pending.append(loop.create_task(_worked(work, model, record)))
                if len(pending) >= _AHEAD * max(1, jobs):
                    yield from runner.run(_done(pending.popleft()))
            while pending:
                yield from runner.run(_done(pending.popleft()))
        finally:
            runner.run(cancelled(pending))
            runner.run(shared.__aexit__(None, None, None))


async def _worked(work: Callable[[M, T], Awaitable[Sequence[U]]], model: M, record: T) -> Sequence[U]:
    return await work(model, record)


async def _done(task: asyncio.Task[U]) -> U:
    return await task


async def cancelled(tasks: Iterable[asyncio.Future[U]]) -> None:
    """Cancel what is still under way of tasks, and wait until it is over, whatever becomes of it."""
    waiting = [task for task in tasks if not task.done()]
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
