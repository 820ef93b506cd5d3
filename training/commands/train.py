"""`kat train run` and its kin: recipes for training, run, resumed, estimated, examined and watched."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import typer

from training.commands import options as its
from training.commands.needs import installed
from training.settings import StageName

Recipe = Annotated[Path, typer.Argument(metavar="RECIPE", help="a TOML file, or one that comes with kat by name")]
Run = Annotated[Path, typer.Argument(metavar="RUN", help="the folder of a run")]
Out = Annotated[
    Path | None, typer.Option("--out", metavar="DIR", help="the folder of the run; else ./NAME, or ./NAME-STAGE")
]
Seed = Annotated[int | None, typer.Option("--seed", min=0, help="instead of the recipe's")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="only print the recipe, resolved, with its estimates and plan")]
Weights = Annotated[
    Path | None, typer.Option("--weights", metavar="DIR", help="begin with these weights, or this adapter")
]
Folders = Annotated[
    list[Path] | None,
    typer.Option("--folder", metavar="DIR", help="a repository to make data from, instead of the recipe's; repeatable"),
]
_SINGLE: dict[str, tuple[StageName, str]] = {
    "distill": ("distill", "distillation with multi-token prediction, by itself"),
    "coldstart": ("coldstart", "the cold start by itself"),
    "rl": ("rl", "Step-SRPO by itself"),
}


def register(app: typer.Typer) -> None:
    """Put the commands on `kat train`."""
    app.command(short_help="what this machine brings, and what would help")(doctor)
    app.command(short_help="memory and time of each stage, with the arithmetic")(estimate)
    app.command(short_help="a recipe's samples, with what carries loss, in colour")(preview)
    app.command("run", short_help="a whole recipe: data, stages, a table, what serves the result")(run_recipe)
    app.command(short_help="go on with a run where it was stopped")(resume)
    app.command("eval", short_help="the table of a run: before and after")(evaluate)
    app.command(short_help="what a run trained, in forms that are served")(export)
    for name, (stage, says) in _SINGLE.items():
        app.command(name, short_help=says)(_single(stage, says))
    app.command(short_help="curves of a run, live")(watch)


def doctor(
    recipe: Annotated[Path | None, typer.Argument(metavar="[RECIPE]")] = None,
    sets: its.Sets = None,
    json_: its.Json = False,
) -> int:
    """Look at cores, memory, GPUs, allocator, packages, disk and data, try a tiny update, and say what would help."""
    with installed():
        from training.commands.doctor import doctor

        return doctor(recipe, tuple(sets or ()), as_json=json_)


def estimate(recipe: Recipe, sets: its.Sets = None, json_: its.Json = False) -> int:
    """Reckon memory and time of each stage of a recipe, and show the arithmetic; nothing is loaded."""
    from training.commands.estimating import show

    return show(recipe, tuple(sets or ()), as_json=json_)


def preview(
    recipe: Recipe,
    count: Annotated[int, typer.Option("--count", min=1, help="how many samples")] = 3,
    family: Annotated[str | None, typer.Option("--family", help="only those of a family")] = None,
    mode: Annotated[Literal["on", "off"] | None, typer.Option("--mode", help="only those in this mode")] = None,
    whole: Annotated[bool, typer.Option("--whole", help="the whole prompt, not only its end")] = False,
    sets: its.Sets = None,
    seed: its.Seed = 0,
) -> int:
    """Show a recipe's samples as the model is trained on them: what carries loss is coloured, what does not is dim."""
    with installed():
        from training.commands.looking import Chosen
        from training.commands.looking import preview as show
        from training.commands.reading import read
        from training.places import place

        found = read(recipe, tuple(sets or ()))
        chosen = Chosen(count, family, mode, seed)
        return show(place(found.base, found.recipe.data.samples), chosen, found.recipe.model.dialect, whole=whole)


def run_recipe(
    recipe: Recipe,
    out: Out = None,
    seed: Seed = None,
    folders: Folders = None,
    weights: Weights = None,
    jobs: its.Jobs = 2,
    prepare: Annotated[bool, typer.Option("--prepare", help="make data and files, and start nothing")] = False,
    sets: its.Sets = None,
    dry_run: DryRun = False,
) -> int:
    """Run a recipe: its data where they are not there, its stages, and a report. Goes on where it was stopped."""
    with installed():
        from training.commands.running import Wanted, start

        return start(
            Wanted(recipe, out, _words(sets, seed, folders), weights, jobs=jobs, prepare=prepare, dry_run=dry_run)
        )


def resume(run: Run) -> int:
    """Go on with a run where it was stopped or killed; what is finished is left as it is."""
    with installed():
        from training.commands.running import resume

        return resume(run)


def evaluate(run: Run) -> int:
    """Measure a run's model once more, before and after, on tasks that were held out."""
    with installed():
        from training.commands.running import again

        return again(run, "eval")


def export(
    run: Run,
    forms: Annotated[
        list[str] | None,
        typer.Option("--form", help="adapter, merged, gguf or drafter instead of the recipe's; repeatable"),
    ] = None,
) -> int:
    """Export what a run trained, checked, with the command that serves it."""
    with installed():
        from training.commands.running import again

        return again(run, "export", tuple(forms or ()))


def watch(run: Run) -> int:
    """Show the curves of a run while it goes on, in the terminal."""
    from training.commands.watching import watch

    return watch(run)


def _single(stage: StageName, says: str) -> Callable[..., int]:
    """The command that runs one stage of a recipe."""

    def command(
        recipe: Recipe,
        out: Out = None,
        seed: Seed = None,
        weights: Weights = None,
        jobs: its.Jobs = 2,
        sets: its.Sets = None,
        dry_run: DryRun = False,
    ) -> int:
        with installed():
            from training.commands.running import Wanted, start

            words = (*_words(sets, seed, None), f'stages=["{stage}"]')
            return start(Wanted(recipe, out, words, weights, stage, jobs=jobs, dry_run=dry_run))

    command.__doc__ = f"Run {says}, of a recipe."
    return command


def _words(sets: list[str] | None, seed: int | None, folders: list[Path] | None) -> tuple[str, ...]:
    """What the options set in the recipe."""
    from training.recipe import literal

    words = list(sets or ())
    words += [] if seed is None else [f"seed={seed}"]
    words += [f"data.folders={literal([str(each.absolute()) for each in folders])}"] if folders else []
    return tuple(words)
