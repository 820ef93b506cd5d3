"""Where the places of a recipe are."""

from __future__ import annotations

from pathlib import Path


def place(base: Path, where: str) -> str:
    """A place of the recipe: an URL as it is, a path as seen from the recipe."""
    return where if "://" in where else str(base / Path(where).expanduser())
