"""`kat train`: making data, and later training."""

from __future__ import annotations

from collections.abc import Sequence

import typer

from training.commands import data

app = typer.Typer(
    name="train",
    help="Make training data from repositories.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)
app.add_typer(data.app, name="data")


@app.callback()
def train() -> None:
    """Make training data from repositories."""


def run(arguments: Sequence[str]) -> int:
    """Run what stands behind `kat train`; errors of the command line are raised as typer raises them."""
    return int(app(list(arguments), prog_name="kat train", standalone_mode=False) or 0)
