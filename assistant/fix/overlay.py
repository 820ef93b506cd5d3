"""Views that are overlays: the repository below, a folder of our own above it that takes what is written."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from assistant.fix.counting import entries
from assistant.fix.namespace import entered, mount_overlay, unmount
from assistant.safety.confinement.layering import clear_work, is_whiteout

_OPAQUE = "user.overlay.opaque"


@contextmanager
def overlay(repository: Path, folder: Path) -> Iterator[Path]:
    """The view's root, in `folder`, which must be empty. Raises OSError where overlays do not work."""
    root = folder / repository.name
    for place in (folder / "files", folder / "work", root):
        place.mkdir()
    mount_overlay(repository, folder / "files", folder / "work", root)
    try:
        yield root
    finally:
        with suppress(OSError):
            unmount(root)
        clear_work(folder / "work")


def overlays_work(repository: Path, folder: Path) -> bool:
    """Whether one can be made in an empty folder, which may be used up by that."""
    if not entered():
        return False
    with suppress(OSError), overlay(repository, folder):
        return True
    return False


def written(files: Path, repository: Path) -> Iterator[str]:
    """Relative paths of files that may not be in the view as they are in the repository, by what was written."""
    pending = [""]
    while pending:
        below = pending.pop()
        for entry in entries(files / below):
            path = f"{below}{entry.name}"
            if entry.name == ".git":
                continue
            if entry.is_dir(follow_symlinks=False):
                pending.append(f"{path}/")
            yield from _touched(entry, repository / path, path)


def _touched(entry: os.DirEntry[str], lower: Path, path: str) -> Iterator[str]:
    """What one entry, beside what is in it, says of the files at its path and below."""
    info = entry.stat(follow_symlinks=False)
    merged = stat.S_ISDIR(info.st_mode) and not _is_opaque(entry.path) and lower.is_dir() and not lower.is_symlink()
    if not merged:
        yield from _all_files(lower, path)
    if not stat.S_ISDIR(info.st_mode) and not is_whiteout(info):
        yield path


def _all_files(place: Path, path: str) -> Iterator[str]:
    """The file at `place`, or all that is below it; nothing where there is nothing."""
    if place.is_symlink() or not place.is_dir():
        if os.path.lexists(place):
            yield path
        return
    for folder, names, files in os.walk(place):
        links = [name for name in names if Path(folder, name).is_symlink()]
        names[:] = [name for name in names if name != ".git"]
        inside = os.path.relpath(folder, place)
        prefix = path if inside == "." else f"{path}/{inside}"
        yield from (f"{prefix}/{name}" for name in (*files, *links))


def _is_opaque(path: str) -> bool:
    with suppress(OSError):
        return os.getxattr(path, _OPAQUE, follow_symlinks=False) == b"y"
    return False
