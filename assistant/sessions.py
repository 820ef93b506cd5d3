"""Sessions: one append-only JSONL journal each, which is the truth about what was said and done.

A record is written whole before anything that follows from it happens. An ``intent`` stands before each tool call and
is on the disk before the call runs; its ``result`` follows. A torn last line is the text of the step that was cut.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from assistant.errors import UserError
from assistant.events import StepRecord
from model.engine import EngineInfo

VERSION = 1


class Journal:
    """The journal of a running session; this process alone writes it."""

    def __init__(self, path: Path, session: str) -> None:
        self.path = path
        self.session = session
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._descriptor)
            raise UserError(f"session {session} is open in another KAT Pilot; close that one first") from None

    @classmethod
    def create(cls, directory: Path, repository: Path, engine: EngineInfo) -> Journal:
        """Begin a session in `directory`, which is made if need be (mode 0700)."""
        now = datetime.now(UTC)
        session = f"{now:%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            journal = cls(directory / f"{session}.jsonl", session)
            journal.append("session", sync=True, version=VERSION, repository=str(repository), engine=asdict(engine))
        except OSError as error:
            raise UserError(f"the session cannot be written to {directory}: {error.strerror}") from None
        return journal

    def append(self, kind: str, *, sync: bool = False, **data: Any) -> None:
        """Write a record, whole or not at all; with `sync` it is on the disk when this returns.

        Raises:
            OSError: the disk is full or gone.
        """
        record = {"kind": kind, "time": datetime.now(UTC).isoformat(timespec="milliseconds"), **data}
        line = (json.dumps(record, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")
        before = os.fstat(self._descriptor).st_size
        try:
            written = os.write(self._descriptor, line)
            if written < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
            if sync:
                os.fsync(self._descriptor)
        except OSError as error:
            os.ftruncate(self._descriptor, before)
            raise OSError(error.errno, error.strerror, str(self.path)) from None

    def step(self, record: StepRecord) -> None:
        """Write a StepRecord."""
        self.append("step", sync=True, record=asdict(record))

    def close(self) -> None:
        """Let go of the file; closing again does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


@dataclass(frozen=True, slots=True)
class SessionSummary:
    """A line of `kat sessions list`. Times are ISO 8601 in UTC."""

    id: str
    started: str
    repository: str
    model: str
    first_words: str
    steps: int


def sessions_dir(state: Path) -> Path:
    """Where the journals lie below the state directory."""
    return state / "sessions"


def read(path: Path) -> Iterator[dict[str, Any]]:
    """The records of a journal in order; a torn last line, or one that is no JSON, is passed over."""
    with path.open("rb") as file:
        for line in file:
            if not line.endswith(b"\n"):
                return
            try:
                record = json.loads(line)
            except ValueError:
                continue
            if isinstance(record, dict) and isinstance(record.get("kind"), str):
                yield record


def find(directory: Path, session: str) -> Path:
    """The journal whose id begins with `session`.

    Raises:
        UserError: none or several do.
    """
    found = [path for path in sorted(directory.glob("*.jsonl")) if path.stem.startswith(session)]
    match found:
        case [path]:
            return path
        case []:
            raise UserError(f"there is no session {session!r}; `kat sessions list` shows those that are kept")
        case _:
            raise UserError(f"{len(found)} sessions begin with {session!r}; give more of the id")


def summaries(directory: Path) -> list[SessionSummary]:
    """All sessions, the latest first."""
    return [_summary(path) for path in sorted(directory.glob("*.jsonl"), reverse=True)]


def unfinished(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Intents without a result: calls whose outcome nobody knows."""
    done = {record["id"] for record in records if record["kind"] == "result"}
    return [record for record in records if record["kind"] == "intent" and record["id"] not in done]


def _summary(path: Path) -> SessionSummary:
    header: dict[str, Any] = {}
    words, steps = "", 0
    for record in read(path):
        match record["kind"]:
            case "session":
                header = record
            case "user" if not words:
                words = " ".join(record["text"].split())[:60]
            case "step":
                steps += 1
    model = header.get("engine", {}).get("model", "?")
    return SessionSummary(path.stem, header.get("time", "?"), header.get("repository", "?"), model, words, steps)
