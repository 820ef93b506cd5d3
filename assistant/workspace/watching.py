"""Hears of changed files from the operating system, in a thread of its own."""

from __future__ import annotations

import threading
from pathlib import Path

_STEP_MS = 50
_IDLE_MS = 1_000


class Watch:
    """Paths that changed since they were asked for. Where nothing can be watched, `ready` is never true."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._changed: set[str] = set()
        self._all = True
        self.ready = False
        self._thread = threading.Thread(target=self._run, name="repository watch", daemon=True)
        self._thread.start()

    def taken(self) -> set[str] | None:
        """Paths below the root that changed; None: anything may have, so all must be looked at."""
        with self._lock:
            changed, everything = self._changed, self._all or not self.ready
            self._changed = set()
            if self.ready:
                self._all = False
        return None if everything else changed

    def forget(self) -> None:
        """All must be looked at again."""
        with self._lock:
            self._all = True

    def close(self) -> None:
        """End the thread."""
        self._stop.set()
        self._thread.join(2 * _IDLE_MS / 1000)

    def _run(self) -> None:
        try:
            from watchfiles import watch

            changes = watch(
                self._root,
                watch_filter=None,
                step=_STEP_MS,
                debounce=4 * _STEP_MS,
                stop_event=self._stop,
                rust_timeout=_IDLE_MS,
                yield_on_timeout=True,
                raise_interrupt=False,
                ignore_permission_denied=True,
            )
            for batch in changes:
                self._heard({path for _, path in batch})
        except (OSError, RuntimeError, ImportError):  # too many folders, a file system that tells nothing
            pass
        self.ready = False

    def _heard(self, paths: set[str]) -> None:
        """Of git's own files only the index counts: what it names may be another list of files."""
        root = f"{self._root}/"
        below = {path.removeprefix(root) for path in paths}
        with self._lock:
            self.ready = True
            self._all |= any(path == ".git/index" or path.endswith(".gitignore") for path in below)
            self._changed |= {path for path in below if not path.startswith(".git/")}
