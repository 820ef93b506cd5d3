"""The sessions of this machine: where their journals lie, how one is found, forked and removed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from assistant.errors import UserError
from assistant.safety.sanitize import sanitize
from assistant.sessions.journal import Journal, header, is_open, read, undamaged
from model.engine import EngineInfo

_FIRST_WORDS = 60
_LONGEST_NAME = 80
_ID = re.compile(r"\d{4,8}(-\d*(-[0-9a-f]*)?)?")
"""What could be meant as the beginning of an id."""
_OWN = frozenset({"renamed"})
"""Kinds of records that a fork does not take over."""
_STAMP = len("20261121-090000")
"""Characters of an id that say when it began."""
_AGE = re.compile(r"(\d{1,5})\s*([hdw])")
_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}


@dataclass(frozen=True, slots=True)
class SessionSummary:
    """A line of `kat sessions list`. Times are ISO 8601 in UTC; `last` is when it was last written.

    `name` is what the user called it, empty if he did not. `spawned_by` is the call that a sub-agent's session is of.
    """

    id: str
    started: str
    repository: str
    model: str
    first_words: str
    steps: int
    parent: str | None = None
    last: str = ""
    name: str = ""
    spawned_by: str | None = None


def sessions_dir(state: Path) -> Path:
    """Where the journals lie below the state directory."""
    return state / "sessions"


def journals(directory: Path) -> list[Path]:
    """All journals, the latest session first."""
    return sorted(directory.glob("*.jsonl"), reverse=True)


def find(directory: Path, session: str) -> Path:
    """The journal whose id begins with `session`, or that the user named so; `last` is the one that was written last.

    A sub-agent's session is never the last.

    Raises:
        UserError: none or several are meant.
    """
    paths = journals(directory)
    if session == "last" and paths:
        latest = sorted(paths, key=lambda path: (path.stat().st_mtime_ns, path.name), reverse=True)
        return next((path for path in latest if not spawned_by(path)), latest[0])
    match _named(directory, session) or [path for path in paths if session and path.stem.startswith(session)]:
        case [path]:
            return path
        case []:
            raise UserError(f"there is no session {session!r}; `kat sessions list` shows those that are kept")
        case [first, *_] as found if not first.stem.startswith(session):
            raise UserError(f"{len(found)} sessions are named {session!r}; give the id of one, like {first.stem}")
        case found:
            raise UserError(f"{len(found)} sessions begin with {session!r}; give more of the id")


def spawned_by(path: Path) -> str:
    """The call, like ``SESSION/4.1``, that a sub-agent's session is of; empty for any other."""
    first = next(read(path), {})
    return str(first.get("spawned_by") or "")


def spawned(directory: Path, session: str) -> list[Path]:
    """The journals of the sub-agents of a session."""
    later = (path for path in journals(directory) if path.stem >= session[:_STAMP])
    return [path for path in later if spawned_by(path).startswith(f"{session}/")]


def _named(directory: Path, name: str) -> list[Path]:
    """The journals of the sessions that the user named so."""
    from assistant.sessions.index import listed

    if not name or _ID.fullmatch(name) or not directory.is_dir():
        return []
    return [directory / f"{each.id}.jsonl" for each in listed(directory) if each.name == name]


def rename(path: Path, name: str) -> str:
    """Give a session a name by which it is found, or take it away with an empty one; returns what is kept of it.

    Raises:
        UserError: the name is not one, or the session is open elsewhere or cannot be written.
    """
    name = checked_name(name)
    header(path)
    journal = Journal.reopen(path)
    try:
        journal.append("renamed", sync=True, name=name)
    except OSError as error:
        raise UserError(f"session {path.stem} cannot be written: {error.strerror}") from None
    finally:
        journal.close()
    return name


def checked_name(name: str) -> str:
    """`name` as a session may be called, white space made single.

    Raises:
        UserError: it is too long, holds control characters, or could be meant as an id.
    """
    name = " ".join(name.split())
    if len(name) > _LONGEST_NAME:
        raise UserError(f"a name has at most {_LONGEST_NAME} characters; this one has {len(name)}")
    if sanitize(name) != name:
        raise UserError("a name has no control characters; leave them out")
    if name == "last" or _ID.fullmatch(name):
        raise UserError(f"{name!r} cannot be a name, since it could be an id; choose another")
    return name


def summaries(directory: Path) -> list[SessionSummary]:
    """All sessions, the latest first, read from their journals."""
    return [summary(path, read(path)) for path in journals(directory)]


def summary(path: Path, records: Iterable[Mapping[str, Any]]) -> SessionSummary:
    """What a list says of one session."""
    first: Mapping[str, Any] = {}
    words, last, name, steps = "", "?", "", 0
    for record in records:
        last = str(record.get("time", last))
        match record["kind"]:
            case "session":
                first = record
            case "user" if not words:
                words = " ".join(str(record.get("text", "")).split())[:_FIRST_WORDS]
            case "step":
                steps += 1
            case "renamed":
                name = str(record.get("name", ""))
    engine = first.get("engine")
    model = str(engine.get("model", "?")) if isinstance(engine, dict) else "?"
    started, repository = str(first.get("time", "?")), str(first.get("repository", "?"))
    parent, spawned = (str(first[key]) if first.get(key) else None for key in ("parent", "spawned_by"))
    return SessionSummary(path.stem, started, repository, model, words, steps, parent, last, name, spawned)


def unfinished(records: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Intents without a result: calls whose outcome nobody knows. A step's ids may come again after a restart."""
    open_: dict[str, Mapping[str, Any]] = {}
    for record in records:
        match record["kind"]:
            case "intent":
                open_[str(record.get("id"))] = record
            case "result":
                open_.pop(str(record.get("id")), None)
    return list(open_.values())


def fork(directory: Path, source: Path, at: int | None) -> Path:
    """A new session with the records of `source` up to and including step `at`, or all of them.

    Raises:
        UserError: there is no such step, or it cannot be written.
    """
    records = list(read(source))
    first = header(source)
    with undamaged(source):
        kept = records[1:] if at is None else records[1 : _end_of_step(records, at) + 1]
        engine = EngineInfo(**first["engine"])
    journal = Journal.create(directory, Path(first["repository"]), engine, parent=source.stem, parent_step=at)
    try:
        for record in (each for each in kept if each["kind"] not in _OWN):
            data = {name: value for name, value in record.items() if name not in ("kind", "n", "time")}
            journal.append(record["kind"], **data)
        journal.append("forked", sync=True, parent=source.stem)
    except OSError as error:
        journal.path.unlink(missing_ok=True)
        raise UserError(f"the fork cannot be written to {directory}: {error.strerror}") from None
    finally:
        journal.close()
    return journal.path


def prunable(directory: Path, older_than: timedelta | None, keep: int, now: datetime | None = None) -> list[Path]:
    """Sessions not written for so long, besides the `keep` that were written last; open ones are never among them."""
    paths = sorted(journals(directory), key=lambda path: (path.stat().st_mtime_ns, path.name), reverse=True)
    limit = (now or datetime.now(UTC)) - (older_than or timedelta())
    old = [path for path in paths[keep:] if datetime.fromtimestamp(path.stat().st_mtime, UTC) <= limit]
    return [path for path in old if not is_open(path)]


def age(text: str) -> timedelta:
    """`12h`, `30d` or `8w`.

    Raises:
        UserError: it is none of these.
    """
    found = _AGE.fullmatch(text.strip())
    if found is None:
        raise UserError(f"{text!r} is no age; write 12h, 30d or 8w")
    return int(found[1]) * _UNITS[found[2]]


def _end_of_step(records: Sequence[Mapping[str, Any]], step: int) -> int:
    """The place of the last record of a step."""
    ends = [n for n, record in enumerate(records) if record["kind"] == "step" and record["record"]["index"] == step]
    if not ends:
        steps = [record["record"]["index"] for record in records if record["kind"] == "step"]
        known = f"{steps[0]} to {steps[-1]}" if steps else "none"
        raise UserError(f"there is no step {step}; the session has {known}")
    return ends[-1]
