"""From what a recipe or a command names to sources: packages fetched, folders as they are, records read."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from assistant.errors import UserError
from training.data.flow.chunks import Row, row_of
from training.data.flow.places import manifests
from training.data.flow.shards import Place, read, read_lines
from training.data.profile import described
from training.data.repositories.fetching import fetch
from training.data.schema import KINDS, Source, record_of

_FILES = (".jsonl", ".parquet")


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
        UserError: a place is not there, or holds nothing that is of these kinds; at once, not when it is read.
    """
    found = [(place, _kinds(place, kinds)) for place in places]
    for place, there in found:
        if not there and "source" not in kinds:
            raise UserError(f"{place} holds no records of the kind {' or '.join(kinds)}; name what a stage wrote")
    return chain.from_iterable(_rows(place, there, cache) for place, there in found)


def read_rows(place: Place, kinds: Iterable[str]) -> Iterator[Row]:
    """The records of these kinds in a folder that a stage wrote."""
    return (Row(kind, line) for kind in kinds for line in read_lines(kind, place))


def _rows(place: str, kinds: tuple[str, ...], cache: Path) -> Iterator[Row]:
    if not kinds:
        found = Wanted((place,)) if "==" in place else Wanted(folders=(place,))
        return map(row_of, gather(found, cache))
    if place.endswith(_FILES):
        return map(row_of, read(KINDS[kinds[0]], place))  # type: ignore[type-var]
    return read_rows(place, kinds)


def _folder(path: Path) -> Path:
    if not path.is_dir():
        raise UserError(f"{path} is no folder; name a repository or an unpacked source")
    return path.resolve()


def _kinds(place: str, kinds: tuple[str, ...]) -> tuple[str, ...]:
    """Those of the kinds that there are records of at a place. Raises UserError where there are only others."""
    if place.endswith(_FILES):
        return (next((kind for kind in kinds[1:] if _first_is(kind, place)), kinds[0]),)
    if "://" not in place and not Path(place).is_dir():
        if "==" in place:
            return ()
        raise UserError(f"{place} is not there; name a folder that a stage wrote, or a repository")
    there = manifests(place)
    found = tuple(kind for kind in there if kind in kinds)
    if there and not found:
        raise UserError(f"{place} holds records of the kind {' and '.join(there)}; {' or '.join(kinds)} is needed here")
    return found


def _first_is(kind: str, place: str) -> bool:
    """Whether the first record of a file is of a kind."""
    try:
        record_of(KINDS[kind], next(read_lines(kind, place), ""))  # type: ignore[type-var]
    except UserError:
        return False
    return True
