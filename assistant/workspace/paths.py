"""Paths that cannot leave the repository, and files opened without following a link anywhere."""

from __future__ import annotations

import os
import stat
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

from assistant.workspace.errors import WorkspaceError

_LINKS = 40
_LONGEST = 4096
_DEEPEST = 200
_ENTRIES = 50_000
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_PACKAGES = frozenset({"node_modules", "site-packages"})
_GIT_NAMES = frozenset({".git", "git~1"})

Identity = tuple[int, int]
"""Device and inode of a file."""


def relative_parts(root: Path, text: str, *, also: Sequence[Path] = ()) -> tuple[str, ...]:
    """The parts of `text` below `root`, links followed as long as they stay inside. Missing parts are kept as named.

    An absolute path may begin with `root` or one of its other names, `also`.

    Raises `WorkspaceError` where the path leaves the repository or is no path at all.
    """
    _check_text(text)
    names = (root, *also)
    pending = list(_below(names, text))
    done: list[str] = []
    links = 0
    while pending:
        match pending.pop(0):
            case "." | "":
                continue
            case "..":
                if not done:
                    raise WorkspaceError(_outside(text))
                done.pop()
            case part:
                target = _link(root.joinpath(*done, part))
                links += target is not None
                if links > _LINKS:
                    raise WorkspaceError(f"{text} goes through too many links; name the file itself.")
                if target is None:
                    done.append(part)
                    continue
                pending = [*_followed(names, target, done, text), *pending]
    return tuple(done)


def names_git(parts: Sequence[str]) -> bool:
    """Whether a path runs through a git directory, however it is spelled on any file system."""
    return any(_folded(piece) in _GIT_NAMES for part in parts for piece in part.split("\\"))


def _folded(name: str) -> str:
    """A name as file systems compare it that ignore case, invisible characters, streams, or dots at the end."""
    visible = "".join(char for char in name if unicodedata.category(char) != "Cf")
    return unicodedata.normalize("NFKC", visible).casefold().partition(":")[0].rstrip(". ")


@contextmanager
def opened_directory(root: Path, parts: Sequence[str], *, create: bool = False) -> Iterator[int]:
    """A descriptor of the directory, opened part by part without following links. Raises OSError."""
    descriptor = os.open(root, _DIRECTORY)
    try:
        for part in parts:
            if create:
                _make(part, descriptor)
            below = os.open(part, _DIRECTORY, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = below
        yield descriptor
    finally:
        os.close(descriptor)


def read_regular(name: str, directory: int, limit: int) -> tuple[bytes, os.stat_result]:
    """Up to `limit` + 1 bytes of a regular file, opened without following a link. Raises `WorkspaceError`, OSError."""
    with open(os.open(name, _FILE, dir_fd=directory), "rb") as file:  # noqa: PTH123 - by descriptor
        info = os.fstat(file.fileno())
        if not stat.S_ISREG(info.st_mode):
            raise WorkspaceError(f"{name} is {kind(info.st_mode)}, not a file; name a regular file.")
        return file.read(limit + 1), info


def linked_outside(root: Path, files: Mapping[tuple[str, ...], os.stat_result]) -> set[tuple[str, ...]]:
    """Those files that have names (hard links) which are not found in the repository.

    It is searched up to 50,000 entries, its .git aside. Package managers link installed packages to their own store:
    what lies in such a folder, and anybody on the machine may read, counts as inside.
    """
    several = {parts: info for parts, info in files.items() if info.st_nlink > 1 and not _installed(parts, info)}
    names = _names_within(root, {_identity(info) for info in several.values()}) if several else Counter[Identity]()
    return {parts for parts, info in several.items() if names[_identity(info)] < info.st_nlink}


def _installed(parts: Sequence[str], info: os.stat_result) -> bool:
    return not _PACKAGES.isdisjoint(parts[:-1]) and bool(info.st_mode & stat.S_IROTH)


def _names_within(root: Path, wanted: Collection[Identity]) -> Counter[Identity]:
    """How many names these files have below `root`."""
    inodes, found = {inode for _, inode in wanted}, Counter[Identity]()
    pending, seen = [os.fspath(root)], 0
    while pending and seen < _ENTRIES:
        with suppress(OSError), os.scandir(pending.pop()) as entries:
            for entry in entries:
                seen += 1
                if entry.inode() in inodes:
                    found[_identity(entry.stat(follow_symlinks=False))] += 1
                if entry.is_dir(follow_symlinks=False) and entry.name != ".git":
                    pending.append(entry.path)
    return found


def _identity(info: os.stat_result) -> Identity:
    return info.st_dev, info.st_ino


def kind(mode: int) -> str:
    """What a file is, in words."""
    names = {
        stat.S_IFDIR: "a directory",
        stat.S_IFIFO: "a named pipe",
        stat.S_IFSOCK: "a socket",
        stat.S_IFLNK: "a link",
    }
    return names.get(stat.S_IFMT(mode), "a device")


def _check_text(text: str) -> None:
    try:
        encoded = os.fsencode(text)
    except UnicodeEncodeError:
        encoded = b""
    if not encoded or b"\0" in encoded:
        raise WorkspaceError("A path is needed, relative to the repository, such as src/main.py.")
    if len(encoded) > _LONGEST or text.count("/") > _DEEPEST:
        raise WorkspaceError(f"{text[:80]}… is too long for a path; choose a shorter one.")


def _below(names: Sequence[Path], text: str) -> tuple[str, ...]:
    path = PurePosixPath(text)
    if not path.is_absolute():
        return path.parts
    for base in names:
        if path.is_relative_to(base):
            return path.relative_to(base).parts
    raise WorkspaceError(_outside(text))


def _followed(names: Sequence[Path], target: str, done: list[str], text: str) -> list[str]:
    """The parts to walk on with behind a link; an absolute target starts again at the root."""
    path = PurePosixPath(target)
    if not path.is_absolute():
        return list(path.parts)
    for base in names:
        if path.is_relative_to(base):
            done.clear()
            return list(path.relative_to(base).parts)
    raise WorkspaceError(_outside(text))


def _link(path: Path) -> str | None:
    try:
        return os.readlink(path)  # noqa: PTH115 - the text of the link, not a Path
    except OSError:
        return None


def _make(part: str, directory: int) -> None:
    try:
        os.mkdir(part, dir_fd=directory)
    except FileExistsError:
        return


def _outside(text: str) -> str:
    return f"{text} is outside the repository; only files inside it can be used."
