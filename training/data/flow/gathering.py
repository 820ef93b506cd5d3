"""From what a recipe or a command names to sources: packages fetched, folders as they are, records read."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from assistant.errors import UserError
from training.data.flow.chunks import Row, row_of
from training.data.flow.shards import manifest_of, read_lines
from training.data.profile import described
from training.data.repositories.fetching import fetch
from training.data.schema import Source


@dataclass(frozen=True, slots=True)
class Wanted:
    """`packages` are source distributions (``name==version sha256:…``), `folders` repositories or unpacked sources."""

    packages: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()


def gather(wanted: Wanted, cache: Path, base: Path = Path()) -> list[Source]:
    """The sources that are wanted; packages are fetched into `cache`, folders are relative to `base`.

    Raises:
        UserError: one cannot be had, or two have one name.
    """
    roots = [fetch(package, cache / "sources") for package in wanted.packages]
    roots += [_folder(base / Path(folder).expanduser()) for folder in wanted.folders]
    sources = [source_of(root) for root in roots]
    names = [source.name for source in sources]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UserError(f"two sources are named {twice[0]}; rename one of the folders")
    return sources


def source_of(root: Path) -> Source:
    """A folder as a source: its name, revision, date and licence."""
    return described(Source(root.name, os.fspath(root), ""))


def rows_from(places: Iterable[str], kinds: tuple[str, ...], cache: Path) -> Iterator[Row]:
    """The records in folders of shards and files of records; a folder of code or a package is a source of its own.

    Raises:
        UserError: a place holds nothing that is of these kinds.
    """
    for place in places:
        kind = _kind(place, kinds)
        if kind is not None:
            yield from (Row(kind, line) for line in read_lines(kind, place))
            continue
        if "source" not in kinds:
            raise UserError(f"{place} holds no records of the kind {' or '.join(kinds)}; name what a stage wrote")
        found = Wanted((place,)) if "==" in place else Wanted(folders=(place,))
        yield from map(row_of, gather(found, cache))


def _folder(path: Path) -> Path:
    if not path.is_dir():
        raise UserError(f"{path} is no folder; name a repository or an unpacked source")
    return path.resolve()


def _kind(place: str, kinds: tuple[str, ...]) -> str | None:
    """The kind of records at a place; None where there are none."""
    if place.endswith((".jsonl", ".parquet")):
        return kinds[0]
    if "://" not in place and not Path(place).is_dir():
        if "==" in place:
            return None
        raise UserError(f"{place} is not there; name a folder that a stage wrote, or a repository")
    manifest = manifest_of(place)
    return manifest.kind if manifest else None
