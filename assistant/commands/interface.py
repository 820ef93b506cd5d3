"""`kat [PATH]` with options: the terminal interface."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from assistant.commands.opening import checked_rules, resumed_session, settings_from
from assistant.commands.options import (
    HERE,
    Adapter,
    Allow,
    DialectName,
    Engine,
    MaxSteps,
    Model,
    ProfileOption,
    Resume,
    Think,
)
from assistant.commands.terminal import open_terminal


def open_interface(
    path: Annotated[Path, typer.Argument(help="a folder in a git repository")] = HERE,
    engine: Engine = None,
    model: Model = None,
    dialect: DialectName = None,
    adapter: Adapter = None,
    think: Think = None,
    profile: ProfileOption = None,
    max_steps: MaxSteps = None,
    allow: Allow = None,
    resume: Resume = None,
) -> int:
    """Open the terminal interface in a repository."""
    settings = settings_from(
        engine=engine,
        model=model,
        dialect=dialect,
        adapter=adapter,
        think=think,
        profile=profile,
        max_steps=max_steps,
    )
    rules = checked_rules(allow)
    if resume is None:
        return open_terminal(path, settings, rules)
    resumed, root = resumed_session(resume, path)
    return open_terminal(root, settings, rules, resumed=resumed)
