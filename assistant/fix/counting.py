"""Which files of an attempt count, by what the repository's own git says before it, and what is in them."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal

from assistant.fix.changes import FileState
from assistant.workspace.errors import WorkspaceError
from assistant.workspace.files import Workspace
from assistant.workspace.git import GitReader
from assistant.workspace.paths import names_git, opened_directory, read_regular

_LARGEST = 50_000_000
"""Bytes of a file that a patch may hold; our choice."""
_MAX_FILES = 200_000
_CACHES = frozenset({"__pycache__", ".pytest_cache", ".mypy_cache", ".ruff_cache", ".hypothesis", ".tox", ".nox"})
_LEFTOVERS = (".pyc", ".pyo")


def counted(repository: Path, paths: Iterable[str]) -> list[str]:
    """Those of `paths` that a patch would hold, sorted: no git directory, nested repository, cache or ignored file.

    What is ignored is decided by the repository's rules as they are there: an attempt cannot hide a file by a new one.
    """
    git = GitReader(repository)
    own = _Nested(repository, submodules(repository))
    wanted = {path for path in paths if not names_git(path.split("/")) and not own.holds(path)}
    caches = {path for path in wanted if _is_leftover(path)}
    plain = [path for path in wanted if not own.linked(path)]
    try:
        wanted -= caches - set(git.tracked(sorted(caches)))
        wanted -= set(git.ignored(plain))
    except WorkspaceError:
        wanted -= caches
    return sorted(wanted)


def known_files(repository: Path) -> Sequence[str]:
    """Paths that git knows or does not ignore, links and submodules too; where there is no git, files."""
    workspace = Workspace(repository)
    try:
        return workspace.git.files()
    except WorkspaceError:
        return workspace.list(limit=_MAX_FILES).paths


def entries(folder: Path) -> list[os.DirEntry[str]]:
    """What is in one of our folders, which a command may have closed."""
    try:
        return list(os.scandir(folder))
    except PermissionError:
        folder.chmod(0o700)
        return list(os.scandir(folder))


def submodules(repository: Path) -> frozenset[str]:
    """Paths of a repository's submodules, also of those that were never fetched."""
    if (repository / ".gitmodules").is_file():
        with suppress(WorkspaceError):
            return GitReader(repository).submodules()
    return frozenset()


def too_large(root: Path, path: str) -> bool:
    """Whether a file is larger than what a patch may hold."""
    with suppress(OSError):
        info = (root / path).lstat()
        return stat.S_ISREG(info.st_mode) and info.st_size > _LARGEST
    return False


def file_state(root: Path, path: str) -> FileState | None:
    """The file at a path, reached without following a link; None where there is no file, or one that is too large."""
    parts = path.split("/")
    try:
        with opened_directory(root, parts[:-1]) as directory:
            info = os.stat(parts[-1], dir_fd=directory, follow_symlinks=False)
            if stat.S_ISLNK(info.st_mode):
                return FileState(os.fsencode(os.readlink(parts[-1], dir_fd=directory)), "120000")
            if not stat.S_ISREG(info.st_mode) or info.st_size > _LARGEST:
                return None
            return FileState(_content(parts[-1], directory, info), _git_mode(info))
    except (FileNotFoundError, NotADirectoryError, WorkspaceError):
        return None
    except OSError as error:
        if isinstance(error, PermissionError):
            raise
        return None


def permission_bits(state: FileState) -> int:
    """The usual permission bits of a file's git mode."""
    return 0o755 if state.mode == "100755" else 0o644


def _content(name: str, directory: int, info: os.stat_result) -> bytes:
    return read_regular(name, directory, max(info.st_size, 1))[0]


def _git_mode(info: os.stat_result) -> Literal["100644", "100755"]:
    return "100755" if info.st_mode & stat.S_IXUSR else "100644"


def _is_leftover(path: str) -> bool:
    return not _CACHES.isdisjoint(path.split("/")) or path.endswith(_LEFTOVERS)


class _Nested:
    """Which folders of a repository are repositories themselves, and which lie behind links; asked once each.

    A submodule is one also where it was never fetched.
    """

    def __init__(self, repository: Path, submodules: frozenset[str]) -> None:
        self._root = repository
        self._submodules = submodules
        self._known: dict[str, tuple[bool, bool]] = {"": (False, False)}

    def holds(self, path: str) -> bool:
        """Whether a path is, or lies in, a repository inside this one."""
        return path in self._submodules or self._look(path.rpartition("/")[0])[0]

    def linked(self, path: str) -> bool:
        """Whether a path runs through a link."""
        return self._look(path.rpartition("/")[0])[1]

    def _look(self, folder: str) -> tuple[bool, bool]:
        if folder not in self._known:
            place, above = self._root / folder, self._look(folder.rpartition("/")[0])
            here = folder in self._submodules or os.path.lexists(place / ".git"), place.is_symlink()
            self._known[folder] = (above[0] or here[0], above[1] or here[1])
        return self._known[folder]
