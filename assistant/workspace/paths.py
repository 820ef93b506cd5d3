"""Paths that cannot leave the repository, and files opened without following a link anywhere."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from assistant.workspace.errors import WorkspaceError

_LINKS = 40
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_GIT_NAMES = frozenset({".git", "git~1"})


def relative_parts(root: Path, text: str, *, given: Path | None = None) -> tuple[str, ...]:
    """The parts of `text` below `root`, links followed as long as they stay inside. Missing parts are kept as named.

    Raises `WorkspaceError` where the path leaves the repository or is no path at all.
    """
    if not text or "\0" in text:
        raise WorkspaceError("A path is needed, relative to the repository, such as src/main.py.")
    pending = list(_below(root, text, given or root))
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
                pending = [*_followed(root, target, done, text), *pending]
    return tuple(done)


def names_git(parts: Sequence[str]) -> bool:
    """Whether a path runs through a git directory, however it is spelled."""
    return any(part.casefold().rstrip(". ") in _GIT_NAMES for part in parts)


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


def kind(mode: int) -> str:
    """What a file is, in words."""
    names = {
        stat.S_IFDIR: "a directory",
        stat.S_IFIFO: "a named pipe",
        stat.S_IFSOCK: "a socket",
        stat.S_IFLNK: "a link",
    }
    return names.get(stat.S_IFMT(mode), "a device")


def _below(root: Path, text: str, given: Path) -> tuple[str, ...]:
    path = PurePosixPath(text)
    if not path.is_absolute():
        return path.parts
    for base in (root, given):
        if path.is_relative_to(base):
            return path.relative_to(base).parts
    raise WorkspaceError(_outside(text))


def _followed(root: Path, target: str, done: list[str], text: str) -> list[str]:
    """The parts to walk on with behind a link; an absolute target starts again at the root."""
    path = PurePosixPath(target)
    if not path.is_absolute():
        return list(path.parts)
    if not path.is_relative_to(root):
        raise WorkspaceError(_outside(text))
    done.clear()
    return list(path.relative_to(root).parts)


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
