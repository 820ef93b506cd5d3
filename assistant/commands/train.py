"""`kat train`: handed on as it stands to the commands of `training`, which nobody else waits for."""

from __future__ import annotations

import typer

HANDED_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
"""Settings of the command: every word belongs to the commands behind it, --help too."""


def train(context: typer.Context) -> int:
    """Make training data from repositories, and train models on them: `kat train --help`."""
    from training.commands.app import run

    return run(context.args)
