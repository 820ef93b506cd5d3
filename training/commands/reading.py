"""A recipe for training as it is read: resolved, checked, and with the place where its relative paths begin."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from assistant.errors import UserError
from training.checking import check
from training.commands.recipes import base_of, found
from training.recipe import build, layers
from training.settings import Recipe


@dataclass(frozen=True, slots=True)
class Read:
    """A recipe, and where its relative paths begin."""

    recipe: Recipe
    base: Path


def read(recipe: Path, sets: tuple[str, ...] = (), environ: Mapping[str, str] = os.environ) -> Read:
    """The recipe of that file, or of those that come with the program.

    Raises:
        UserError: there is none, a key is unknown (the nearest is named), or it cannot be as a whole.
    """
    path = found(recipe)
    tables = layers(path, sets, environ)
    if isinstance(tables.get("stages"), Mapping):
        raise UserError(f"{path.name} is a recipe for data; run it with: kat train data run {recipe}")
    resolved = build(Recipe, tables)
    check(resolved)
    return Read(resolved, base_of(path).absolute())
