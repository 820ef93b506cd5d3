"""Where the places of a recipe are."""

from __future__ import annotations

from pathlib import Path

from model.catalog import known


def place(base: Path, where: str) -> str:
    """A place of the recipe: an URL as it is, a path as seen from the recipe."""
    return where if "://" in where else str(base / Path(where).expanduser())


def model_place(base: Path, named: str) -> str:
    """A model of the recipe: a name of the catalogue or on a hub, or an URL, as it is; a folder or file that is there
    as seen from the recipe."""
    if not named or "://" in named or known(named):
        return named
    try:
        beside = base / Path(named).expanduser()
        return str(beside) if beside.exists() else named
    except (OSError, RuntimeError):  # no home of that name, a folder that may not be looked into
        return named
