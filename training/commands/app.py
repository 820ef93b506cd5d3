"""`kat train`: making data, and training on them."""

from __future__ import annotations

from collections.abc import Sequence

import typer

from training.commands import data, train

app = typer.Typer(
    name="train",
    help="Make training data from repositories, and train models on them.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)
app.add_typer(data.app, name="data")


train.register(app)


@app.callback()
def main() -> None:
    """Make training data from repositories, and train models on them."""


def run(arguments: Sequence[str]) -> int:
    """Run what stands behind `kat train`; errors of the command line are raised as typer raises them."""
    return int(app(list(arguments), prog_name="kat train", standalone_mode=False) or 0)
