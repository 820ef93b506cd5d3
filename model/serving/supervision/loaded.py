"""The adapters that a server got while it ran: remembered, and loaded again when it had to be started anew."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from model.engine import EngineError
from model.serving.plan import Endpoint
from model.serving.supervision.health import listed


@dataclass(frozen=True, slots=True)
class HasAdapters:
    """The adapters that it has now, as NAME@VERSION=PATH."""

    adapters: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LoadedAgain:
    """An adapter, as NAME@VERSION, is there again after a restart; or it is not, for the `reason`."""

    adapter: str
    reason: str = ""


class LoadedAdapters:
    """What one server has of adapters, whoever loaded them."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._known: dict[str, str] = {}
        self._told: dict[str, str] = {}

    async def look(self) -> HasAdapters | None:
        """What it has, where that has changed since the last look."""
        found = await self._there()
        if found is None:
            return None
        self._known = dict(found)
        if found == self._told:
            return None
        self._told = found
        return HasAdapters(tuple(f"{served}={path}" for served, path in found.items()))

    async def missing(self) -> tuple[str, ...]:
        """What it had before it was started anew, and has not."""
        there = (await self._there() or {}) if self._known else {}
        return tuple(served for served in self._known if served not in there)

    async def restore(self, served: str) -> LoadedAgain:
        """Load an adapter that is missing, under the version of the bytes that are there now."""
        from model.serving.adapter_files import SEPARATOR
        from model.serving.adapters import load

        # Forgotten meanwhile: one that brings the server down is not loaded into each that follows.
        path, name = self._known.pop(served), served.partition(SEPARATOR)[0]
        try:
            new = await load(self._endpoint.url, self._endpoint.key, name, Path(path))
        except EngineError as error:
            return LoadedAgain(served, str(error))
        self._known[new.served] = path
        return LoadedAgain(new.served)

    async def _there(self) -> dict[str, str] | None:
        """Paths by names; None where it does not answer."""
        found = await listed(self._endpoint)
        if not found:
            return None
        return {str(model["id"]): str(model.get("root", "")) for model in found if model.get("parent")}
