"""Pieces of a run: a chunk of a stage's input, what became of it, and where that is kept between runs."""

from __future__ import annotations

import hashlib
import json
import traceback
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import pyarrow as pa

from assistant.errors import UserError
from model.engine import EngineError
from training.data.flow.places import content
from training.data.flow.told import Cost, Note
from training.data.schema import KINDS, Record, Refused, as_line, record_of
from training.data.stage import Context, Outgoing, Stage, places

REFUSED = "refused"
TOLD = "told"
CRASHED = "crashed"
PASSING = frozenset({CRASHED, "engine", "environment"})
"""Reasons that may be gone at the next run, as a server or a network that failed: what they refused is tried again."""
_MAGIC = b"KATPART1"
_CODEC = "zstd"


class Row(NamedTuple):
    """One outcome: the kind of record, ``refused`` or ``told``, and its line of JSON."""

    kind: str
    line: str


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some records of a stage's input, as rows. `key` names stage, options and content."""

    index: int
    key: str
    rows: tuple[Row, ...]


class Engine(Protocol):
    """What runs chunks: processes of this machine, or many machines."""

    def outcomes(self, stage: Stage, chunks: Iterator[Chunk], context: Context) -> Iterator[tuple[Chunk, list[Row]]]:
        """What becomes of each chunk, in any order. Ends what it started when it is closed."""


def fingerprint(stage: Stage, asked: str = "") -> str:
    """A hash of a stage's name, version and options, and of the model `asked`.

    A folder of records, or a file, that an option names (`place`) counts by its content, not by its path; so does what
    the stage looks at besides.
    """
    given: dict[str, Any] = asdict(stage)  # type: ignore[call-overload]
    given |= {name: _content(given[name]) for name, by_content in places(stage).items() if by_content}
    options = json.dumps(given, sort_keys=True, default=str)
    outside = f"\0{stage.outside()}" if isinstance(stage, Outgoing) else ""
    return hashlib.sha256(f"{stage.name}\0{stage.version}\0{options}{asked}{outside}".encode()).hexdigest()[:16]


def chunks_of(rows: Iterable[Row], identity: str, size: int | None) -> Iterator[Chunk]:
    """The rows in chunks of `size`; None: all in one."""
    index, waiting = 0, iter(rows)
    while some := tuple(islice(waiting, size)):
        yield Chunk(index, key_of(identity, some), some)
        index += 1


def key_of(identity: str, rows: Sequence[Row]) -> str:
    """What names the outcome of these rows: stage, options, and each row."""
    digest = hashlib.sha256(identity.encode())
    for row in rows:
        data = f"{row.kind} {row.line}".encode()
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()[:32]


def record(row: Row) -> Record:
    """The record in a row."""
    found: Record = record_of(KINDS[row.kind], row.line)  # type: ignore[type-var]
    return found


def row_of(outcome: Record | Refused) -> Row:
    """A record, or a refusal, as a row. What no file can hold (half a surrogate pair) is refused."""
    if isinstance(outcome, Refused):
        return Row(REFUSED, json.dumps(asdict(outcome), sort_keys=True))
    line = as_line(outcome)
    try:
        line.encode()
    except UnicodeEncodeError:
        return row_of(Refused(outcome.id, "unwritable", "it holds half of a surrogate pair, which no file can hold"))
    return Row(type(outcome).__name__.lower(), line)


def work(stage: Stage, rows: Sequence[Row], context: Context) -> list[Row]:
    """What becomes of rows, and what the stage had to say of it for the report (rows of the kind `TOLD`).

    Where the stage fails on several, each is tried alone, and a bad one is refused.

    Raises:
        UserError, EngineError: the whole run cannot go on.
    """
    heard: list[Row] = []

    def watch(text: str) -> None:
        heard.extend(_told(text))
        context.watch(text)

    try:
        found = [row_of(outcome) for outcome in stage(map(record, rows), replace(context, watch=watch))]
        return [*found, *heard]
    except (UserError, EngineError):
        raise
    except Exception as error:
        if stage.whole:
            raise
        context.watch(f"the stage failed: {_where(error)}: {error}")
        if len(rows) > 1:
            return [found for row in rows for found in work(stage, [row], context)]
        return [crashed(rows[0], f"the stage failed on it: {_where(error)}")]


def _told(text: str) -> list[Row]:
    match text:
        case Cost():
            return [Row(TOLD, json.dumps({"cost": dict(text.figures)}, sort_keys=True))]
        case Note():
            return [Row(TOLD, json.dumps({"note": text}, ensure_ascii=False))]
        case _:
            return []


def reason_of(row: Row) -> str:
    """Why a row was refused; empty for a record."""
    return str(json.loads(row.line)["reason"]) if row.kind == REFUSED else ""


def crashed(row: Row, why: str) -> Row:
    """A row that could not be worked on."""
    fields: dict[str, Any] = json.loads(row.line)
    return row_of(Refused(str(fields.get("id") or fields.get("name")), CRASHED, why))


class Parts:
    """What became of chunks, kept in a folder by their key, each whole or not at all. A broken one counts as absent."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, key: str) -> list[Row] | None:
        """The rows kept for a key."""
        with suppress(OSError, ValueError, pa.ArrowException):
            return _unpacked(self._path(key).read_bytes())
        return None

    def put(self, key: str, rows: Sequence[Row]) -> None:
        """Keep rows."""
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_suffix(".unfinished")
        beside.write_bytes(_packed(rows))
        beside.replace(path)

    def _path(self, key: str) -> Path:
        return self._folder / key[:2] / f"{key}.part"


def _packed(rows: Sequence[Row]) -> bytes:
    text = "".join(f"{row.kind} {row.line}\n" for row in rows).encode()
    squeezed: bytes = pa.compress(text, codec=_CODEC, asbytes=True)
    return _MAGIC + len(text).to_bytes(8, "big") + hashlib.sha256(text).digest() + squeezed


def _unpacked(data: bytes) -> list[Row]:
    size, digest, squeezed = int.from_bytes(data[8:16], "big"), data[16:48], data[48:]
    text: bytes = pa.decompress(squeezed, size, codec=_CODEC, asbytes=True) if size else b""
    if data[:8] != _MAGIC or hashlib.sha256(text).digest() != digest:
        raise ValueError("not whole")
    return [Row(*line.split(" ", 1)) for line in text.decode().split("\n") if line]


def _content(value: Any) -> Any:
    """What is in the places that an option names; the names of those where nothing is."""
    match value:
        case str() | Path() if str(value):
            with suppress(OSError, UserError):
                return content(value) or value
        case list() | tuple():
            return [_content(one) for one in value]
    return value


def _where(error: Exception) -> str:
    """The kind of error and the line it came from: the same on every run, as its message need not be."""
    frames = traceback.extract_tb(error.__traceback__)
    last = next((frame for frame in reversed(frames) if "/training/" in frame.filename), frames[-1])
    return f"{type(error).__name__} in {Path(last.filename).name}, line {last.lineno}"
