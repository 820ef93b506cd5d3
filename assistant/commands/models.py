"""`kat models`: what is known by name, fetching it, and what it takes."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from assistant.commands.models_size import size_model
from assistant.commands.options import Json
from assistant.config import load
from assistant.errors import UserError
from assistant.own_models import entry_named

if TYPE_CHECKING:
    from model.catalog import CatalogEntry

app = typer.Typer(help="The models known by name.", no_args_is_help=True, rich_markup_mode=None)


@app.command("list")
def list_models(json_: Json = False) -> None:
    """The catalogue and the models of your settings: size, context, licence, and where the files are."""
    from model.catalog import CATALOG

    own = [_looked_into(model.entry()) for model in load().models]
    taken = {name.casefold() for entry in own for name in entry.names}
    entries = [*own, *(entry for entry in CATALOG.values() if entry.name.casefold() not in taken)]
    rows = [_row(entry) for entry in entries]
    if json_:
        print(json.dumps(rows, ensure_ascii=False))
    else:
        _show(rows)


@app.command("pull")
def pull_model(name: Annotated[str, typer.Argument(help="a name of `kat models list`")]) -> None:
    """Fetch a model into the user's cache; its SHA-256 must be the one in the catalogue."""
    from model.pull import how_it_comes, pull

    entry = entry_named(name, load().models)
    if not entry.files:
        raise UserError(how_it_comes(entry))
    print(f"{entry.title}: licence {entry.licence or 'unknown'}", file=sys.stderr)
    progress = _Bar(entry.title)
    try:
        path = pull(entry, None, progress)
    finally:
        progress.close()
    print(path)


app.command("size")(size_model)


def _looked_into(entry: CatalogEntry) -> CatalogEntry:
    """With what its files say, where they are there and can be read."""
    from model.catalog import completed

    try:
        return completed(entry)
    except ValueError:
        return entry


def _row(entry: CatalogEntry) -> dict[str, object]:
    from model.pull import is_pulled

    return {
        "name": entry.name,
        "title": entry.title,
        "dialect": entry.dialect,
        "context": entry.context,
        "licence": entry.licence,
        "here": is_pulled(entry) or bool(entry.path and entry.path.exists()),
        "parameters": entry.parameters,
        "gib": _gib(entry),
        "quantization": entry.quantization,
        "repository": entry.repository,
        "path": None if entry.path is None else str(entry.path),
        "temperature": entry.temperature,
        "top_p": entry.top_p,
        "pulled_by_us": bool(entry.files),
        "assumed": dict(entry.assumed),
    }


def _gib(entry: CatalogEntry) -> float | None:
    """GiB of the weights: of the files where they are known, else reckoned."""
    from model.serving.fitting.footprint import BITS, weight_bytes
    from model.serving.plan import GIB

    if entry.files:
        return round(sum(file.size for file in entry.files) / GIB, 2)
    if entry.architecture is None or entry.quantization not in (None, *BITS):
        return None
    return round(weight_bytes(entry.architecture, entry.quantization) / GIB, 1)


def _show(rows: Sequence[dict[str, object]]) -> None:
    """A line each; `~` stands before what the makers do not state themselves."""
    from assistant.safety.sanitize import sanitize

    wide = max(len(str(row["name"])) for row in rows)
    for row in rows:
        size = "unknown size" if row["gib"] is None else f"{row['gib']} GiB"
        context, licence = f"{_about(row, 'context')}{row['context']:,} tokens", row["licence"] or "licence unknown"
        words = (size, context, f"{_about(row, 'licence')}{licence}", str(row["dialect"]), _files(row))
        print(sanitize(f"{row['name']!s:{wide}}  {' · '.join(words)}"))


def _about(row: dict[str, object], key: str) -> str:
    return "~" if isinstance(row["assumed"], dict) and key in row["assumed"] else ""


def _files(row: dict[str, object]) -> str:
    if row["here"]:
        return "here"
    if row["pulled_by_us"]:
        return f"`kat models pull {row['name']}`"
    return str(row["repository"] or row["path"] or "unknown")


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
