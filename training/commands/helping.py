"""`--help` of a stage: its options, read from the stage itself, and only when somebody asks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import MISSING, Field, fields
from inspect import cleandoc
from typing import Any

from typer.core import TyperCommand

from training.commands.needs import missing
from training.data.stages import Entry


def command_of(entry: Entry) -> type[TyperCommand]:
    """The kind of command that shows what a stage reads and writes, and what `--set` knows there."""

    class StageCommand(TyperCommand):
        def format_epilog(self, ctx: Any, formatter: Any) -> None:
            try:
                _explain(entry.load(), formatter)
            except ModuleNotFoundError as error:
                formatter.write_paragraph()
                formatter.write_text(f"Its options are not shown: {missing(error)}")

    return StageCommand


def _explain(made_by: type[Any], formatter: Any) -> None:
    from training.data.flow.running import kinds_of

    with formatter.section("Records"):
        ways = {"reads": made_by.reads, "writes": made_by.writes}
        formatter.write_dl([(name, " or ".join(kinds_of(kind))) for name, kind in ways.items()])
    if options := list(_options(made_by)):
        with formatter.section("Options of --set"):
            formatter.write_dl(options)
    for paragraph in cleandoc(made_by.__doc__ or "").split("\n\n"):
        formatter.write_paragraph()
        formatter.write_text(" ".join(paragraph.split()))


def _options(made_by: type[Any]) -> Iterator[tuple[str, str]]:
    from training.recipe import literal

    for option in fields(made_by):
        if option.name != "seed":
            yield option.name, literal(_default(option))


def _default(option: Field[Any]) -> Any:
    if option.default is not MISSING:
        return option.default
    return option.default_factory() if option.default_factory is not MISSING else ""
