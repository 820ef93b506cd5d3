"""`kat models`: what is known by name, and fetching it."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from assistant.commands.options import Json
from assistant.errors import UserError

app = typer.Typer(help="The models known by name.", no_args_is_help=True, rich_markup_mode=None)


@app.command("list")
def list_models(json_: Json = False) -> None:
    """What is in the catalogue, and what of it is on this machine."""
    from model.catalog import CATALOG
    from model.pull import model_path

    rows = [
        {
            "name": entry.name,
            "title": entry.title,
            "dialect": entry.dialect,
            "context": entry.context,
            "licence": entry.licence,
            "here": model_path(entry).exists(),
        }
        for entry in CATALOG.values()
    ]
    if json_:
        print(json.dumps(rows))
        return
    for row in rows:
        here = "here" if row["here"] else f"`kat models pull {row['name']}`"
        print(f"{row['name']:8} {row['title']} · {row['context']} tokens · {row['licence']} · {here}")


@app.command("pull")
def pull_model(name: Annotated[str, typer.Argument(help="a name of `kat models list`")]) -> None:
    """Fetch a model into the user's cache; its SHA-256 must be the one in the catalogue."""
    from model.catalog import CATALOG
    from model.pull import pull

    entry = CATALOG.get(name)
    if entry is None:
        raise UserError(f"no model {name!r} in the catalogue; there are {', '.join(CATALOG)}")
    progress = _Bar(entry.title)
    try:
        path = pull(entry, None, progress)
    finally:
        progress.close()
    print(path)


class _Bar:
    """A line that fills on a terminal, and nothing elsewhere."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._shown = False

    def __call__(self, done: int, total: int | None) -> None:
        if not sys.stderr.isatty():
            return
        share = done / total if total else 0.0
        bar = "█" * round(share * 24)
        print(f"\r{self._title} {bar:24} {done / 1e6:6.1f} MB", end="", file=sys.stderr, flush=True)
        self._shown = True

    def close(self) -> None:
        if self._shown:
            print(file=sys.stderr)
