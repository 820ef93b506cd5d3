"""Work in a thread, read as a stream."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from model.engines.threads import Streams


async def test_pieces_come_in_order_and_an_error_comes_last() -> None:
    def work(take: Callable[[int], bool]) -> None:
        for number in range(3):
            take(number)
        raise ValueError("broken")

    with ThreadPoolExecutor(1) as thread:
        stream = Streams(thread).read(work)
        assert [await anext(stream) for _ in range(3)] == [0, 1, 2]
        with pytest.raises(ValueError, match="broken"):
            await anext(stream)


async def test_what_breaks_after_a_cancel_is_nobodys_business() -> None:
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    closed = threading.Event()

    def work(take: Callable[[int], bool]) -> None:
        take(1)
        closed.wait(5)
        assert take(2), "told to stop"
        raise ValueError("broken")

    with ThreadPoolExecutor(1) as thread:
        stream = Streams(thread).read(work)
        assert await anext(stream) == 1
        await stream.aclose()
        closed.set()
    await asyncio.sleep(0)
    del stream
    await asyncio.sleep(0.01)
    gc.collect()
    assert complaints == []
