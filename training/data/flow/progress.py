"""How far a stage is: one line that is written over on a terminal, now and then a plain one elsewhere."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TextIO

_OFTEN, _SELDOM = 0.2, 10.0
"""Seconds between two lines on a terminal, and elsewhere; our choice."""
_TOLD = 160
"""Characters of what a stage tells that are shown; our choice."""
_CLEARED = "\r\x1b[K"
_BEFORE_ESTIMATE = 1.0
"""Seconds after which a rate says something; our choice."""


@dataclass(slots=True)
class Progress:
    """Shows how a stage goes. `total` is the number of records to be read, None where it is not known.

    What was kept by an earlier run (`reused`) counts as done, but not for the rate.
    """

    stage: str
    total: int | None = None
    out: TextIO = field(default_factory=lambda: sys.stderr)
    clock: Callable[[], float] = time.monotonic
    read: int = 0
    written: int = 0
    refused: int = 0
    reused: int = 0
    _began: float = -1.0
    _shown: float = 0.0
    _dirty: bool = False

    def add(self, read: int, written: int, refused: int, *, reused: bool = False) -> None:
        """Count a chunk, and show it if it is time."""
        self._began = self.clock() if self._began < 0 else self._began
        self.read, self.written, self.refused = self.read + read, self.written + written, self.refused + refused
        self.reused += read if reused else 0
        self._show()

    def say(self, text: str) -> None:
        """What a stage tells, beside the line, cut to one line."""
        self._began = self.clock() if self._began < 0 else self._began
        self._show(" ".join(text.split())[:_TOLD])

    def done(self) -> None:
        """The last line, and the end of it."""
        self.out.write(f"{_CLEARED if self._dirty else ''}{self.line()}\n")
        self.out.flush()

    def line(self) -> str:
        """The line: stage, done of total, yield, refused, rate, time left."""
        of = "" if self.total is None else f"/{self.total:,}"
        parts = [f"{self.stage}: {self.read:,}{of}", f"{self.written:,} written", f"{self.refused:,} refused"]
        seconds, fresh = self.clock() - self._began, self.read - self.reused
        if self._began >= 0 and seconds >= _BEFORE_ESTIMATE and fresh:
            parts.append(f"{fresh / seconds:.3g}/s")
            if self.total is not None and self.total > self.read:
                parts.append(f"{_left(seconds * (self.total - self.read) / fresh)} left")
        if self.reused:
            parts.append(f"{self.reused:,} kept from before")
        return ", ".join(parts)

    def _show(self, more: str = "") -> None:
        now, terminal = self.clock(), self.out.isatty()
        if now - max(self._shown, self._began if not terminal else 0.0) < (_OFTEN if terminal else _SELDOM):
            return
        self._shown = now
        text = f"{self.line()}{'; ' + more if more else ''}"
        if terminal:
            self.out.write(f"{_CLEARED}{text[: shutil.get_terminal_size().columns - 1]}")
            self._dirty = True
        else:
            self.out.write(f"{text}\n")
        self.out.flush()


def _left(seconds: float) -> str:
    whole = round(seconds)
    return f"{whole} s" if whole < 60 else f"{whole // 60}:{whole % 60:02} min"
