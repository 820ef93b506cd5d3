"""Folders laid over the repository for one run: as overlay layers, or copied in where there are no overlays.

In a layer a file stands for itself, and a mark for a file or folder that is to be gone.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

from assistant.safety.confinement.cloning import cheapest
from assistant.safety.confinement.private import temporary_folders
from assistant.safety.confinement.toolchains import is_under

_MARKED = stat.S_IFREG
"""Mode of the file that says what is gone where no whiteout can be made; no change makes one that nobody may read."""


def mark_gone(layer: Path, path: str) -> None:
    """Let a layer say that there is nothing at `path`. Its folder is made if need be; raises OSError."""
    place = layer / path
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.mknod(place, stat.S_IFCHR, os.makedev(0, 0))
    except OSError:
        place.touch(mode=0)


def copy_files(source: Path, target: Path, shown: Sequence[tuple[Path, Path]] = ()) -> None:
    """Copy a repository as it is, but for sockets and the like; links in it lead to the folders `shown`."""

    def special(directory: str, names: list[str]) -> list[str]:
        paths = ((name, Path(directory, name)) for name in names)
        return [n for n, path in paths if not (path.is_symlink() or path.is_file() or path.is_dir())]

    shutil.copytree(source, target, symlinks=True, ignore=special, copy_function=cheapest)
    for elsewhere, place in shown:
        link = target / place.relative_to(source)
        if not os.path.lexists(link):
            link.symlink_to(elsewhere)


def lay_over(layer: Path, target: Path) -> None:
    """Bring the files of a layer into a copy, and take away what it says is gone. Raises OSError."""
    for entry in _entries(layer):
        place = target / entry.relative_to(layer)
        info = entry.lstat()
        if is_whiteout(info) or info.st_mode == _MARKED:
            _remove(place)
        elif stat.S_ISDIR(info.st_mode):
            _make_folder(place)
        else:
            _remove(place)
            shutil.copy2(entry, place, follow_symlinks=False)


def is_whiteout(info: os.stat_result) -> bool:
    """Whether this is how an overlay says that a file of a lower layer is gone."""
    return stat.S_ISCHR(info.st_mode) and info.st_rdev == 0


def upper_parent(bwrap: Path, repository: Path) -> Path | None:
    """A folder in which overlays can keep what is written: the temporary one, else shared memory, or None.

    That of a container is an overlay itself, and cannot be another's upper layer; nor can what lies in a lower one.
    """
    for folder in dict.fromkeys(path.resolve() for path in temporary_folders()):
        if os.access(folder, os.W_OK) and not is_under(folder, (repository,)) and _takes_layers(bwrap, folder):
            return folder
    return None


@cache
def _takes_layers(bwrap: Path, parent: Path) -> bool:
    with tempfile.TemporaryDirectory(prefix="kat-layers-", dir=parent) as name:
        folder = Path(name)
        for part in ("lower", "files", "work"):
            (folder / part).mkdir()
        lower, files, work = (str(folder / part) for part in ("lower", "files", "work"))
        overlay = ["--overlay-src", lower, "--overlay", files, work, lower]
        command = [str(bwrap), "--unshare-user", "--bind", "/", "/", *overlay, "/bin/sh", "-c", ': > "$1"/x', "sh"]
        with suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run([*command, lower], capture_output=True, timeout=10, check=False, start_new_session=True)
        done = (folder / "files/x").exists()
        clear_work(folder / "work")
        return done


def clear_work(folder: Path) -> None:
    """Remove the folder, closed to everybody, that the kernel leaves in an overlay's work folder."""
    with suppress(OSError):
        (folder / "work").rmdir()


def _entries(folder: Path) -> Iterator[Path]:
    """What is in a folder and its folders, each before what is in it."""
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        yield Path(entry.path)
        if entry.is_dir(follow_symlinks=False):
            yield from _entries(Path(entry.path))


def _make_folder(place: Path) -> None:
    if place.is_symlink() or not place.is_dir():
        _remove(place)
        place.mkdir()


def _remove(place: Path) -> None:
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)
