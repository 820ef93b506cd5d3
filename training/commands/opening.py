"""What a run on data needs besides its stages: a cache, what runs it, and the model that some stages ask."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from assistant import interrupts
from assistant.commands.opening import engine_from, settings_from
from assistant.config import Settings

if TYPE_CHECKING:
    from model.engine import Engine as Model
    from training.data.flow.chunks import Engine


@dataclass(frozen=True, slots=True)
class Opener:
    """Opens the model that stages ask; can travel to other processes."""

    settings: Settings

    def asked(self) -> str:
        """What names the model that answers now: replies of another one are other replies.

        Raises:
            EngineError: nothing answers, which is better known before hours of work than behind them.
        """
        return interrupts.run(self._asked())

    async def _asked(self) -> str:
        engine = await self()
        try:
            info = await engine.info()
        finally:
            await engine.aclose()
        return f"{info.model} {info.dialect}"

    async def __call__(self) -> Model:
        """The engine that the settings name, or the first one that answers."""
        return await engine_from(self.settings)


def opener(teacher: str | None, model: str | None) -> Opener:
    """How the model is opened that stages ask. Raises `UserError` where the settings cannot be used."""
    return Opener(settings_from(engine=teacher, model=model))


def cache_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """Where environments, sources and replies are kept: ``KAT_CACHE``, else the user's cache folder."""
    if environ.get("KAT_CACHE"):
        return Path(environ["KAT_CACHE"]) / "train"
    from platformdirs import user_cache_path

    return user_cache_path("kat-pilot") / "train"


def runner(name: str, jobs: int) -> Engine:
    """What runs stages: processes of this machine, this very process (`jobs` 0), or Ray."""
    if name == "ray":
        from training.data.flow.spread import Spread

        return Spread(jobs)
    from training.data.flow.workers import Here, Local

    return Local(jobs) if jobs else Here()


@contextmanager
def resumable(again: str) -> Iterator[None]:
    """Says how to go on where the run is interrupted."""
    try:
        yield
    except KeyboardInterrupt:
        print(f"\nkat: stopped; {again} goes on where it was", file=sys.stderr)
        raise
