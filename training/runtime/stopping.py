"""Stopping a run from outside: the first signal asks it to finish its update, save and leave; the second ends it."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stop:
    """Whether the run was asked to stop. As a context it listens to SIGINT and SIGTERM.

    The loop looks at `asked` once an update, in all processes together (`World.any`), so that they save the same step.
    """

    def __init__(self, say: Callable[[str], None] | None = None, together: float = 0.0) -> None:
        """`together` is in seconds: signals so soon behind the first are the same one, which launchers hand on too."""
        self.asked = False
        self._say, self._together = say, together
        self._heard_at = 0.0
        self._before: dict[signal.Signals, Any] = {}

    def ask(self) -> None:
        """Ask for it, as the first signal does."""
        self.asked = True

    def __enter__(self) -> Stop:
        if threading.current_thread() is threading.main_thread():
            self._before = {each: signal.signal(each, self._heard) for each in SIGNALS}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for each, handler in self._before.items():
            signal.signal(each, handler)
        self._before = {}

    def _heard(self, number: int, frame: FrameType | None) -> None:
        if self.asked and time.monotonic() - self._heard_at >= self._together:
            raise KeyboardInterrupt
        if self.asked:
            return
        self._heard_at = time.monotonic()
        self.ask()
        if self._say:
            self._say("finishing what is under way, then saving; once more to leave at once")
