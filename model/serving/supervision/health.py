"""Whether a server answers, and with which model."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import Any

from model.serving.plan import Endpoint
from model.serving.starting.endpoints import reached_by


async def is_healthy(endpoint: Endpoint, seconds: float = 5.0) -> bool:
    """Whether /health says yes in that time."""
    status, _ = await _get(endpoint, "/health", seconds)
    return status == 200


async def models(endpoint: Endpoint, seconds: float = 5.0) -> list[str]:
    """The names that /v1/models lists; none if it does not answer or does not take the key."""
    return [str(model["id"]) for model in await listed(endpoint, seconds)]


async def listed(endpoint: Endpoint, seconds: float = 5.0) -> list[dict[str, Any]]:
    """What /v1/models lists: models, and adapters, which have a `parent`; none where it does not answer."""
    _, body = await _get(endpoint, "/v1/models", seconds)
    try:
        found = json.loads(body)["data"]
    except (ValueError, KeyError, TypeError):
        return []
    found = found if isinstance(found, list) else []
    return [model for model in found if isinstance(model, dict) and model.get("id")]


async def _get(endpoint: Endpoint, path: str, seconds: float) -> tuple[int, bytes]:
    """Status and body by HTTP/1.0: asked several times a second while a server starts, so without a client's weight."""
    lines = [f"GET {path} HTTP/1.0", "Host: localhost"]
    lines += [f"Authorization: Bearer {endpoint.key}"] if endpoint.key else []
    try:
        async with asyncio.timeout(seconds):
            reader, writer = await _open(endpoint)
            try:
                writer.write("\r\n".join([*lines, "", ""]).encode())
                head, _, body = (await reader.read()).partition(b"\r\n\r\n")
            finally:
                writer.close()
                with suppress(OSError):
                    await writer.wait_closed()
        return int(head.split(b" ", 2)[1]), body
    except (OSError, TimeoutError, ValueError, IndexError):
        return 0, b""


async def _open(endpoint: Endpoint) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if endpoint.socket:
        return await asyncio.open_unix_connection(str(endpoint.socket))
    return await asyncio.open_connection(reached_by(endpoint.host), endpoint.port)
