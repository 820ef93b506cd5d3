"""The log of a server: a file that it writes by itself, read as it grows and kept from growing without end."""

from __future__ import annotations

import os
import re
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

LOG_BYTES = 16 << 20
"""A log longer than this becomes `NAME.1`, in place of the one before; our choice."""
_KEPT_LINES = 400
_READ = 1 << 20
_ENDS = re.compile(r"[\r\n]+")
"""Progress bars end their lines with a carriage return."""


@dataclass(slots=True)
class ServerLog:
    """A server appends to `path`, and goes on if we are killed; that is why it gets the file and not a pipe."""

    path: Path
    limit: int = LOG_BYTES
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=_KEPT_LINES))
    """The last lines of this start."""
    _offset: int = 0
    _rest: str = ""

    def begin(self, title: str) -> BinaryIO:
        """Open it for a new start, which only its owner may read; what was there is kept."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if _size(self.path) > self.limit:
            self.path.replace(self._old())
        file = open(self.path, "ab", buffering=0, opener=_private)  # noqa: SIM115 - for a process, by opener
        file.write(f"kat: {title}\n".encode())
        self._offset, self._rest = file.tell(), ""
        self.lines.clear()
        return file

    def new(self) -> list[str]:
        """The whole lines that were written since the last call."""
        try:
            with self.path.open("rb") as file:
                file.seek(self._offset)
                data = file.read(_READ)
        except OSError:
            return []
        self._offset += len(data)
        *found, self._rest = _ENDS.split(self._rest + data.decode("utf-8", "replace"))
        found = [line for line in found if line.strip()]
        self.lines.extend(found)
        return found

    def trim(self) -> None:
        """Move what is there to the old log if it is too long; the server goes on at the start of the same file."""
        if _size(self.path) <= self.limit:
            return
        self.new()
        with suppress(OSError), self.path.open("r+b") as file:
            try:
                self._old().write_bytes(file.read())
                self._old().chmod(0o600)
            except OSError:  # a full disk: the old lines are no reason to end the server
                self._old().unlink(missing_ok=True)
            file.truncate(0)
            self._offset = 0

    def _old(self) -> Path:
        return self.path.with_name(self.path.name + ".1")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
