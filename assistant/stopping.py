"""Waiting that a stop ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable
from typing import Any, TypeVar

T = TypeVar("T")


class Stopped(Exception):
    """The user stopped the run."""


async def until_stopped(stream: AsyncGenerator[T, None], stop: asyncio.Event) -> AsyncGenerator[T, None]:
    """The items of `stream` until it ends or `stop` is set; then `stream` is closed at once."""
    stopping = asyncio.ensure_future(stop.wait())
    try:
        while not stop.is_set():
            item = asyncio.ensure_future(anext(stream))
            try:
                await asyncio.wait({item, stopping}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                await _cancelled(item)
            if item.cancelled() or isinstance(item.exception(), StopAsyncIteration):
                return
            yield item.result()
    finally:
        stopping.cancel()
        await stream.aclose()


async def _cancelled(task: asyncio.Future[Any]) -> None:
    """Cancel a task that is not done, and wait until it is."""
    if not task.done():
        task.cancel()
        await asyncio.wait({task})


async def unless_stopped(work: Awaitable[T], stop: asyncio.Event) -> T:
    """The result of `work`, or `Stopped` as soon as `stop` is set; `work` is cancelled then and has ended."""
    task = asyncio.ensure_future(work)
    stopping = asyncio.ensure_future(stop.wait())
    try:
        if not stop.is_set():  # else what has not begun does not begin
            await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise Stopped
    finally:
        stopping.cancel()
        await _cancelled(task)
