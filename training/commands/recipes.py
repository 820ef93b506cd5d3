"""`kat train data run RECIPE`."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from assistant.errors import Exit, UserError
from training.commands.opening import cache_dir, opener, resumable, runner
from training.commands.stage import show
from training.data.flow.reporting import Report
from training.data.pipeline import DataRecipe, Way, run_all, steps
from training.data.stage import Context
from training.near import nearest
from training.recipe import SHIPPED, build, layers, shown

ROW = 8_192
"""Tokens of a row of the packing plan; our choice."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a recipe is run with, as the command line says it."""

    recipe: Path
    out: str | None
    jobs: int
    runner: str
    sets: tuple[str, ...]
    teacher: str | None
    model: str | None
    dry_run: bool
    json: bool


def run(wanted: Wanted, environ: Mapping[str, str] = os.environ) -> int:
    """Run the recipe, and print its reports and its card; `environ` may have a layer of its own (`recipe.layers`)."""
    path = found(wanted.recipe)
    tables = layers(path, wanted.sets, environ)
    if isinstance(tables.get("stages"), list):
        raise UserError(f"{path.name} is a recipe for training; run it with: kat train run {wanted.recipe}")
    recipe = build(DataRecipe, tables)
    recipe = replace(recipe, engine=wanted.teacher or recipe.engine, model=wanted.model or recipe.model)
    out, base = _absolute(wanted.out or recipe.name), base_of(path)
    plan = steps(recipe, out, base)
    opens = opener(recipe.engine, recipe.model) if any(step.asks for step in plan) else None
    if wanted.dry_run:
        tables = {step.name: step.shown() for step in plan}
        sys.stdout.write(shown({**asdict(recipe), "stages": tables}))
        return Exit.DONE
    context = Context(cache_dir(os.environ), wanted.jobs)
    with resumable("the same command"):
        way = Way(context, runner(wanted.runner, wanted.jobs), opens, opens.asked() if opens else "")
        reports = run_all(recipe, out, way, base)
        card = _finished(wanted, recipe.name, reports, out, plan[-1].name)
    show(reports, wanted.json)
    if not wanted.json:
        sys.stdout.write(card)
    return Exit.DONE if reports[-1].written else Exit.NOT_ACHIEVED


def found(recipe: Path) -> Path:
    """The recipe's file: as named, with `.toml` behind it, or among those that come with the program.

    Raises:
        UserError: there is none; the nearest is named.
    """
    if here := next((each for each in (recipe, Path(f"{recipe}.toml")) if each.is_file()), None):
        return here
    name, ours = recipe.name.removesuffix(".toml"), {path.stem: path for path in sorted(SHIPPED.glob("*.toml"))}
    if name not in ours:
        raise UserError(f"there is no recipe {recipe}, nor one of that name with kat; {nearest(name, ours)}")
    return ours[name]


def _absolute(out: str) -> str:
    """A folder of this machine by its whole path; an address elsewhere as it is."""
    return out if "://" in out else os.fspath(Path(out).absolute())


def base_of(recipe: Path) -> Path:
    """Where paths in a recipe begin: at its folder, but for the recipes that come with the program."""
    return Path() if recipe.parent == SHIPPED else recipe.parent


def _finished(wanted: Wanted, name: str, reports: list[Report], out: str, last: str) -> str:
    """The card and the packing plan of the last stage's samples; nothing where it wrote other records."""
    from training.data.flow.places import manifests
    from training.data.flow.shards import within

    if "sample" not in manifests(within(out, last)):
        print(f"no card: the last stage, {last}, wrote no samples; end with one that does, like mix", file=sys.stderr)
        return ""
    _packed(out, last)
    sets = [word for one in wanted.sets for word in ("--set", one)]
    given = {"--teacher": wanted.teacher, "--model": wanted.model}
    asked = [word for option, value in given.items() if value for word in (option, value)]
    again = shlex.join(["kat", "train", "data", "run", str(wanted.recipe), *asked, *sets])
    return _card(name, reports, out, last, again)


def _packed(out: str, last: str) -> None:
    """Put the packing plan beside the last stage's samples."""
    from training.data import packing_plan
    from training.data.flow.shards import read, within
    from training.data.schema import Sample

    some = (each for each in read(Sample, within(out, last)) if each.split == "train" and each.trainable)
    packing = packing_plan.plan(packing_plan.lengths(some), ROW)
    packing_plan.write(packing, within(out, last))
    print(packing.said(), file=sys.stderr)


def _card(name: str, reports: list[Report], out: str, last: str, again: str) -> str:
    """The card of the last stage's samples, written to `out` too."""
    from training.data.card import render
    from training.data.flow.shards import put, read, within
    from training.data.schema import Sample

    card = render(read(Sample, within(out, last)), reports, name=name, again=again)
    put(out, "card.md", card)
    return card
