"""Compiled files of a source, made once and shown to every run of its tests, which then need not compile them again.

They can never stand for other files than those that they were made of: Python and pytest take a compiled file only
where it names the hash of the source file, or its time and size, and a file that a run is given changed is newer
(`views`). Those that are taken unseen are not kept. What other runs compile vanishes with them.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from assistant.fix.changes import Change, Changes, FileState
from assistant.safety.confinement.private import private_folder, remove_abandoned
from training.data.repositories.checkouts import files
from training.data.repositories.suites import Suite
from training.data.schema import content_id

_COMPILED = re.compile(r"(.+?)\.cpython-\d+(?:-pytest-[\w.+-]+)?\.pyc")
_CHECKED = (3).to_bytes(4, "little")
"""Flags of a compiled file that is only taken where it names the hash of the source file (PEP 552)."""
_LARGEST = 16_000_000
_IN_ALL = 256_000_000
"""Bytes of a compiled file, and of all of a source, that are kept at most; our choice."""
_MOST = 200
"""Sources at their revisions whose compiled files are kept; our choice: some megabytes each."""
_IN_USE = 6 * 3_600.0
"""Seconds for which runs may go on that see them; our choice."""
_ONLY_LOADED = {"PYTHONDONTWRITEBYTECODE": "", "PYTEST_ADDOPTS": "--collect-only"}
"""Lets Python write what it compiles, and pytest stop when all tests are loaded."""


async def with_compiled(tests: Suite, cache: Path) -> Suite:
    """The suite, whose runs find the source's files compiled; as it is where runs do not see them at the same place.

    The first to want them loads the tests once in the sandbox; they stay in `cache`, whole or not there at all.
    """
    bench = tests.bench
    if not bench.sandbox.moves:
        return tests
    place = _place(tests, cache)
    with suppress(OSError):
        os.utime(place)  # the oldest are those that nobody wanted for the longest time
    if not place.is_dir():
        found = _Found(bench.workspace.root)
        await bench.tests(env=_ONLY_LOADED, harvest=found.take)
        _keep(tests, found, place)
    return replace(tests, bench=replace(bench, views=replace(bench.views, under=(place,))))


@dataclass(slots=True)
class _Found:
    """What a run compiled of the files in `root`."""

    root: Path
    changes: list[Change] = field(default_factory=list)

    def take(self, folder: Path) -> None:
        """Read it from a folder that others wrote: links are not followed, and only files are opened."""
        room = _IN_ALL
        for path in _compiled(folder):
            with suppress(OSError):
                data = _read(folder / path)
                if len(data) <= room and _fits(data, self.root / _source(path)):
                    room -= len(data)
                    self.changes.append(Change(path, None, FileState(data)))


def _place(tests: Suite, cache: Path) -> Path:
    """Where they are kept as long as the source's files are what they are now."""
    root = tests.bench.workspace.root
    stamps = [stamp for path in files(root) for stamp in _stamp(root, path)]
    return cache.resolve() / "compiled" / content_id("compiled", str(root), tests.bench.command, tests.python, *stamps)


def _keep(tests: Suite, found: _Found, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        folder = stack.enter_context(private_folder(place.parent))
        layer = replace(tests.bench.views, folder=folder).layers(Changes.of(found.changes))
        made = [*stack.enter_context(layer), folder / "nothing"][0]
        made.mkdir(exist_ok=True)
        with suppress(OSError):
            made.rename(place)
    prune(place.parent)


def prune(folder: Path, most: int = _MOST, age: float = _IN_USE) -> None:
    """Remove all but the `most` that were wanted last; none that was wanted within `age` seconds."""
    remove_abandoned(folder)
    with suppress(OSError):
        known = sorted(((place.stat().st_mtime, place) for place in folder.glob("compiled-*")), reverse=True)
        for wanted, place in known[most:]:
            if time.time() - wanted >= age:
                shutil.rmtree(place, ignore_errors=True)


def _compiled(folder: Path) -> Iterator[str]:
    for directory, folders, names in os.walk(folder):
        folders.sort()
        if Path(directory).name == "__pycache__":
            relative = Path(directory).relative_to(folder)
            yield from ((relative / name).as_posix() for name in sorted(names) if _COMPILED.fullmatch(name))


def _source(path: str) -> Path:
    place = Path(path)
    found = _COMPILED.fullmatch(place.name)
    return place.parent.parent / f"{found[1] if found else ''}.py"


def _fits(data: bytes, source: Path) -> bool:
    """Whether it is compiled of the file as that is now, or looked at by its content. Raises OSError."""
    info = source.lstat()
    numbers = (0, int(info.st_mtime), info.st_size)
    stamp = b"".join((number & 0xFFFFFFFF).to_bytes(4, "little") for number in numbers)
    return stat.S_ISREG(info.st_mode) and (data[4:8] == _CHECKED or data[4:16] == stamp)


def _read(place: Path) -> bytes:
    descriptor = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        info = os.fstat(descriptor)
        return file.read() if stat.S_ISREG(info.st_mode) and info.st_size <= _LARGEST else b""


def _stamp(root: Path, path: str) -> Iterator[str]:
    if path.endswith(".py"):
        with suppress(OSError):
            info = (root / path).lstat()
            yield f"{path} {info.st_mtime_ns} {info.st_size}"
