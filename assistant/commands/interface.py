"""`kat [PATH]`: the terminal interface."""

from __future__ import annotations

import asyncio
import importlib
import sys
from pathlib import Path
from typing import Annotated

import typer

from assistant.commands.opening import checked_rules, engine_from, repository_root, settings_from
from assistant.commands.options import (
    HERE,
    Allow,
    DialectName,
    Engine,
    MaxSteps,
    Model,
    ProfileOption,
    Think,
)
from assistant.errors import UserError
from model.engine import EngineError


def open_interface(
    path: Annotated[Path, typer.Argument(help="a folder in a git repository")] = HERE,
    engine: Engine = None,
    model: Model = None,
    dialect: DialectName = None,
    think: Think = None,
    profile: ProfileOption = None,
    max_steps: MaxSteps = None,
    allow: Allow = None,
) -> int:
    """Open the terminal interface in a repository."""
    settings = settings_from(
        engine=engine, model=model, dialect=dialect, think=think, profile=profile, max_steps=max_steps
    )
    rules = checked_rules(allow)
    root = repository_root(path)
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UserError("the interface needs a terminal; `kat ask PROMPT` works without one")
    from assistant import __version__
    from assistant.agent import Agent
    from tui.app import KatApp

    async def open_agent() -> Agent:
        try:
            pilot = await asyncio.to_thread(importlib.import_module, "assistant.pilot")
            agent: Agent = await pilot.open_pilot(root, await engine_from(settings), settings, allow=rules)
        except (UserError, OSError) as error:
            raise EngineError(str(error)) from error
        return agent

    app = KatApp(open_agent, root, think=settings.think, version=__version__)
    return app.run() or 0
