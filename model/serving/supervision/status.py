"""The servers of `kat serve` as rows: how each is, and what it does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from model.engine import EngineError
from model.serving.adapters import list_adapters
from model.serving.metrics import ServerMetrics, read
from model.serving.supervision.health import is_healthy
from model.serving.supervision.running import Running

BETWEEN = 0.5
"""Seconds between the two readings that a speed takes; our choice."""
_HEADS = ("NAME", "MODEL", "UP", "HEALTH", "REQUESTS", "KV", "CACHE HITS", "TOKENS/S", "ADAPTERS", "ADDRESS")


@dataclass(frozen=True, slots=True)
class StatusRow:
    """A server: `started` in seconds since 1970, `health` in a word or two, `metrics` None where it has none."""

    name: str
    model: str
    address: str
    started: float
    health: str
    restarts: int
    adapters: tuple[str, ...]
    metrics: ServerMetrics | None

    def as_json(self) -> dict[str, Any]:
        """For programs; the time in ISO 8601, shares of 1 as numbers."""
        row = asdict(self)
        row["started"] = datetime.fromtimestamp(self.started, UTC).isoformat(timespec="seconds")
        if row["metrics"]:
            del row["metrics"]["counts"]
        return row


async def status_rows(servers: Sequence[Running], before: Sequence[StatusRow] | None = None) -> list[StatusRow]:
    """A row for each server, in their order. Rates are since the rows `before`, else of the next half second."""
    if before is None:
        before = await status_rows(servers, ())
        if any(row.metrics for row in before):
            await asyncio.sleep(BETWEEN)
    old = {row.name: row.metrics for row in before}
    return list(await asyncio.gather(*(_row(running, old.get(running.name)) for running in servers)))


async def watch_rows(
    look: Callable[[], Sequence[Running]], seconds: float = 2.0
) -> AsyncGenerator[list[StatusRow], None]:
    """The rows now and every so many seconds, of the servers that there are then."""
    rows = await status_rows(look())
    while True:
        yield rows
        await asyncio.sleep(seconds)
        rows = await status_rows(look(), rows)


async def _row(running: Running, before: ServerMetrics | None) -> StatusRow:
    health, metrics, adapters = running.stage, None, _remembered(running)
    if running.is_ready:
        health = "healthy" if await is_healthy(running.endpoint) else "does not answer"
    if health == "healthy":
        metrics, adapters = await asyncio.gather(_metrics(running, before), _adapters(running))
    return StatusRow(
        running.name, running.model, running.address, running.started, health, running.restarts, adapters, metrics
    )


async def _metrics(running: Running, before: ServerMetrics | None) -> ServerMetrics | None:
    try:
        return await read(running.address, running.endpoint.key, before)
    except EngineError:
        return None


async def _adapters(running: Running) -> tuple[str, ...]:
    try:
        return tuple(one.served for one in await list_adapters(running.address, running.endpoint.key))
    except EngineError:
        return _remembered(running)


def _remembered(running: Running) -> tuple[str, ...]:
    """The names of the adapters that it had when it was last asked, else of those of its start."""
    return tuple(adapter.partition("=")[0] for adapter in running.loaded or running.adapters)


def table(rows: Sequence[StatusRow], now: float) -> list[str]:
    """The rows as lines of a table, a line of heads above them; `now` in seconds since 1970."""
    cells = [_HEADS, *(_cells(row, now) for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(_HEADS))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in cells)
    return [line.rstrip() for line in lines]


def _cells(row: StatusRow, now: float) -> tuple[str, ...]:
    found = row.metrics or ServerMetrics()
    restarts = f", {row.restarts} restart{'s' if row.restarts > 1 else ''}" if row.restarts else ""
    waiting = f" (+{found.waiting})" if found.waiting else ""
    return (
        row.name,
        row.model,
        _since(now - row.started),
        f"{row.health}{restarts}",
        "–" if found.running is None else f"{found.running}{waiting}",
        _share(found.kv),
        _share(found.hit_rate),
        "–" if found.tokens_per_second is None else f"{found.tokens_per_second:.0f}",
        ", ".join(row.adapters) or "–",
        row.address,
    )


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.0%}"


def _since(seconds: float) -> str:
    minutes, rest = divmod(max(0, int(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
