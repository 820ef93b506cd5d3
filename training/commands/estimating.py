"""`kat train estimate`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from assistant.errors import Exit
from training.commands.reading import read
from training.estimate import estimate
from training.estimating.wording import lines


def show(recipe: Path, sets: tuple[str, ...], *, as_json: bool) -> int:
    """Print what the stages of a recipe take; not achieved where one does not fit."""
    found = read(recipe, sets)
    stages = estimate(found.recipe, found.base)
    if as_json:
        sys.stdout.write("".join(json.dumps(each.as_json(), ensure_ascii=False) + "\n" for each in stages))
    else:
        sys.stdout.write("\n".join(lines(found.recipe, stages)) + "\n")
    return Exit.DONE if all(each.fits for each in stages) else Exit.NOT_ACHIEVED
