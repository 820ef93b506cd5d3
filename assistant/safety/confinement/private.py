"""Folders in the temporary directory that last as long as one run, and the end of those that a killed program left."""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PREFIX = "kat-run-"
_NEW = 60.0
"""Seconds in which a folder may not be locked yet."""


@contextmanager
def private_folder(parent: Path | None = None) -> Iterator[Path]:
    """A new folder in `parent` (the temporary directory), removed at the end with whatever a command left there.

    A lock on it says that it is in use.
    """
    directory = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
    lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield directory
    finally:
        _remove(directory)
        os.close(lock)


def temporary_folders() -> tuple[Path, ...]:
    """Where our folders may lie: the temporary directory, and shared memory, which can more in containers."""
    return Path(tempfile.gettempdir()), Path("/dev/shm")  # noqa: S108


def remove_abandoned(parent: Path | None = None, *, age: float = _NEW) -> None:
    """Remove our folders in `parent` (all places for them) that are `age` seconds old and whose program is gone.

    Never raises.
    """
    for place in [parent] if parent else temporary_folders():
        with suppress(OSError):
            for directory in place.glob(f"{_PREFIX}*"):
                with suppress(OSError):
                    _remove_if_abandoned(directory, age)


def _remove_if_abandoned(directory: Path, age: float) -> None:
    state = directory.lstat()
    if not stat.S_ISDIR(state.st_mode) or state.st_uid != os.geteuid() or time.time() - state.st_ctime < age:
        return
    lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _remove(directory)
    finally:
        os.close(lock)


def _remove(directory: Path) -> None:
    """Remove a folder. One that a command closed, or nested too deep for us, is left to programs made for that."""
    with suppress(RecursionError):
        shutil.rmtree(directory, ignore_errors=True)
    if directory.exists():
        for program in (("/bin/chmod", "-R", "u+rwX"), ("/bin/rm", "-rf")):
            subprocess.run([*program, "--", directory], capture_output=True, check=False)
