"""From flags to an open session."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from assistant.config import Settings, load
from assistant.errors import UserError
from model.engine import Engine, is_engine


def settings_from(**flags: Any) -> Settings:
    """The settings with these flags on top, all of them usable.

    Raises:
        UserError: one is not.
    """
    settings = load(flags)
    if settings.engine is not None and not is_engine(settings.engine):
        raise UserError(f"{settings.engine!r} is no engine; write embedded, http://host:port or unix:/path")
    return settings


async def engine_from(settings: Settings, environ: Mapping[str, str] = os.environ) -> Engine:
    """The engine that the settings name, or the first one that answers.

    Raises:
        EngineError: there is none.
    """
    from model.select import open_engine

    return await open_engine(
        settings.engine,
        api_key=settings.api_key,
        dialect=settings.dialect,
        model=settings.model,
        silence=settings.silence,
        environ=environ,
    )


def checked_rules(allow: list[str] | None) -> tuple[str, ...]:
    """The --allow rules, each valid."""
    from assistant.safety.permissions import Permissions

    try:
        Permissions(allow or (), interactive=False, sandboxed=True)
    except ValueError as error:
        raise UserError(str(error)) from None
    return tuple(allow or ())


def repository_root(path: Path) -> Path:
    """The root of the repository that `path` lies in.

    Raises:
        WorkspaceError: there is none, or it cannot be worked in.
    """
    from assistant.workspace.git import repository

    return repository(path).root


def nearest_root(path: Path) -> Path:
    """The nearest folder at or above `path` that has a `.git`, without asking git: quick, for the first screen.

    Where there is none, `repository_root` says what is wrong.
    """
    for folder in (resolved := path.resolve(), *resolved.parents):
        if resolved.is_dir() and (folder / ".git").exists():
            return folder
    return repository_root(path)
