"""`kat train data run RECIPE`."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from assistant.errors import Exit, UserError
from training.commands.opening import cache_dir, opener, resumable, runner
from training.commands.stage import show
from training.data.flow.reporting import Report
from training.data.pipeline import DataRecipe, Way, run_all, steps
from training.data.stage import Context
from training.recipe import build, layers, shown

ROW = 8_192
"""Tokens of a row of the packing plan; our choice."""
SHIPPED = Path(__file__).resolve().parents[1] / "recipes"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a recipe is run with, as the command line says it."""

    recipe: Path
    out: Path | None
    jobs: int
    runner: str
    sets: tuple[str, ...]
    teacher: str | None
    model: str | None
    dry_run: bool
    json: bool


def run(wanted: Wanted) -> int:
    """Run the recipe, and print its reports and its card."""
    path = found(wanted.recipe)
    recipe = build(DataRecipe, layers(path, wanted.sets))
    recipe = replace(recipe, engine=wanted.teacher or recipe.engine, model=wanted.model or recipe.model)
    out = (wanted.out or Path(recipe.name)).absolute()
    plan = steps(recipe, out)
    if wanted.dry_run:
        tables = {step.name: step.shown() for step in plan}
        sys.stdout.write(shown({**asdict(recipe), "stages": tables}))
        return Exit.DONE
    opens = opener(recipe.engine, recipe.model) if any(step.asks for step in plan) else None
    context = Context(cache_dir(os.environ), wanted.jobs)
    way = Way(context, runner(wanted.runner, wanted.jobs), opens, opens.asked if opens else "")
    with resumable("the same command"):
        reports = run_all(recipe, out, way, path.parent)
        card = _card(recipe.name, reports, out, plan[-1].name)
        _packed(out, plan[-1].name)
    show(reports, wanted.json)
    if not wanted.json:
        sys.stdout.write(card)
    return Exit.DONE if reports[-1].written else Exit.NOT_ACHIEVED


def found(recipe: Path) -> Path:
    """The recipe's file: as named, or among those that come with the program."""
    shipped = SHIPPED / f"{recipe.name.removesuffix('.toml')}.toml"
    if recipe.exists() or not shipped.is_file():
        return recipe
    return shipped


def _packed(out: Path, last: str) -> None:
    """Put the packing plan beside the last stage's samples."""
    from training.data import packing_plan
    from training.data.flow.shards import read
    from training.data.schema import Sample

    packing = packing_plan.plan(packing_plan.lengths(read(Sample, out / last)), ROW)
    packing_plan.write(packing, out / last)
    print(packing.said(), file=sys.stderr)


def _card(name: str, reports: list[Report], out: Path, last: str) -> str:
    """The card of the last stage's samples, written to `out` too."""
    from training.data.card import render
    from training.data.flow.shards import manifest_of, put, read
    from training.data.schema import Sample

    manifest = manifest_of(out / last)
    if manifest is None or manifest.kind != "sample":
        raise UserError(f"the last stage of the recipe, {last}, wrote no samples; end with one that does, like mix")
    card = render(read(Sample, out / last), reports, name=name, again=f"kat train data run {name}")
    put(out, "card.md", card)
    return card
