"""`kat train data run RECIPE`."""

from __future__ import annotations

import os
import shlex
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from assistant.errors import Exit, UserError
from training.commands.opening import cache_dir, opener, resumable, runner
from training.commands.stage import show
from training.data.flow.reporting import Report
from training.data.pipeline import DataRecipe, Way, run_all, steps
from training.data.stage import Context
from training.near import nearest
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
    opens = opener(recipe.engine, recipe.model) if any(step.asks for step in plan) else None
    if wanted.dry_run:
        tables = {step.name: step.shown() for step in plan}
        sys.stdout.write(shown({**asdict(recipe), "stages": tables}))
        return Exit.DONE
    context = Context(cache_dir(os.environ), wanted.jobs)
    way = Way(context, runner(wanted.runner, wanted.jobs), opens, opens.asked if opens else "")
    with resumable("the same command"):
        reports = run_all(recipe, out, way, path.parent)
        card = _finished(wanted, recipe.name, reports, out, plan[-1].name)
    show(reports, wanted.json)
    if not wanted.json:
        sys.stdout.write(card)
    return Exit.DONE if reports[-1].written else Exit.NOT_ACHIEVED


def found(recipe: Path) -> Path:
    """The recipe's file: as named, or among those that come with the program.

    Raises:
        UserError: there is none; the nearest is named.
    """
    if recipe.is_file():
        return recipe
    name, ours = recipe.name.removesuffix(".toml"), {path.stem: path for path in sorted(SHIPPED.glob("*.toml"))}
    if name not in ours:
        raise UserError(f"there is no recipe {recipe}, nor one of that name with kat; {nearest(name, ours)}")
    return ours[name]


def _finished(wanted: Wanted, name: str, reports: list[Report], out: Path, last: str) -> str:
    """The card and the packing plan of the last stage's samples; nothing where it wrote other records."""
    from training.data.flow.shards import manifest_of

    manifest = manifest_of(out / last)
    if manifest is None or manifest.kind != "sample":
        print(f"no card: the last stage, {last}, wrote no samples; end with one that does, like mix", file=sys.stderr)
        return ""
    _packed(out, last)
    sets = [word for one in wanted.sets for word in ("--set", one)]
    again = shlex.join(["kat", "train", "data", "run", wanted.recipe.name, *sets])
    return _card(name, reports, out, last, again)


def _packed(out: Path, last: str) -> None:
    """Put the packing plan beside the last stage's samples."""
    from training.data import packing_plan
    from training.data.flow.shards import read
    from training.data.schema import Sample

    packing = packing_plan.plan(packing_plan.lengths(read(Sample, out / last)), ROW)
    packing_plan.write(packing, out / last)
    print(packing.said(), file=sys.stderr)


def _card(name: str, reports: list[Report], out: Path, last: str, again: str) -> str:
    """The card of the last stage's samples, written to `out` too."""
    from training.data.card import render
    from training.data.flow.shards import put, read
    from training.data.schema import Sample

    card = render(read(Sample, out / last), reports, name=name, again=again)
    put(out, "card.md", card)
    return card
