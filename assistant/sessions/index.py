"""An index of the journals, for lists and searches: a cache that is never the truth and is rebuilt at any time."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import astuple, fields
from pathlib import Path
from typing import Any, NamedTuple

from assistant.sessions.catalogue import SessionSummary, journals, summary
from assistant.sessions.journal import read

_NAME = "index.sqlite"
_VERSION = 3
_WAIT = 5.0
"""Seconds to wait for another process that writes the index."""
_TEXT_LIMIT = 400_000
"""Characters of a session that can be searched."""
_COLUMNS = ", ".join(field.name for field in fields(SessionSummary))
_MARKS = ", ".join("?" for _ in fields(SessionSummary))


class _Stamp(NamedTuple):
    size: int
    mtime: int


def listed(
    directory: Path, words: str = "", repository: Path | None = None, *, sub_agents: bool = False
) -> list[SessionSummary]:
    """The sessions that have all these words in messages or answers, the latest first; only changed journals are read.

    Those of sub-agents are left out unless they are wanted.
    Words of Latin letters match from their beginning, others anywhere.
    """
    path, conditions = directory / _NAME, _conditions(words, repository, sub_agents=sub_agents)
    for attempt in (_on_disk, _rebuilt):
        try:
            with closing(attempt(path)) as index:
                return _answer(index, directory, *conditions)
        except sqlite3.OperationalError as error:
            if "no such" not in str(error) and "malformed" not in str(error):
                break  # locked for long, or the folder cannot be written: the file is sound
        except sqlite3.DatabaseError:
            continue
        except OSError:
            break
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as index:
        return _answer(index, directory, *conditions)


def _on_disk(path: Path) -> sqlite3.Connection:
    if path.parent.is_dir():
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    return sqlite3.connect(path, timeout=_WAIT, isolation_level=None)


def _rebuilt(path: Path) -> sqlite3.Connection:
    for name in (path.name, f"{path.name}-journal", f"{path.name}-wal", f"{path.name}-shm"):
        path.with_name(name).unlink(missing_ok=True)
    return _on_disk(path)


def _answer(
    index: sqlite3.Connection, directory: Path, conditions: Sequence[str], values: Sequence[str]
) -> list[SessionSummary]:
    index.execute("PRAGMA synchronous = OFF")
    _refresh(index, directory)
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    query = f"SELECT {_COLUMNS} FROM sessions{where} ORDER BY id DESC"  # noqa: S608 - our own words only
    return [SessionSummary(*row) for row in index.execute(query, values)]


def _conditions(words: str, repository: Path | None, *, sub_agents: bool) -> tuple[list[str], list[str]]:
    conditions, values = [] if sub_agents else ["spawned_by IS NULL"], []
    for word in words.split():
        if word.isascii() and word.isalnum():
            conditions.append("rowid IN (SELECT rowid FROM words WHERE words MATCH ?)")
            values.append(f'"{word}"*')
        else:
            conditions.append("rowid IN (SELECT rowid FROM words WHERE instr(lower(text), ?) > 0)")
            values.append(word.lower())
    if repository is not None:
        conditions.append("repository = ?")
        values.append(str(repository))
    return conditions, values


def _refresh(index: sqlite3.Connection, directory: Path) -> None:
    """Make the index what the journals say. Nothing is written, and nobody waited for, where it already is."""
    if not _is_made(index):
        _create(index)
    if not any(_differences(index, _paths(directory))):
        return
    index.execute("BEGIN IMMEDIATE")
    paths = _paths(directory)  # anew: while it waited, others may have found newer ones
    gone, changed = _differences(index, paths)
    for session in (*gone, *changed):
        _forget(index, session)
    for session, stamp in changed.items():
        with suppress(FileNotFoundError):
            _add(index, paths[session], stamp)
    index.execute("COMMIT")


def _paths(directory: Path) -> dict[str, Path]:
    return {path.stem: path for path in journals(directory)}


def _differences(index: sqlite3.Connection, paths: Mapping[str, Path]) -> tuple[list[str], dict[str, _Stamp]]:
    """Sessions that are gone, and those whose journal is another one than was read."""
    known = {row[0]: _Stamp(*row[1:]) for row in index.execute("SELECT id, size, mtime FROM sessions")}
    now = dict(_stamps(paths))
    changed = {session: stamp for session, stamp in now.items() if known.get(session) != stamp}
    return [session for session in known if session not in now], changed


def _stamps(paths: Mapping[str, Path]) -> Iterator[tuple[str, _Stamp]]:
    for session, path in paths.items():
        with suppress(FileNotFoundError):
            status = path.stat()
            yield session, _Stamp(status.st_size, status.st_mtime_ns)


def _is_made(index: sqlite3.Connection) -> bool:
    return bool(index.execute("PRAGMA user_version").fetchone()[0] == _VERSION)


def _create(index: sqlite3.Connection) -> None:
    index.execute("BEGIN IMMEDIATE")
    if not _is_made(index):  # else somebody was quicker
        for table in ("sessions", "words"):
            index.execute(f"DROP TABLE IF EXISTS {table}")
        index.execute(f"CREATE TABLE sessions ({_COLUMNS}, size, mtime, UNIQUE (id))")
        index.execute("CREATE VIRTUAL TABLE words USING fts5(text)")
        index.execute(f"PRAGMA user_version = {_VERSION}")
    index.execute("COMMIT")


def _forget(index: sqlite3.Connection, session: str) -> None:
    index.execute("DELETE FROM words WHERE rowid IN (SELECT rowid FROM sessions WHERE id = ?)", (session,))
    index.execute("DELETE FROM sessions WHERE id = ?", (session,))


def _add(index: sqlite3.Connection, path: Path, stamp: _Stamp) -> None:
    records = list(read(path))
    values = (*astuple(summary(path, records)), *stamp)
    row = index.execute(f"INSERT INTO sessions VALUES ({_MARKS}, ?, ?)", values).lastrowid  # noqa: S608 - as above
    index.execute("INSERT INTO words (rowid, text) VALUES (?, ?)", (row, _text(records)))


def _text(records: Iterable[Mapping[str, Any]]) -> str:
    said = (
        record.get("text") or record.get("answer") or record.get("name") or ""
        for record in records
        if record["kind"] in _SAID
    )
    return "\n".join(map(str, said))[:_TEXT_LIMIT].encode("utf-8", "replace").decode()


_SAID = frozenset({"user", "steer", "reply", "renamed"})
