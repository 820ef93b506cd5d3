"""What the engine of a session says beside the session, over connections of its own."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace

from assistant.commands.opening import engine_from
from assistant.config import load
from assistant.doctor.examination import examine
from assistant.doctor.finding import Finding
from assistant.errors import UserError
from model.engine import Engine, EngineError, EngineInfo
from model.engines.remote import RemoteEngine
from model.serving.metrics import ServerMetrics, fetch

EVERY = 2.0
"""Seconds between two readings; our choice."""


async def readings(
    info: EngineInfo, environ: Mapping[str, str] = os.environ, seconds: float = EVERY
) -> AsyncGenerator[ServerMetrics, None]:
    """What the server counts, again and again; nothing at all where there is no server or it has no metrics."""
    before: ServerMetrics | None = None
    if not is_server(info):
        return
    try:
        async with _beside(info, environ) as engine:
            while isinstance(engine, RemoteEngine):
                yield (before := await fetch(engine.transport, before))
                await asyncio.sleep(seconds)
    except (EngineError, UserError):
        return


async def findings(info: EngineInfo, environ: Mapping[str, str] = os.environ) -> AsyncGenerator[Finding, None]:
    """What the quick probes of `kat doctor` find of a server, each when it is known."""
    if not is_server(info):
        yield Finding("engine", None, "it runs inside this program; `kat doctor --engine embedded` examines it")
        return
    try:
        async with _beside(info, environ) as engine, aclosing(examine(engine, quick=True)) as found:
            async for finding in found:
                yield finding
    except (EngineError, UserError) as error:
        yield Finding("engine", False, str(error))


def is_server(info: EngineInfo) -> bool:
    """Whether the engine is a server, and not a part of this program."""
    return info.name.startswith(("http://", "https://", "unix:"))


@asynccontextmanager
async def _beside(info: EngineInfo, environ: Mapping[str, str]) -> AsyncIterator[Engine]:
    """The same server once more."""
    settings = replace(load({}, environ), engine=info.name, model=info.model)
    engine = await engine_from(settings, environ)
    try:
        yield engine
    finally:
        await engine.aclose()
