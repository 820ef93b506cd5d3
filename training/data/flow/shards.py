"""Records on disk and on any file system that fsspec knows: JSONL and Parquet, the same bytes for the same records.

A folder of shards holds ``part-00000.parquet`` (or ``.jsonl``), … and, written last, ``manifest.json``: while that is
not there the folder is not whole. Parquet keeps plain fields as columns, messages as a list of structs, and whatever
else is nested as JSON text.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

import fsspec
from fsspec.core import url_to_fs

from assistant.errors import UserError
from training.data.schema import VERSION, R, Record, as_line, record_of

Format = Literal["jsonl", "parquet"]
Place = str | Path
MANIFEST = "manifest.json"
ROWS = 10_000
"""Records of one shard; our choice: some tens of megabytes of samples."""


@dataclass(frozen=True, slots=True)
class Shard:
    """A file of records: its name in the folder, how many it holds, and the SHA-256 of its bytes."""

    name: str
    count: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a folder of shards holds: the kind of its records, and the identity of the stage that made them."""

    kind: str
    count: int
    shards: tuple[Shard, ...]
    format: Format = "parquet"
    stage: str = ""
    version: int = VERSION

    def digest(self) -> str:
        """A hash of all content: the same records in the same order and shards have the same."""
        return hashlib.sha256(json.dumps([asdict(shard) for shard in self.shards]).encode()).hexdigest()


def write(
    records: Iterable[Record],
    place: Place,
    *,
    kind: str,
    format: Format = "parquet",  # noqa: A002 - the word that users know
    rows: int = ROWS,
    stage: str = "",
) -> Manifest:
    """Write records of one kind as shards of `rows` each; what the folder held of shards before is gone."""
    return write_lines(map(as_line, records), place, kind=kind, format=format, rows=rows, stage=stage)


def write_lines(
    lines: Iterable[str],
    place: Place,
    *,
    kind: str,
    format: Format = "parquet",  # noqa: A002
    rows: int = ROWS,
    stage: str = "",
) -> Manifest:
    """As `write`, of records that are lines of JSON already. A shard is there whole or not at all."""
    system, folder = system_of(place)
    system.makedirs(folder, exist_ok=True)
    before = shards_in(system, folder)
    if system.exists(f"{folder}/{MANIFEST}"):
        system.rm(f"{folder}/{MANIFEST}")
    shards: list[Shard] = []
    remaining = iter(lines)
    while part := list(islice(remaining, rows)):
        name = f"part-{len(shards):05}.{format}"
        data = _encoded(part, kind, format)
        _put(system, f"{folder}/{name}", data)
        shards.append(Shard(name, len(part), hashlib.sha256(data).hexdigest()))
    manifest = Manifest(kind, sum(shard.count for shard in shards), tuple(shards), format, stage)
    for name in before - {shard.name for shard in shards}:
        system.rm(f"{folder}/{name}")
    _put(system, f"{folder}/{MANIFEST}", (json.dumps(asdict(manifest), indent=1) + "\n").encode())
    return manifest


def read(kind: type[R], place: Place) -> Iterator[R]:
    """The records of a folder of shards, or of one file, in order.

    Raises:
        UserError: there is nothing of this kind, or a shard is not the one that its manifest names.
    """
    for number, line in enumerate(read_lines(kind.__name__.lower(), place), 1):
        try:
            yield record_of(kind, line)
        except UserError as error:
            raise UserError(f"record {number:,} of {place}: {error}") from None


def read_lines(kind: str, place: Place) -> Iterator[str]:
    """As `read`, as lines of JSON."""
    system, path = system_of(place)
    if not system.isdir(path):
        if not system.exists(path):
            raise UserError(f"{place} is not there; name a folder of shards or a .jsonl or .parquet file")
        yield from _decoded(path, system.cat_file(path), kind)
        return
    manifest = manifest_of(place)
    if manifest is not None and manifest.kind != kind:
        if manifest_of(within(place, kind)) is None:
            raise UserError(f"{place} holds records of the kind {manifest.kind}; {kind} is needed here")
        yield from read_lines(kind, within(place, kind))
        return
    sums = {shard.name: shard.sha256 for shard in manifest.shards} if manifest else {}
    names = list(sums) if manifest else sorted(shards_in(system, path))
    if not names and manifest is None:
        raise UserError(f"{place} holds no shards; name a folder that a stage wrote whole, or a file of records")
    for name in names:
        shard = f"{place}/{name}"
        yield from _decoded(shard, _checked(system.cat_file(f"{path}/{name}"), sums.get(name), shard), kind)


def manifest_of(place: Place) -> Manifest | None:
    """The manifest of a folder; None where there is none."""
    system, folder = system_of(place)
    try:
        found = json.loads(system.cat_file(f"{folder}/{MANIFEST}"))
        shards = tuple(Shard(**shard) for shard in found.pop("shards"))
        return Manifest(**found, shards=shards)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, TypeError, KeyError, AttributeError):
        raise UserError(f"{place}/{MANIFEST} is no manifest of shards; make the folder anew") from None


def put(place: Place, name: str, text: str) -> None:
    """Write a text file into a folder on any file system, whole or not at all."""
    system, folder = system_of(place)
    system.makedirs(folder, exist_ok=True)
    _put(system, f"{folder}/{name}", text.encode("utf-8", "backslashreplace"))


def text_in(place: Place, name: str) -> str | None:
    """A text file of a folder on any file system; None where it is not there, or is no text."""
    system, folder = system_of(place)
    try:
        return str(system.cat_file(f"{folder}/{name}").decode())
    except (OSError, UnicodeDecodeError):
        return None


def within(place: Place, name: str) -> str:
    """What is called `name` in a folder on any file system."""
    return f"{os.fspath(place).rstrip('/')}/{name}"


def local(place: Place) -> Path | None:
    """A place as a path of this machine; None where it is elsewhere."""
    system, path = system_of(place)
    return Path(path) if "file" in _protocols(system) else None


def system_of(place: Place) -> tuple[fsspec.AbstractFileSystem, str]:
    """The file system that a place is on, and its path there. Raises UserError."""
    try:
        system, path = url_to_fs(os.fspath(place))
    except (ValueError, ImportError) as error:
        raise UserError(f"{place} cannot be reached: {error}") from None
    return system, path.rstrip("/")


def _protocols(system: fsspec.AbstractFileSystem) -> tuple[str, ...]:
    return (system.protocol,) if isinstance(system.protocol, str) else tuple(system.protocol)


def _put(system: fsspec.AbstractFileSystem, path: str, data: bytes) -> None:
    """Object stores show an object when it is whole; a local file is renamed when it is."""
    if "file" not in _protocols(system):
        system.pipe_file(path, data)
        return
    beside = Path(f"{path}.unfinished")
    beside.write_bytes(data)
    beside.replace(path)


def shards_in(system: fsspec.AbstractFileSystem, folder: str) -> set[str]:
    """The names of the files of records in a folder."""
    names = {str(name).rsplit("/", 1)[-1] for name in system.ls(folder, detail=False, refresh=True)}
    return {name for name in names if name.endswith((".jsonl", ".parquet")) and name != "refused.jsonl"}


def _checked(data: bytes, sha256: str | None, name: str) -> bytes:
    if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
        raise UserError(f"{name} is not the shard that its manifest names; make the folder anew")
    return data


def _encoded(lines: list[str], kind: str, form: Format) -> bytes:
    if form == "jsonl":
        return "".join(f"{line}\n" for line in lines).encode()
    from training.data.flow.columns import parquet

    return parquet(lines, kind)


def _decoded(name: str, data: bytes, kind: str) -> Iterator[str]:
    if name.endswith(".parquet"):
        from training.data.flow.columns import lines_of

        try:
            yield from lines_of(data, kind)
        except UserError as error:
            raise UserError(f"{name} cannot be read: {error}") from None
        return
    for line in io.TextIOWrapper(io.BytesIO(data), "utf-8", newline="\n"):
        if line.strip():
            yield line.rstrip("\n")
