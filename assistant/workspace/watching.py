"""Hears of changed files from the operating system, in a thread of its own."""

from __future__ import annotations

import os
import threading
from collections.abc import Collection, Iterator
from itertools import islice
from pathlib import Path

from assistant.workspace.scan import foreign

_MOST = 500
"""More changes than this are not kept: looking at every file costs no more; our choice."""
_FOLDERS = 50_000
"""Folders that are watched at most, since all programs share what the system can watch; our choice."""
_STEP_MS = 50
_IDLE_MS = 1_000


class Watch:
    """Paths that changed since they were asked for. Where nothing can be watched, `ready` is never true.

    Each folder is watched for itself: a watch of a whole tree would follow links, perhaps to all of the machine.
    """

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
            while not self._stop.is_set():
                self._until_new_folder()
                self.ready = False
                self._stop.wait(_IDLE_MS / 1000)  # whoever makes folders makes many
        except (OSError, RuntimeError, ImportError):  # too many folders, a file system that tells nothing
            self.ready = False

    def _until_new_folder(self) -> None:
        """Hear of changes until there is a folder that is not watched; then all must be looked at."""
        from watchfiles import watch

        watched = set(islice(_folders(self._root), _FOLDERS + 1))
        if len(watched) > _FOLDERS:
            raise OSError("too many folders")
        self.forget()
        changes = watch(
            *watched,
            watch_filter=None,
            step=_STEP_MS,
            debounce=4 * _STEP_MS,
            stop_event=self._stop,
            rust_timeout=_IDLE_MS,
            yield_on_timeout=True,
            raise_interrupt=False,
            recursive=False,
            ignore_permission_denied=True,
        )
        try:
            for batch in changes:
                paths = {path for _, path in batch}
                self._heard(paths)
                if any(map(self._is_new, paths - watched)):
                    return
        except FileNotFoundError:  # one that went meanwhile
            return

    def _heard(self, paths: Collection[str]) -> None:
        """Of git's own files only the index counts: what it names may be another list of files."""
        root = f"{self._root}/"
        below = {path.removeprefix(root) for path in paths}
        with self._lock:
            self.ready = True
            self._all |= any(path == ".git/index" or path.endswith(".gitignore") for path in below)
            self._changed |= {path for path in below if not path.startswith(".git/") and not foreign(path)}
            if len(self._changed) > _MOST:
                self._all, self._changed = True, set()

    def _is_new(self, path: str) -> bool:
        """Whether a path that is not watched is a folder that should be; a link to one is none."""
        below = path.removeprefix(f"{self._root}/")
        return not below.startswith(".git/") and not foreign(below) and _is_folder(path)


def _folders(root: Path) -> Iterator[str]:
    """Those of the repository that may hold files for the map, links not followed, and its git directory itself."""
    if _is_folder(git := f"{root}/.git"):
        yield git
    for folder, names, _ in os.walk(root):
        names[:] = [name for name in names if name != ".git" and not foreign(name)]
        yield folder


def _is_folder(path: str) -> bool:
    return os.path.isdir(path) and not os.path.islink(path)  # noqa: PTH112, PTH114 - these never raise
