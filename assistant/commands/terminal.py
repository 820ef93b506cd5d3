"""Opening the terminal interface: nothing is imported here that the first screen does not show."""

from __future__ import annotations

import asyncio
import gc
import importlib
import sys
from pathlib import Path

from assistant import __version__
from assistant.agent import Agent, AgentFactory
from assistant.commands.opening import engine_from, nearest_root, repository_root
from assistant.config import Settings
from assistant.errors import UserError
from model.engine import EngineError

_COLLECTED = (1_000, 20, 50)
"""How rarely garbage is collected (our choice): all of a long session takes 0.3 s, and keys wait meanwhile."""


def open_terminal(path: Path, settings: Settings, allow: tuple[str, ...] = (), *, resumed: Path | None = None) -> int:
    """Open the interface in the repository of `path`; engine and agent follow when the screen is there.

    `resumed` is the journal of a session that goes on.

    Raises:
        UserError: there is no repository, or no terminal.
    """
    root = nearest_root(path)
    folder = path.resolve()
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UserError("the interface needs a terminal; `kat ask PROMPT` works without one")
    gc.disable()  # nothing that the first screen needs is garbage yet
    from tui.app import run

    def opens(journal: Path | None) -> AgentFactory:
        return lambda: _open_agent(root, folder, settings, allow, journal)

    return run(opens(resumed), root, think=settings.think, version=__version__, reopen=opens)


async def _open_agent(
    root: Path, folder: Path, settings: Settings, allow: tuple[str, ...], journal: Path | None
) -> Agent:
    """A new session, or the one of a journal."""
    gc.freeze()
    gc.set_threshold(*_COLLECTED)
    gc.enable()
    try:
        opening = await asyncio.to_thread(importlib.import_module, "assistant.opening")
        checked = await asyncio.to_thread(repository_root, root)
        engine = await engine_from(settings)
        place = opening.Place(checked, folder=folder, resumed=journal)
        agent: Agent = await opening.open_pilot(place, engine, settings, allow=allow)
    except (UserError, OSError) as error:
        raise EngineError(str(error)) from error
    return agent
