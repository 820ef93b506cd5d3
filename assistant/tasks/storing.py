"""Results on disk: a file replaced whole, and JSON lines that are only ever added to."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from assistant.errors import UserError
from assistant.workspace.atomic import new_file_mode, replace_file

_FLAGS = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
_CHUNK = 65_536


def put(path: Path, data: bytes) -> None:
    """Write a file whole or not at all; its folder is made if need be.

    Raises:
        UserError: it cannot be written.
    """
    with _explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            replace_file(path.name, directory, data, new_file_mode())
        finally:
            os.close(directory)


def append_line(path: Path, record: Mapping[str, Any]) -> None:
    """Add a line of JSON, on the disk when this returns; one that a crash left torn is cut off first, and a whole one
    without an end is ended.

    Several processes may add to the same file.

    Raises:
        UserError: it cannot be written.
    """
    with _explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, _FLAGS, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            _append(descriptor, as_line(record))
        finally:
            os.close(descriptor)


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The records of a file, none where there is no file; a last line that a crash left torn does not count.

    Raises:
        UserError: it cannot be read, or a line is no JSON object.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    *lines, last = data.split(b"\n")
    for number, line in enumerate([*lines, b"" if _is_torn(last) else last], 1):
        if line.strip():
            yield _record(line, f"{path} line {number}")


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Keep other processes that ask for the same away from a file that is read and then written anew.

    Raises:
        UserError: its folder cannot be made.
    """
    with _explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with suppress(OSError):  # some network file systems lock no folders
            fcntl.flock(directory, fcntl.LOCK_EX)
        yield
    finally:
        os.close(directory)


def as_line(record: Mapping[str, Any]) -> bytes:
    """A record as a line. What is no UTF-8 stays what it was: JSON can say it."""
    return json.dumps(record).encode() + b"\n"


def _record(line: bytes, where: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where} is no JSON: {error}") from None
    if not isinstance(record, dict):
        raise UserError(f"{where} is no JSON object; is this the right file?")
    return record


def _append(descriptor: int, line: bytes) -> None:
    """All of the line or nothing."""
    size, before = os.fstat(descriptor).st_size, _ended(descriptor)
    last = os.pread(descriptor, size - before, before)
    if last and not _is_torn(last):
        before, line = size, b"\n" + line
    os.ftruncate(descriptor, before)
    try:
        rest = line
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        os.fsync(descriptor)
    except BaseException:
        os.ftruncate(descriptor, before)
        raise


def _is_torn(last: bytes) -> bool:
    """Whether what has no end of line is the beginning of a record, or what a crash can leave in its place."""
    try:
        json.loads(last)
    except (ValueError, RecursionError):
        return last.startswith((b"{", b"\0"))
    return False


def _ended(descriptor: int) -> int:
    """Bytes up to the end of the last line that has one."""
    end = os.fstat(descriptor).st_size
    while end:
        start = max(0, end - _CHUNK)
        found = os.pread(descriptor, end - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}") from None
