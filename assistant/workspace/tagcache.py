"""What was found in files, kept on disk by their content: a SQLite file a repository, made anew if broken."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from assistant.workspace.tags import QUERIES, Definition

_SCHEMA = """
CREATE TABLE IF NOT EXISTS files (path BLOB PRIMARY KEY, stamp TEXT, digest TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS tags (digest TEXT PRIMARY KEY, names TEXT, used TEXT, lines TEXT, definitions TEXT);
CREATE TABLE IF NOT EXISTS orders (state TEXT PRIMARY KEY, keys TEXT);
"""
_FORMAT = 2
_WAIT = 2.0
_SPARE = 5_000
"""How many contents that no file has are kept, for branches that are checked out again; our choice."""


@dataclass(frozen=True, slots=True)
class Known:
    """A file as it was looked into: its stamp, and the digest of its language and content."""

    stamp: str
    digest: str


class TagCache:
    """The store of one repository. What cannot be read counts as not there; what cannot be written is left."""

    def __init__(self, folder: Path | None, root: Path) -> None:
        self._path = folder / f"{hashlib.sha256(os.fsencode(root)).hexdigest()[:24]}.sqlite" if folder else None
        self._memory = None if folder else _made(":memory:")

    def known(self) -> dict[str, Known]:
        """Each file that was looked into."""
        rows = self._rows("SELECT path, stamp, digest FROM files")
        return {os.fsdecode(path): Known(stamp, digest) for path, stamp, digest in rows}

    def digests(self) -> set[str]:
        """The contents whose tags are kept."""
        return {digest for (digest,) in self._rows("SELECT digest FROM tags")}

    def names(self, digests: Iterable[str]) -> dict[str, tuple[list[str], dict[str, int]]]:
        """By digest: the names defined for others, and how often it uses which names."""
        return {digest: (names, used) for digest, names, used in self._tags("names, used", digests)}

    def lines(self, digests: Iterable[str]) -> dict[str, dict[str, tuple[int, int]]]:
        """By digest: how often it uses which names, and in which line first."""
        found = self._tags("used, lines", digests)
        return {
            digest: {name: (count, line) for (name, count), line in zip(used.items(), lines, strict=False)}
            for digest, used, lines in found
        }

    def definitions(self, digests: Iterable[str]) -> dict[str, tuple[Definition, ...]]:
        """By digest: what is defined."""
        found = self._tags("definitions", digests)
        return {digest: tuple(Definition(*one) for one in definitions) for digest, definitions in found}

    def _tags(self, columns: str, digests: Iterable[str]) -> list[list[Any]]:
        """Digests and what these columns hold, read as one text: that is quicker, and equal names are one object."""
        query = f"SELECT digest, {columns} FROM tags WHERE digest IN (SELECT value FROM json_each(?))"  # noqa: S608
        texts = (",".join((json.dumps(digest), *parts)) for digest, *parts in self._rows(query, json.dumps([*digests])))
        return _loaded(f"[{','.join(f'[{text}]' for text in texts)}]") or []

    def save(self, files: Mapping[str, Known], gone: Iterable[str], tags: Mapping[str, Sequence[Any]]) -> bool:
        """Keep what was found, all of it or nothing (False)."""
        rows = [(digest, *(json.dumps(part) for part in wire)) for digest, wire in tags.items()]
        entries = [(os.fsencode(path), known.stamp, known.digest) for path, known in files.items()]
        try:
            self._write(rows, entries, gone)
        except sqlite3.Error:
            return False
        return True

    def _write(self, rows: Sequence[Any], entries: Sequence[Any], gone: Iterable[str]) -> None:
        with self._opened() as store, store:
            store.executemany("INSERT OR REPLACE INTO tags VALUES (?, ?, ?, ?, ?)", rows)
            store.executemany("DELETE FROM files WHERE path = ?", [(os.fsencode(path),) for path in gone])
            store.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?)", entries)
            if len(rows) > 1:
                _prune(store)

    def order(self, state: str) -> list[tuple[str, str]] | None:
        """The order of definitions that was kept for this state of the repository."""
        for (keys,) in self._rows("SELECT keys FROM orders WHERE state = ?", state):
            return [(path, name) for path, name in _loaded(keys) or ()]
        return None

    def save_order(self, state: str, keys: Sequence[tuple[str, str]]) -> None:
        """Keep an order, in the place of the one before."""
        with suppress(sqlite3.Error), self._opened() as store, store:
            store.execute("DELETE FROM orders")
            store.execute("INSERT INTO orders VALUES (?, ?)", (state, json.dumps(keys)))

    def _rows(self, query: str, *arguments: str) -> list[tuple[Any, ...]]:
        try:
            with self._opened() as store:
                return store.execute(query, arguments).fetchall()
        except sqlite3.Error:
            return []

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        """The database; one that is broken, or of another version, goes. Raises `sqlite3.Error`."""
        if self._path is None:
            assert self._memory is not None
            yield self._memory
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with closing(_made(self._path)) as store:
                yield store
        except OSError as error:
            raise sqlite3.OperationalError(str(error)) from error
        except sqlite3.OperationalError:
            raise  # busy, or a full disk: nothing is broken
        except sqlite3.DatabaseError:
            self._path.unlink(missing_ok=True)
            raise


def _made(path: Path | str) -> sqlite3.Connection:
    """An open database with our tables, emptied if another version made it."""
    store = sqlite3.connect(path, timeout=_WAIT, check_same_thread=False)
    try:
        store.execute("PRAGMA synchronous = OFF")  # what a power cut breaks is made anew
        if store.execute("PRAGMA user_version").fetchone() != (_version(),):
            tables = ("files", "tags", "orders")
            drops = "".join(f"DROP TABLE IF EXISTS {table};" for table in tables)
            store.executescript(f"BEGIN;{drops}{_SCHEMA}PRAGMA user_version = {_version()};COMMIT;")
    except sqlite3.Error:
        store.close()
        raise
    return store


@cache
def _version() -> int:
    """Another number for other queries, which find other things."""
    found = hashlib.sha256(str(_FORMAT).encode())
    for path in sorted(QUERIES.glob("*.scm")):
        found.update(path.read_bytes())
    return int.from_bytes(found.digest()[:3], "big") + 1


def _prune(store: sqlite3.Connection) -> None:
    unused = "digest NOT IN (SELECT digest FROM files)"
    if store.execute(f"SELECT count(*) FROM tags WHERE {unused}").fetchone()[0] > _SPARE:  # noqa: S608 - a constant
        store.execute(f"DELETE FROM tags WHERE {unused}")  # noqa: S608 - a constant


def _loaded(text: str) -> Any:
    """None where somebody else wrote into the file."""
    try:
        return json.loads(text)
    except ValueError:
        return None
