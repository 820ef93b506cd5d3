"""The sessions of this machine: where their journals lie, how one is found, forked and removed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from assistant.errors import UserError
from assistant.sessions.journal import Journal, header, is_open, read
from model.engine import EngineInfo

_FIRST_WORDS = 60
_AGE = re.compile(r"(\d{1,5})\s*([hdw])")
_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}


@dataclass(frozen=True, slots=True)
class SessionSummary:
    """A line of `kat sessions list`. Times are ISO 8601 in UTC; `last` is when it was last written."""

    id: str
    started: str
    repository: str
    model: str
    first_words: str
    steps: int
    parent: str | None = None
    last: str = ""


def sessions_dir(state: Path) -> Path:
    """Where the journals lie below the state directory."""
    return state / "sessions"


def journals(directory: Path) -> list[Path]:
    """All journals, the latest session first."""
    return sorted(directory.glob("*.jsonl"), reverse=True)


def find(directory: Path, session: str) -> Path:
    """The journal whose id begins with `session`; `last` is the one that was written last.

    Raises:
        UserError: none or several are meant.
    """
    paths = journals(directory)
    if session == "last" and paths:
        return max(paths, key=lambda path: (path.stat().st_mtime_ns, path.name))
    match [path for path in paths if session and path.stem.startswith(session)]:
        case [path]:
            return path
        case []:
            raise UserError(f"there is no session {session!r}; `kat sessions list` shows those that are kept")
        case found:
            raise UserError(f"{len(found)} sessions begin with {session!r}; give more of the id")


def summaries(directory: Path) -> list[SessionSummary]:
    """All sessions, the latest first, read from their journals."""
    return [summary(path, read(path)) for path in journals(directory)]


def summary(path: Path, records: Iterable[Mapping[str, Any]]) -> SessionSummary:
    """What a list says of one session."""
    first: Mapping[str, Any] = {}
    words, last, steps = "", "?", 0
    for record in records:
        last = record.get("time", last)
        match record["kind"]:
            case "session":
                first = record
            case "user" if not words:
                words = " ".join(str(record.get("text", "")).split())[:_FIRST_WORDS]
            case "step":
                steps += 1
    model = first.get("engine", {}).get("model", "?")
    started, repository = first.get("time", "?"), first.get("repository", "?")
    return SessionSummary(path.stem, started, repository, model, words, steps, first.get("parent"), last)


def unfinished(records: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Intents without a result: calls whose outcome nobody knows. A step's ids may come again after a restart."""
    open_: dict[str, Mapping[str, Any]] = {}
    for record in records:
        match record["kind"]:
            case "intent":
                open_[record["id"]] = record
            case "result":
                open_.pop(record["id"], None)
    return list(open_.values())


def fork(directory: Path, source: Path, at: int | None) -> Path:
    """A new session with the records of `source` up to and including step `at`, or all of them.

    Raises:
        UserError: there is no such step, or it cannot be written.
    """
    records = list(read(source))
    first = header(source)
    kept = records[1:] if at is None else records[1 : _end_of_step(records, at) + 1]
    engine = EngineInfo(**first["engine"])
    journal = Journal.create(directory, Path(first["repository"]), engine, parent=source.stem, parent_step=at)
    try:
        for record in kept:
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
