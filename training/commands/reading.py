"""A recipe for training as it is read: resolved, checked, and with the place where its relative paths begin."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from assistant.errors import UserError
from training.checking import check
from training.commands.recipes import base_of, found
from training.places import model_place
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
    base = base_of(path).absolute()
    resolved = _placed(build(Recipe, tables), base)
    check(resolved)
    return Read(resolved, base)


def _placed(recipe: Recipe, base: Path) -> Recipe:
    """The recipe with its models where they are: what serves a run's result is typed in any folder."""
    model = replace(recipe.model, source=model_place(base, recipe.model.source))
    distill = replace(recipe.distill, teacher=model_place(base, recipe.distill.teacher))
    return replace(recipe, model=model, distill=distill)
