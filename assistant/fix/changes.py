"""What an attempt changed: files as they were and as they are to be, and the patch that leads from one to the other."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

FileMode = Literal["100644", "100755", "120000"]
"""A git file mode: a file, one that can be run, a symbolic link (its content is where it leads)."""


@dataclass(frozen=True, slots=True)
class FileState:
    """A file: its bytes and git mode."""

    content: bytes
    mode: FileMode = "100644"


@dataclass(frozen=True, slots=True)
class Change:
    """One file, by its path relative to the repository; None where it is not there."""

    path: str
    old: FileState | None
    new: FileState | None


@dataclass(frozen=True, slots=True)
class Changes:
    """Changes of different files, sorted by path; where old and new are equal there is no change."""

    changes: tuple[Change, ...] = ()

    @classmethod
    def of(cls, changes: Iterable[Change]) -> Changes:
        """Those of `changes` that change something, in order."""
        real = (change for change in changes if change.old != change.new)
        return cls(tuple(sorted(real, key=lambda change: change.path)))

    def __bool__(self) -> bool:
        return bool(self.changes)

    @property
    def files(self) -> tuple[str, ...]:
        """The paths, sorted."""
        return tuple(change.path for change in self.changes)

    @property
    def digest(self) -> str:
        """Equal for equal results; SHA-256."""
        digest = hashlib.sha256()
        for change in self.changes:
            new = change.new
            parts = (os.fsencode(change.path), (new.mode if new else "gone").encode(), new.content if new else b"")
            digest.update(b"".join(len(part).to_bytes(8, "big") + part for part in parts))
        return digest.hexdigest()

    def where(self, keep: Callable[[str], bool]) -> Changes:
        """The changes of paths that `keep` accepts."""
        return Changes(tuple(change for change in self.changes if keep(change.path)))

    def over(self, first: Changes) -> Changes:
        """Both in one: `first` and then these, which were made on what `first` left."""
        early = {change.path: change for change in first.changes}
        late = (Change(c.path, early[c.path].old if c.path in early else c.old, c.new) for c in self.changes)
        return Changes.of([*(early | {change.path: change for change in late}).values()])

    def patch(self) -> str:
        """As `git apply` takes it; bytes that are no UTF-8 are surrogates."""
        return self._difference()[1]

    def size(self) -> tuple[int, int]:
        """Lines taken away and added, and characters of the patch: the smaller, the better."""
        lines, patch = self._difference()
        return lines, len(patch)

    def _difference(self) -> tuple[int, str]:
        from assistant.fix.differing import difference

        old = tuple((change.path, change.old.mode, change.old.content) for change in self.changes if change.old)
        new = tuple((change.path, change.new.mode, change.new.content) for change in self.changes if change.new)
        return difference(old, new)
