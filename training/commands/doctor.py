"""`kat train doctor`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from assistant.errors import Exit
from assistant.safety.sanitize import sanitize
from training.commands.reading import read
from training.doctor import Place, findings

_MARKS = {True: "✓", False: "✗", None: "–"}


def doctor(recipe: Path | None, sets: tuple[str, ...] = (), *, as_json: bool) -> int:
    """Print each finding when it comes; not achieved where something is wrong."""
    found = read(recipe, sets) if recipe else None
    here = Path.cwd()
    where = Place(here / found.recipe.name, found.recipe, found.base) if found else Place(here)
    code = Exit.DONE
    for finding in findings(where):
        code = Exit.NOT_ACHIEVED if finding.ok is False else code
        if as_json:
            print(json.dumps(asdict(finding), ensure_ascii=False), flush=True)
            continue
        print(sanitize(f"{_MARKS[finding.ok]} {finding.name}: {finding.detail}"), flush=True)
        if finding.change:
            print(sanitize(f"  → {finding.change}"), flush=True)
    return code
