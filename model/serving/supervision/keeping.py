"""Keeps the file of state of a supervised server true, and ends servers by what their files say."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from dataclasses import replace
from pathlib import Path

from model.serving.starting.endpoints import BadEndpoint
from model.serving.supervision import running as state
from model.serving.supervision.loaded import HasAdapters, LoadedAgain
from model.serving.supervision.processes import born_at
from model.serving.supervision.running import READY, Running
from model.serving.supervision.supervise import (
    Crashed,
    GaveUp,
    Progress,
    Ready,
    ServerEvent,
    Started,
    Stopped,
    Supervisor,
    end_group,
)

FAILED = "failed: "
"""How the stage of a server begins that was given up; the reason follows."""
_POLL = 0.1


async def kept(supervisor: Supervisor, folder: Path, running: Running) -> AsyncGenerator[ServerEvent, None]:
    """The events of a supervisor, each after its state was written; a server that has stopped is forgotten."""
    state.write(folder, running)
    written = running
    try:
        async with aclosing(supervisor.events()) as events:
            async for event in events:
                running = _after(event, running)
                if running != written:
                    with suppress(OSError):  # a full disk is no reason to end a server; it is tried again
                        state.write(folder, running)
                        written = running
                yield event
    except BadEndpoint as error:
        running = replace(running, pid=None, stage=f"{FAILED}{error}", ready=None)
        state.write(folder, running)
        raise
    finally:
        if not running.stage.startswith(FAILED):
            state.forget(folder, running.name)


def failure(running: Running | None) -> str | None:
    """Why a server was given up, or None."""
    if running is None or not running.stage.startswith(FAILED):
        return None
    return running.stage.removeprefix(FAILED)


async def stop(folder: Path, running: Running, grace: float = 30.0) -> bool:
    """End a server by way of its supervisor, or without where that is gone; whether it is gone then."""
    if state.is_supervised(folder, running.name):
        with suppress(ProcessLookupError):
            os.kill(running.supervisor, signal.SIGTERM)
        await _until(lambda: not state.is_supervised(folder, running.name), grace)
    current = state.read(folder, running.name) or running
    if not state.is_supervised(folder, running.name) and state.is_alive(current):
        await end_orphan(current, grace)
    gone = not state.lives(folder, current)
    if gone:
        state.forget(folder, running.name)
    return gone


async def end_orphan(running: Running, grace: float = 20.0) -> None:
    """End a server whose supervisor is gone, with all its processes."""
    if running.pid is None or not state.is_alive(running):
        return
    gone = _until(lambda: not state.is_alive(running), grace)
    await end_group(running.pid, gone, grace, asyncio.Event())
    if running.endpoint.socket:
        running.endpoint.socket.unlink(missing_ok=True)


def _after(event: ServerEvent, running: Running) -> Running:
    match event:
        case Started(pid=pid):
            return replace(running, pid=pid, born=born_at(pid), stage="starting")
        case Progress(stage=stage):
            return replace(running, stage=stage.name)
        case Ready():
            return replace(running, stage=READY, ready=time.time())
        case Crashed():
            return replace(running, pid=None, stage="restarting", ready=None, restarts=running.restarts + 1)
        case GaveUp(reason=reason):
            return replace(running, pid=None, stage=f"{FAILED}{reason}", ready=None)
        case Stopped():
            return replace(running, pid=None, stage="stopped", ready=None)
        case HasAdapters(adapters=adapters):
            return replace(running, loaded=adapters)
        case LoadedAgain():
            return running


async def _until(done: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not done() and time.monotonic() < end:  # noqa: ASYNC110 - it is another process that changes
        await asyncio.sleep(_POLL)
