"""The data of a recipe: made first, by the recipe for data that it names, where they are not there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from assistant.errors import Exit, UserError
from model.catalog import known
from model.pull import is_pulled
from model.serving.hardware.devices import find_machine
from model.serving.hardware.processor import cpu_flags, emulates_bf16
from model.serving.plan import Gpu
from training.modules import near
from training.recipe import literal
from training.settings import DataTable, ModelTable, Recipe

HELD = 2.0
"""GiB of a GPU that others may hold: a desktop does; our choice."""


def held(gpu: Gpu) -> float:
    """GiB of a GPU that others hold; 0 where that is not known."""
    return 0.0 if gpu.free is None else gpu.memory - gpu.free


def expect_weights(model: ModelTable) -> None:
    """See to it that weights of the catalogue that are fetched apart are there, before hours go into data.

    Raises:
        UserError: they are not; the message names the command that fetches them.
    """
    entry = known(model.source)
    if entry and entry.files and not is_pulled(entry):
        raise UserError(f"{entry.title} is not on this machine yet; fetch it with: kat models pull {entry.name}")


def expect_module(recipe: Recipe, weights: Path | None) -> None:
    """See to it that there will be a module for the drafter that the recipe names. Raises UserError."""
    drafts = "export" in recipe.stages and "drafter" in recipe.export.forms and "distill" not in recipe.stages
    if drafts and (weights is None or near(weights) is None):
        raise UserError(
            "export.forms has drafter, and there is no module that drafts: no stage distill, and none near --weights;"
            " add that stage, or take drafter out"
        )


def expect_gpus(recipe: Recipe, cpu: bool) -> None:
    """See to it that a recipe for GPUs is not run on a CPU by mistake. Raises UserError."""
    if recipe.hardware.gpus and cpu:
        raise UserError(
            f"{recipe.name} is meant for GPUs and torch finds none: `kat train doctor` says more; "
            "on a CPU all the same: --set hardware.gpus=0"
        )


def advise(
    recipe: Recipe,
    cpu: bool,
    say: Callable[[str], None],
    flags: frozenset[str] | None = None,
    gpus: Sequence[Gpu] | None = None,
) -> None:
    """Say where a run would be slow, or short of memory, for a reason that its user can take away. `flags` and `gpus`
    are those of this machine."""
    if not cpu:
        for gpu in find_machine().gpus if gpus is None else gpus:
            if held(gpu) > HELD:
                say(f"others hold {held(gpu):.0f} GiB of {gpu.name}; `kat serve stop` ends a teacher")
    if cpu and recipe.model.dtype == "bfloat16" and emulates_bf16(cpu_flags() if flags is None else flags):
        say("this CPU emulates bf16, some sixty times slower than fp32; take that with --set model.dtype=float32")


def expect_tasks(recipe: Recipe, base: Path, say: Callable[[str], None]) -> None:
    """See to it that there are tasks to learn from, before hours go into other stages; says where none are held out.

    Raises:
        UserError: there are none.
    """
    if "rl" in recipe.stages:
        from training.tasking import tasks

        tasks(replace(recipe.data, limit=1), base)
    if "eval" in recipe.stages and (recipe.eval.tasks or recipe.data.tasks):
        from training.evaluating.asking import questions

        if not questions(recipe, base):
            say("eval: no task is held out; its table will have the loss on held-out samples at most")


def missing(table: DataTable, base: Path) -> tuple[str, ...]:
    """The places of samples and tasks where nothing is. Raises UserError where one cannot be reached."""
    from training.data.flow.places import content
    from training.places import place

    return tuple(each for each in (table.samples, table.tasks) if each and content(place(base, each)) is None)


def supply(table: DataTable, base: Path, say: Callable[[str], None], jobs: int = 2) -> None:
    """See to it that samples and tasks are there; it may take hours, and goes on where it was stopped.

    Raises:
        UserError: they are not there, and no recipe makes them.
    """
    gone = missing(table, base)
    if gone and table.recipe:
        _expect_written(table, base)
    if gone and not table.recipe:
        raise UserError(f"{gone[0]} is not there (seen from {base}); make it with `kat train data`, or set data.recipe")
    if gone:
        say(f"{' and '.join(gone)}: not there yet; first the recipe {table.recipe}")
        _made(table, base, jobs)
    elif table.recipe and table.folders:
        there = table.samples or table.tasks
        say(f"{there} is there, and is used as it is; to make it anew of your folders, move it away")
    if gone and (still := missing(table, base)):
        raise UserError(f"the recipe {table.recipe} leaves nothing in {still[0]}; set data.samples and data.tasks")


def data_recipe(table: DataTable, base: Path) -> Path:
    """The file of the recipe for data: beside the recipe, or one that comes with the program. Raises UserError."""
    from training.commands.recipes import found

    return found(base / Path(table.recipe).expanduser())


def asked(table: DataTable, base: Path) -> str:
    """The engine that the recipe for data asks, which must answer while data are made. Raises UserError."""
    from training.data.pipeline import DataRecipe
    from training.recipe import build, layers

    return build(DataRecipe, layers(data_recipe(table, base), options(table, base), {})).engine or ""


def options(table: DataTable, base: Path) -> tuple[str, ...]:
    """What is set for the recipe for data: its folders, and options word by word."""
    folders = [str((base / Path(each).expanduser()).resolve()) for each in table.folders]
    return (*([f"sources.folders={literal(folders)}"] if folders else []), *table.set)


def _expect_written(table: DataTable, base: Path) -> None:
    """See to it that the recipe for data writes where samples, tasks and sources are looked for. Raises UserError."""
    from training.data.pipeline import DataRecipe
    from training.recipe import build, layers

    name = build(DataRecipe, layers(data_recipe(table, base), options(table, base), {})).name
    for key in ("samples", "tasks", "sources"):
        where = Path(getattr(table, key))
        apart = where.is_absolute() or "://" in getattr(table, key) or (base / where).exists()
        if where.parts and not apart and where.parts[0] != name:
            meant = Path(name, *where.parts[1:])
            raise UserError(f"data.{key} is {where}, and {table.recipe} writes into {name}; set it to {meant}")


def _made(table: DataTable, base: Path, jobs: int) -> None:
    from training.commands.recipes import Wanted, run
    from training.data.pipeline import DataRecipe
    from training.recipe import build, layers

    path, sets = data_recipe(table, base), options(table, base)
    name = build(DataRecipe, layers(path, sets, {})).name
    code = run(Wanted(path, str(base / name), jobs, "local", sets, None, None, dry_run=False, json=False), {})
    if code != Exit.DONE:
        raise UserError(f"the recipe {table.recipe} made no samples; its reports in {base / name} say why")
