"""From flags to an open session."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from assistant.config import Settings, load, state_dir
from assistant.errors import UserError
from model.engine import Engine, is_engine


def settings_from(**flags: Any) -> Settings:
    """The settings with these flags on top, all of them usable.

    Raises:
        UserError: one is not.
    """
    settings = load(flags)
    if settings.engine is not None and not is_engine(settings.engine):
        forms = "embedded, http://host:port, unix:/path or torch:MODEL"
        raise UserError(f"{settings.engine!r} is no engine; write {forms}")
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
        adapter=_adapter(settings),
        model=settings.model,
        silence=settings.silence,
        hold=settings.hold_format,
        environ=environ,
    )


def _adapter(settings: Settings) -> Path | None:
    return Path(settings.adapter).expanduser() if settings.adapter else None


def checked_rules(allow: list[str] | None) -> tuple[str, ...]:
    """The --allow rules, each valid."""
    from assistant.safety.rules import read_rule

    try:
        for text in allow or ():
            read_rule(text)
    except ValueError as error:
        raise UserError(str(error)) from None
    return tuple(allow or ())


def resumed_session(session: str, repo: Path | None = None) -> tuple[Path, Path]:
    """The journal of a session that can go on here and now, and its repository. `repo` is where the user wants it.

    There `last` is the last session of that repository, if it has any.

    Raises:
        UserError: there is none, it is open elsewhere, or its repository is gone or another one.
    """
    from assistant.sessions import find, sessions_dir
    from assistant.sessions.catalogue import spawned_by
    from assistant.sessions.journal import is_open
    from assistant.sessions.resuming import repository_of

    folder = sessions_dir(state_dir(os.environ))
    path = (_last_in(folder, repo) if repo and session == "last" else None) or find(folder, session)
    root = repository_of(path)
    if repo and repo != Path() and (wanted := repository_root(repo)) != root:
        raise UserError(f"session {path.stem} belongs to {root}, not to {wanted}; leave the repository out")
    if call := spawned_by(path):
        raise UserError(f"session {path.stem} is of a sub-agent and cannot go on; go on with {call.partition('/')[0]}")
    if is_open(path):
        raise UserError(f"session {path.stem} is open in another KAT Pilot; close that one first")
    return path, root


def _last_in(folder: Path, place: Path) -> Path | None:
    """The journal in `folder` that was written last of those of the repository around `place`; None without one."""
    from assistant.sessions.index import listed

    try:
        rows = listed(folder, repository=nearest_root(place))
    except UserError:
        return None
    return folder / f"{max(rows, key=lambda row: row.last).id}.jsonl" if rows else None


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
