"""Ctrl-C that is always heard.

Python turns it into a KeyboardInterrupt wherever the program is. Raised in a callback (of the import system, behind a
fork, in a finaliser) nobody can catch it and Python drops it; asyncio, from its first step on, cancels instead.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")
_dropped = False


def listen() -> None:
    """Note an interrupt that Python drops; `run` hears it. To be called once, first of all."""
    sys.unraisablehook = _note


def run(main: Coroutine[Any, Any, T]) -> T:
    """As `asyncio.run`. Interrupted, it raises KeyboardInterrupt, whatever went wrong on the way out, and also where
    something on the way took the interrupt for its own and went on."""
    import asyncio  # not above: `kat --version` does not wait for it

    return asyncio.run(_hearing(main))


@contextmanager
def held() -> Iterator[None]:
    """An interrupt meanwhile is met at the end: for what must not be left half done, and takes no time."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def caused(error: BaseException | None) -> bool:
    """Whether an error is what became of an interrupt: Python wraps what is raised while it makes a class."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__cause__ or error.__context__
    return False


async def _hearing(main: Coroutine[Any, Any, T]) -> T:
    import asyncio

    if _dropped:
        signal.raise_signal(signal.SIGINT)
    try:
        found = await main
    except Exception as error:
        if _cancelled():  # a child had the Ctrl-C too, and what it says of that came first
            raise asyncio.CancelledError from error
        raise
    if _cancelled():
        raise asyncio.CancelledError
    return found


def _cancelled() -> bool:
    import asyncio

    task = asyncio.current_task()
    return task is not None and bool(task.cancelling())


def _note(unraisable: sys.UnraisableHookArgs) -> None:
    global _dropped
    if issubclass(unraisable.exc_type, KeyboardInterrupt):
        _dropped = True
    else:
        sys.__unraisablehook__(unraisable)
