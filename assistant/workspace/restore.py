"""Brings files to the state of a snapshot: only those named, each whole or not at all, through no link."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath

from assistant.workspace.atomic import delete_file, replace_file, replace_link
from assistant.workspace.errors import WorkspaceError
from assistant.workspace.paths import opened_directory
from assistant.workspace.snapshots import Entry, Snapshots

_LINK = "120000"
Wanted = Mapping[str, Entry | None]


def restore_files(root: Path, wanted: Wanted, now: Wanted, snapshots: Snapshots) -> None:
    """Make each file of `wanted` what it says; None removes it, and folders that are empty then.

    Raises `WorkspaceError` before anything is written where something stands in the way, and at once where a file is no
    longer what it was `now`; what was done up to there stands, and doing it again goes on from there.
    """
    removed = [path for path, entry in wanted.items() if entry is None]
    written = {path: entry for path, entry in wanted.items() if entry is not None}
    for path in written:
        _check_way(root, path, set(removed))
        if not snapshots.holds(written[path]):
            raise WorkspaceError(f"What {path} held is no longer kept; nothing was changed.")
    try:
        for path in sorted(removed, key=_depth, reverse=True):
            _remove(root, path, now.get(path))
        for path, entry in sorted(written.items()):
            _write(root, path, entry, now.get(path), snapshots)
    except OSError as error:
        raise WorkspaceError(f"{error.filename or root} could not be restored: {error.strerror}.") from error


def _check_way(root: Path, path: str, removed: set[str]) -> None:
    """Nothing but files that are about to go may stand where a file or one of its folders belongs."""
    full = root / path
    for folder in list(PurePosixPath(path).parents)[:-1]:
        place = root / folder
        if os.path.lexists(place) and (place.is_symlink() or not place.is_dir()) and str(folder) not in removed:
            raise WorkspaceError(f"{folder} is in the way of {path}; move it away first.")
    if full.is_dir() and not full.is_symlink():
        inside = (Path(base, name) for base, _, names in os.walk(full) for name in names)
        for other in inside:
            if other.relative_to(root).as_posix() not in removed:
                raise WorkspaceError(f"{other.relative_to(root)} is in the way of {path}; move it away first.")


def _write(root: Path, path: str, entry: Entry, now: Entry | None, snapshots: Snapshots) -> None:
    *folders, name = PurePosixPath(path).parts
    data = snapshots.content(entry)
    with opened_directory(root, folders, create=True) as directory:
        check = _unchanged(name, directory, now, path)
        _remove_empty(root / path)
        if entry.mode == _LINK:
            replace_link(name, directory, data, check)
            return
        replace_file(name, directory, data, _mode(name, directory, path, entry, snapshots), check)


def _remove(root: Path, path: str, now: Entry | None) -> None:
    *folders, name = PurePosixPath(path).parts
    try:
        with opened_directory(root, folders) as directory:
            _unchanged(name, directory, now, path)()
            delete_file(name, directory)
    except (FileNotFoundError, NotADirectoryError):
        return
    for count in range(len(folders), 0, -1):
        with suppress(OSError), opened_directory(root, folders[: count - 1]) as directory:
            os.rmdir(folders[count - 1], dir_fd=directory)
            continue
        return


def _remove_empty(folder: Path) -> None:
    """Take away folders without files, where a file belongs; anything in them keeps them."""
    if folder.is_dir() and not folder.is_symlink():
        for base, _, _ in os.walk(folder, topdown=False):
            with suppress(OSError):
                Path(base).rmdir()


def _mode(name: str, directory: int, path: str, entry: Entry, snapshots: Snapshots) -> int:
    """Permission bits: those the file has, as executable as the snapshot says; of a missing one, those it had."""
    try:
        info = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return snapshots.mode(path, entry)
    if not stat.S_ISREG(info.st_mode):
        return snapshots.mode(path, entry)
    bits = info.st_mode & 0o777
    return bits | (bits & 0o444) >> 2 if entry.mode == "100755" else bits & ~0o111


def _unchanged(name: str, directory: int, now: Entry | None, path: str) -> Callable[[], None]:
    def check() -> None:
        if _entry(name, directory) != now:
            raise WorkspaceError(f"{path} changed this very moment; try again.")

    return check


def _entry(name: str, directory: int) -> Entry | None:
    """What stands there, as git would name it; a folder is nothing."""
    try:
        info = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return None
    if stat.S_ISLNK(info.st_mode):
        return Entry(_LINK, _blob_name(os.fsencode(os.readlink(name, dir_fd=directory))))
    if not stat.S_ISREG(info.st_mode):
        return None
    with open(os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory), "rb") as file:  # noqa: PTH123 - by descriptor
        data = file.read()
    return Entry("100755" if info.st_mode & 0o100 else "100644", _blob_name(data))


def _blob_name(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def _depth(path: str) -> int:
    return path.count("/")
