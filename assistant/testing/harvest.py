"""Takes the JUnit XML that a run of tests wrote, before it vanishes with the view in which they ran."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

_WRITERS = re.compile(r"\b(?:mvnw?|gradlew?|ant|sbt|make|just)\b|junit|xml", re.IGNORECASE)
_LARGEST = 8_000_000
_MOST = 5_000
_IN_ALL = 256_000_000
"""Bytes of a file, files, and bytes of them all that are read at most; our choice."""
_DEEPEST = 60
"""Folders in each other that are looked into; our choice."""
_SUITES = re.compile(rb"<testsuites?\b")
_BEGINNING = 4_096


@dataclass(slots=True)
class Harvest:
    """The texts of the XML files that were written since `since` (seconds since 1970)."""

    since: float
    texts: list[str] = field(default_factory=list)

    def take(self, folder: Path) -> None:
        """Read what lies in a folder that others wrote: links are not followed, and only files are opened."""
        room = _IN_ALL
        for path in _files(folder):
            if len(self.texts) >= _MOST or room <= 0:
                return
            with suppress(OSError):
                text = self._text(path)
                self.texts += [text] if text else []
                room -= len(text)

    def _text(self, path: Path) -> str:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode) or found.st_size > _LARGEST or found.st_mtime < self.since:
                return ""
            data = file.read(_LARGEST)
        return data.decode(errors="replace") if _SUITES.search(data, 0, _BEGINNING) else ""


def writes_results(command: str) -> bool:
    """Whether a command may be one whose tests are named in files only."""
    return bool(_WRITERS.search(command))


def _files(folder: Path) -> Iterator[Path]:
    deepest = len(folder.parts) + _DEEPEST
    for directory, folders, names in os.walk(folder):
        deep = len(Path(directory).parts) >= deepest
        folders[:] = [] if deep else sorted(name for name in folders if name not in (".git", "node_modules"))
        yield from (Path(directory, name) for name in sorted(names) if name.endswith(".xml"))
