"""A session's journal: append-only JSONL, one record a line, one writer.

A record is written whole before anything that follows from it happens. An ``intent`` stands before each tool call and
is on the disk before the call runs; its ``result`` follows. Records are numbered (``n``), and only the numbers order
them: clocks jump. Secrets are taken out on the way in.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import secrets
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from assistant.errors import UserError
from assistant.records import StepRecord
from assistant.safety.secrets import Redactor
from model.engine import EngineInfo

VERSION = 1
_FLAGS = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
_CHUNK = 65_536
_TRIES, _BETWEEN = 4, 0.02
"""How often, and how many seconds apart, the lock is asked for."""
_FILES_ONLY = frozenset({"restore", "restored", "changed", "user_edit"})
"""Kinds that hold paths and hashes, which must come back as they are."""
_AS_THEY_ARE = frozenset({"tree", "paths", "repository"})


class Journal:
    """The journal of a session that is open; this process alone writes it. `known` are secrets to take out literally.

    Raises:
        UserError: another process has it open.
        OSError: it cannot be opened.
    """

    def __init__(self, path: Path, session: str, *, known: Sequence[str] = (), new: bool = False) -> None:
        self.path = path
        self.session = session
        self._redactor = Redactor(known)
        self._next = 1
        self._descriptor = os.open(path, _FLAGS | (os.O_CREAT | os.O_EXCL if new else 0), 0o600)
        if not _locked(self._descriptor):
            self.close()
            raise UserError(f"session {session} is open in another KAT Pilot; close that one first")

    @property
    def known(self) -> tuple[str, ...]:
        """Secrets that are taken out literally, for a journal that belongs to this one."""
        return self._redactor.known

    @classmethod
    def create(
        cls, directory: Path, repository: Path, engine: EngineInfo, *, known: Sequence[str] = (), **header: Any
    ) -> Self:
        """Begin a session in `directory`, which is made if need be (mode 0700). `header` goes into its first record.

        Raises:
            UserError: it cannot be written there.
        """
        session = _new_id(datetime.now(UTC))
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            with suppress(OSError):  # not ours to change; the file itself is closed to others
                directory.chmod(0o700)
            journal = cls(directory / f"{session}.jsonl", session, known=known, new=True)
            engine_data = asdict(engine)
            journal.append(
                "session", sync=True, version=VERSION, repository=str(repository), engine=engine_data, **header
            )
            _sync_directory(directory)
        except OSError as error:
            raise UserError(f"the session cannot be written to {directory}: {error.strerror}") from None
        return journal

    @classmethod
    def reopen(cls, path: Path, *, known: Sequence[str] = ()) -> Self:
        """Go on with a session: a torn last line is cut, and what is written next stands behind the last record.

        Raises:
            UserError: another process has it open, or it cannot be written.
        """
        journal: Self | None = None
        try:
            journal = cls(path, path.stem, known=known)
            journal._go_on()
        except OSError as error:
            if journal is not None:
                journal.close()
            raise UserError(f"session {path.stem} cannot be opened: {error.strerror} ({path})") from None
        return journal

    def append(self, kind: str, *, sync: bool = False, **data: Any) -> None:
        """Write a record, whole or not at all; with `sync` it is on the disk when this returns.

        Raises:
            OSError: the disk is full or gone, or somebody removed the file.
        """
        line = self._line(kind, data)
        if os.fstat(self._descriptor).st_nlink == 0:
            raise OSError(errno.ENOENT, "somebody removed the session's journal", str(self.path))
        before = self._end()
        try:
            self._write(line)
            if sync:
                os.fsync(self._descriptor)
        except OSError as error:
            os.ftruncate(self._descriptor, before)
            raise OSError(error.errno, error.strerror, str(self.path)) from None
        except BaseException:
            os.ftruncate(self._descriptor, before)
            raise
        self._next += 1

    def step(self, record: StepRecord) -> None:
        """Write a StepRecord."""
        self.append("step", sync=True, record=asdict(record))

    def close(self) -> None:
        """Let go of the file; closing again does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _line(self, kind: str, data: dict[str, Any]) -> bytes:
        inert = {name: value for name, value in data.items() if kind in _FILES_ONLY or name in _AS_THEY_ARE}
        rest = {name: value for name, value in data.items() if name not in inert}
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        record = {"kind": kind, "n": self._next, "time": now, **self._redactor.record(rest), **inert}
        return (json.dumps(record, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")

    def _end(self) -> int:
        """Where the file ends, made the end of a line: somebody may have cut it."""
        size = os.fstat(self._descriptor).st_size
        if size and os.pread(self._descriptor, 1, size - 1) != b"\n":
            self._write(b"\n")
            return size + 1
        return size

    def _write(self, data: bytes) -> None:
        while data:
            data = data[os.write(self._descriptor, data) :]

    def _go_on(self) -> None:
        os.fchmod(self._descriptor, 0o600)
        self._cut_torn_line()
        self._next = _last_number(self.path) + 1

    def _cut_torn_line(self) -> None:
        end = _after_newline(self._descriptor, os.fstat(self._descriptor).st_size)
        start = _after_newline(self._descriptor, end - 1)
        if end > start and not _is_record(os.pread(self._descriptor, end - start, start)):
            end = start
        if end < os.fstat(self._descriptor).st_size:
            os.ftruncate(self._descriptor, end)
            os.fsync(self._descriptor)


def read(path: Path, kinds: Collection[str] = ()) -> Iterator[dict[str, Any]]:
    """The records of a journal in order, or those of some kinds, which is quicker.

    A torn last line, or one that is no JSON, is passed over.
    """
    wanted = tuple(f'{{"kind": "{kind}",'.encode() for kind in kinds)
    with path.open("rb") as file:
        for line in file:
            if not line.endswith(b"\n"):
                return
            if wanted and not line.startswith(wanted):
                continue
            record = parsed(line)
            if record is not None:
                yield record


def header(path: Path) -> dict[str, Any]:
    """The first record of a journal.

    Raises:
        UserError: it is not there, or a newer program wrote it.
    """
    first = next(read(path), None)
    if first is None or first["kind"] != "session":
        raise UserError(f"the journal of session {path.stem} has no beginning; `kat sessions show` prints what is left")
    version = first.get("version", VERSION)
    if not isinstance(version, int) or version > VERSION:
        raise UserError(f"session {path.stem} was written by a newer KAT Pilot; update this one first")
    return first


@contextmanager
def undamaged(path: Path) -> Iterator[None]:
    """For whoever takes records at their word.

    Raises:
        UserError: one of them was not as this program writes them.
    """
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        text = f"the journal of session {path.stem} is damaged; `kat sessions show {path.stem}` prints what is left"
        raise UserError(text) from error


def parsed(line: bytes) -> dict[str, Any] | None:
    """The record that a line holds, or None."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) and isinstance(record.get("kind"), str) else None


def is_open(path: Path) -> bool:
    """Whether a process has the session open."""
    with path.open("rb") as file:
        return not _locked(file.fileno())


def remove(path: Path) -> None:
    """Remove a session for good.

    Raises:
        UserError: it is open in another process.
    """
    with path.open("rb") as file:
        if not _locked(file.fileno()):
            raise UserError(f"session {path.stem} is open in another KAT Pilot; close that one first")
        path.unlink(missing_ok=True)


def _locked(descriptor: int) -> bool:
    """Whether the lock is ours now. Who only looks holds it for a moment, so one refusal is not the last word."""
    for _ in range(_TRIES):
        with suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        time.sleep(_BETWEEN)
    return False


def _is_record(line: bytes) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _last_number(path: Path) -> int:
    """The highest number given; journals from before numbers count their records."""
    last = 0
    for record in read(path):
        number = record.get("n")
        last = max(last + 1, number if isinstance(number, int) else 0)
    return last


def _after_newline(descriptor: int, end: int) -> int:
    """The offset behind the last newline before `end`, or 0."""
    while end > 0:
        start = max(0, end - _CHUNK)
        found = os.pread(descriptor, end - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _new_id(now: datetime) -> str:
    """Ids sort as sessions began, also within a second: microseconds in five hexadecimal digits, and one by chance."""
    return f"{now:%Y%m%d-%H%M%S}-{now.microsecond:05x}{secrets.token_hex(1)[0]}"
