"""`kat train data`: each stage by itself, whole recipes, and a look at what came of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import typer

from training.commands import options as its
from training.commands.helping import command_of
from training.commands.needs import installed
from training.data.stages import STAGES, Entry

app = typer.Typer(
    help="From repositories to samples, stage by stage or by a recipe.", no_args_is_help=True, rich_markup_mode=None
)


@app.callback()
def data() -> None:
    """From repositories to samples."""


@app.command("run", short_help="a whole recipe: sources, stages and a data card")
def run_recipe(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="a TOML file, or one that comes with kat by name")],
    out: Annotated[str | None, typer.Option("--out", metavar="DIR", help="where all goes; else ./NAME")] = None,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="instead of the recipe's")] = None,
    jobs: its.Jobs = 2,
    runner: its.Runner = "local",
    sets: its.Sets = None,
    teacher: its.Teacher = None,
    model: its.TeacherName = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only print the recipe, every option resolved")] = False,
    json_: its.Json = False,
) -> int:
    """Run a recipe: sources, stages, and a card of what came of them. Goes on where it was stopped."""
    with installed():
        from training.commands.recipes import Wanted, run

        words = [*(sets or ()), *([] if seed is None else [f"seed={seed}"])]
        return run(Wanted(recipe, out, jobs, runner, tuple(words), teacher, model, dry_run, json_))


@app.command(short_help="samples as a model is trained on them, in colour")
def preview(
    place: its.Place,
    count: Annotated[int, typer.Option("--count", min=1, help="how many samples")] = 3,
    family: Annotated[str | None, typer.Option("--family", help="only those of a family")] = None,
    mode: Annotated[Literal["on", "off"] | None, typer.Option("--mode", help="only those in this mode")] = None,
    seed: its.Seed = 0,
    dialect: Annotated[str, typer.Option("--dialect", help="kat, qwen3 or qwen3_coder")] = "kat",
    whole: Annotated[bool, typer.Option("--whole", help="the whole prompt, not only its end")] = False,
) -> int:
    """Show samples as a model is trained on them: what carries loss is coloured by its part, what does not is dim."""
    with installed():
        from training.commands.looking import Chosen, preview

        return preview(place, Chosen(count, family, mode, seed), dialect, whole=whole)


@app.command(short_help="samples counted")
def stats(place: its.Place, json_: its.Json = False) -> int:
    """Count samples by family, mode, what decided the mode, split and difficulty, with their length."""
    with installed():
        from training.commands.looking import stats

        return stats(place, json_=json_)


@app.command(short_help="samples for other programs, as JSON lines")
def export(
    place: its.Place,
    out: its.Out,
    dialect: Annotated[str, typer.Option("--dialect", help="kat, qwen3 or qwen3_coder")] = "kat",
) -> int:
    """Write samples for other programs: messages, and prompt and completion as text, one JSON object a line."""
    with installed():
        from training.commands.looking import export

        return export(place, out, dialect)


@app.command(short_help="a benchmark as hashes, to keep it out of the data")
def hashes(
    name: Annotated[str, typer.Argument(metavar="NAME", help="what the benchmark is called in reports")],
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="its files: JSON, JSON lines, code, text, .gz")
    ],
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="the list; else ./NAME.json")] = None,
    words: Annotated[int, typer.Option("--words", min=3, help="words in a row that are one hash")] = 13,
    one_in: Annotated[int, typer.Option("--one-in", min=1, metavar="N", help="keep every Nth hash only")] = 1,
) -> int:
    """Make a list of hashes of a benchmark's words, which `contamination` takes: --set 'lists=["FILE"]'."""
    with installed():
        from training.commands.hashing import hashes

        return hashes(name, files, out or Path(f"{name}.json"), words, one_in)


def _command(name: str, entry: Entry) -> Callable[..., int]:
    """The command that runs one stage."""

    def command(
        from_: its.From,
        out: its.Out,
        seed: its.Seed = 0,
        jobs: its.Jobs = 2,
        runner: its.Runner = "local",
        most: its.Most = None,
        form: its.Shape = "parquet",
        sets: its.Sets = None,
        teacher: its.Teacher = None,
        model: its.TeacherName = None,
        json_: its.Json = False,
    ) -> int:
        with installed():
            from training.commands.stage import Wanted, run

            return run(
                Wanted(
                    name, tuple(from_), out, seed, jobs, runner, most, form, tuple(sets or ()), teacher, model, json_
                )
            )

    command.__doc__ = f"{entry.says[0].upper()}{entry.says[1:]}."
    return command


for _name, _entry in STAGES.items():
    _called = _command(_name, _entry)
    app.command(_name.replace("_", "-"), cls=command_of(_entry), short_help=_entry.says)(_called)
