"""The files of one repository: safe paths, exact reading, atomic writing, listing and searching."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

from assistant.workspace.atomic import delete_file, move_file, new_file_mode, replace_file
from assistant.workspace.errors import ChangedError, EditError, WorkspaceError
from assistant.workspace.git import GitReader
from assistant.workspace.paths import (
    kind,
    linked_outside,
    names_git,
    opened_directory,
    read_regular,
    relative_parts,
)
from assistant.workspace.search import SearchResult, search_files
from assistant.workspace.text import TextFile, decode, digest

__all__ = ["EditError", "FileList", "TextFile", "Workspace", "WorkspaceError"]

_SIZE_LIMIT = 2_000_000
_WALKED = 200_000
"""Files that are looked for where there is no git: somebody may work in a folder such as his home."""
_ODD = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029]")
_SKIPPED = frozenset({".git", "node_modules", "__pycache__", ".venv", "venv", ".tox", ".mypy_cache", ".pytest_cache"})


@dataclass(frozen=True, slots=True)
class FileList:
    """Paths relative to the repository, sorted; `left_out` counts those beyond the limit."""

    paths: tuple[str, ...]
    left_out: int = 0


class Workspace:
    """A repository's files. Paths are relative to its root; every method raises `WorkspaceError` with one sentence.

    `known_as` is the repository that `root` is a view of: its absolute paths name the view's files.
    """

    def __init__(self, root: Path, known_as: Path | None = None) -> None:
        named = [root] if known_as is None else [root, known_as, known_as.resolve()]
        self._names = [Path(os.path.abspath(name)) for name in named]  # noqa: PTH100 - links are kept: as users name it
        self.root = root.resolve()
        self.git = GitReader(self.root)

    def resolve(self, text: str | Path) -> Path:
        """The absolute path, its links followed; one that leads out of the repository is refused."""
        return self.root.joinpath(*self._parts(text))

    def relative(self, text: str | Path) -> str:
        """The path as git names it, relative to the root."""
        return "/".join(self._parts(text))

    def exists(self, text: str | Path) -> bool:
        """Whether there is anything at the path."""
        return os.path.lexists(self.resolve(text))

    def read(self, path: str | Path) -> TextFile:
        """A text file of at most 2 MB."""
        data, mode = self.read_bytes(path)
        return decode(data, mode, str(path))

    def read_bytes(self, path: str | Path) -> tuple[bytes, int]:
        """The bytes of a regular file of at most 2 MB, and its permission bits."""
        parts = self._parts(path)
        with _explained(path), opened_directory(self.root, parts[:-1]) as directory:
            data, info = read_regular(_name(parts, path), directory, _SIZE_LIMIT)
        if info.st_nlink > 1 and linked_outside(self.root, {parts: info}):
            raise WorkspaceError(f"{path} has another name outside the repository (a hard link); copy it to read it.")
        if len(data) > _SIZE_LIMIT:
            raise WorkspaceError(f"{path} is larger than 2 MB; search it, or read it with a command.")
        return data, info.st_mode & 0o7777

    def write(self, path: str | Path, text: str, expect: str | None) -> None:
        """Replace the file whose digest is `expect`, or make a new one where it is None; all of it or nothing.

        Encoding, byte order mark, line endings and mode stay. Refuses if the file is not what was expected.
        """
        if expect is not None and not self.exists(path):
            raise WorkspaceError(_gone(path))
        form = TextFile("", mode=new_file_mode()) if expect is None else self.read(path)
        self.put(path, form.encode(text), form.mode, expect)

    def put(self, path: str | Path, data: bytes | None, mode: int | None, expect: str | None) -> None:
        """Make these bytes the file whose digest is `expect`, or delete it (None); `expect` None: there is none yet.

        `mode` None keeps what it has. A link to a file inside is followed.
        """
        parts = self._target(path)
        with _explained(path), opened_directory(self.root, parts[:-1], create=expect is None) as directory:
            check = partial(self._unchanged, parts, directory, expect, path)
            check()
            info = _expected(parts[-1], directory, expect, path)
            if data is not None:
                bits = new_file_mode() if info is None else info.st_mode & 0o7777
                replace_file(parts[-1], directory, data, bits if mode is None else mode, check)
            elif info is not None:
                delete_file(parts[-1], directory)

    def delete(self, path: str | Path, expect: str) -> None:
        """Delete the file whose digest is `expect`. A link is refused, not followed."""
        self.check_named(path)
        self.put(path, None, None, expect)

    def move(self, path: str | Path, new_path: str | Path) -> None:
        """Give a file another name, in a directory that is made if need be. Refuses if there is anything already."""
        self.check_movable(path, new_path)
        parts, new_parts = self._target(path), self._target(new_path)
        with _explained(path), opened_directory(self.root, parts[:-1]) as old:
            _check_target(path, os.stat(parts[-1], dir_fd=old, follow_symlinks=False))
            with opened_directory(self.root, new_parts[:-1], create=True) as new:
                move_file(parts[-1], old, new_parts[-1], new)

    def check_writable(self, path: str | Path) -> None:
        """Raise what `write` would raise for this path, before anything is written, and for a write-protected file."""
        target = self.root.joinpath(*self._target(path))
        with _explained(path), suppress(FileNotFoundError):
            info = target.lstat()
            _check_target(path, info)
            if not info.st_mode & 0o222:
                raise WorkspaceError(f"{path} is write-protected; make it writable first, if it is really meant.")

    def check_movable(self, path: str | Path, new_path: str | Path) -> None:
        """Raise what `move` would raise, before anything is moved."""
        self.check_named(path)
        self.check_named(new_path)
        with _explained(path):
            _check_target(path, self.root.joinpath(*self._target(path)).lstat())
        if os.path.lexists(self.root.joinpath(*self._target(new_path))):
            raise WorkspaceError(f"{new_path} exists already; choose another name, or delete it first.")

    def stamp(self, path: str | Path) -> str:
        """What is another when the file is, or was written since: its inode, size and time; of any size and kind."""
        with _explained(path):
            info = self.resolve(path).lstat()
        return f"{info.st_dev}.{info.st_ino}.{info.st_size}.{info.st_mtime_ns}"

    def check_named(self, path: str | Path) -> None:
        """Raise if the path names a link, which would be followed; only what is meant is deleted or moved."""
        above = self._parts(Path(path).parent)
        with _explained(path):
            linked = self.root.joinpath(*above, Path(path).name).is_symlink()
        if linked:
            raise WorkspaceError(f"{path} is a link, which is neither deleted nor moved; name the file itself.")

    def list(self, pattern: str | None = None, limit: int = 200) -> FileList:
        """Files that .gitignore does not name, below a directory or matching a glob (``**`` spans directories)."""
        wanted = glob_expression(pattern) if pattern else None
        found = [path for path in self._all_files() if wanted is None or wanted.match(path)]
        return FileList(tuple(found[:limit]), max(0, len(found) - limit))

    def search(
        self, pattern: str, glob: str | None = None, *, limit: int = 100, context: int = 0, seconds: float = 10.0
    ) -> SearchResult:
        """Lines that match a regular expression, or hold the text where it is not one, found within `seconds`."""
        wanted = glob_expression(glob) if glob else None
        paths = [path for path in self._all_files() if wanted is None or wanted.match(path)]
        linked = self._linked_inside(paths)
        return search_files(self.root, paths, pattern, linked, limit=limit, context=context, seconds=seconds)

    def _parts(self, path: str | Path) -> tuple[str, ...]:
        return relative_parts(self.root, str(path), also=self._names)

    def _target(self, path: str | Path) -> tuple[str, ...]:
        """The parts of a path to write, its links followed; nothing of git's, and no name that could deceive."""
        parts = self._parts(path)
        if names_git(parts) or names_git(Path(path).parts):
            raise WorkspaceError(f"{path} belongs to git and is never written; change files of the work tree instead.")
        if _ODD.search("/".join(parts)):
            raise WorkspaceError("A file name with control characters, or not in Unicode, is never written; rename it.")
        _name(parts, path)
        return parts

    def _unchanged(self, parts: Sequence[str], directory: int, expect: str | None, path: str | Path) -> None:
        """Raise unless the file is what `expect` says, and its directory is still the one that was opened."""
        with opened_directory(self.root, parts[:-1]) as again:
            if not os.path.samestat(os.fstat(again), os.fstat(directory)):
                raise WorkspaceError(f"The directory of {path} was replaced meanwhile; list the files again.")
        _expected(parts[-1], directory, expect, path)

    def _linked_inside(self, paths: Sequence[str]) -> Sequence[str]:
        """Those that have several names, all of them in the repository."""
        found = {tuple(path.split("/")): info for path in paths if (info := self._several_names(path))}
        outside = linked_outside(self.root, found)
        return ["/".join(parts) for parts in found if parts not in outside]

    def _several_names(self, path: str) -> os.stat_result | None:
        try:
            info = (self.root / path).lstat()
        except OSError:
            return None
        return info if info.st_nlink > 1 else None

    def _all_files(self) -> Sequence[str]:
        try:
            named = self.git.files()
        except WorkspaceError:
            return sorted(islice(_walk(self.root), _WALKED))
        return [path for path in named if os.path.isfile(self.root / path)]  # noqa: PTH113 - this one never raises


def glob_expression(pattern: str) -> re.Pattern[str]:
    """A glob, a file or a directory as an expression on relative paths; a bare ``*.py`` matches in every directory."""
    text = pattern.strip().removeprefix("./").rstrip("/")
    if text in ("", ".", "**"):
        return re.compile("")
    if not any(char in text for char in "*?["):
        return re.compile(f"{re.escape(text)}(/|$)")
    if "/" not in text:
        text = f"**/{text}"
    return re.compile("".join(map(_glob_piece, re.findall(r"\*\*/|\*\*|\[[^\]/]+\]|.", text))) + "$", re.DOTALL)


def _glob_piece(piece: str) -> str:
    match piece:
        case "**/":
            return "(?:.*/)?"
        case "**":
            return ".*"
        case "*":
            return "[^/]*"
        case "?":
            return "[^/]"
    if len(piece) > 1:
        inner = piece[1:-1].replace("\\", "\\\\").replace("[", "\\[")
        return f"[^{inner[1:]}]" if inner.startswith("!") and inner[1:] else f"[{inner}]"
    return re.escape(piece)


def _expected(name: str, directory: int, expect: str | None, path: str | Path) -> os.stat_result | None:
    """What the file to replace is, once it is as `expect` says; None where there is none."""
    try:
        info = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        if expect is not None:
            raise WorkspaceError(_gone(path)) from None
        return None
    _check_target(path, info)
    data, info = read_regular(name, directory, _SIZE_LIMIT)
    if expect is None:
        raise WorkspaceError(f"{path} exists already; read it first.")
    if digest(data) != expect:
        raise ChangedError(f"{path} changed since it was read; read it again.")
    return info


def _gone(path: str | Path) -> str:
    return f"{path} is gone since it was read; list the files again."


def _name(parts: Sequence[str], path: str | Path) -> str:
    if not parts:
        raise WorkspaceError(f"{path} is the repository itself, not a file; name a file in it.")
    return parts[-1]


def _check_target(path: str | Path, info: os.stat_result) -> None:
    if (info.st_mode & 0o170000) != 0o100000:
        raise WorkspaceError(f"{path} is {kind(info.st_mode)}, not a file; name a regular file.")
    if info.st_nlink > 1:
        raise WorkspaceError(f"{path} has a second name (a hard link), perhaps outside; put a copy in its place first.")


def _walk(root: Path) -> Iterator[str]:
    for directory, names, files in os.walk(root):
        names[:] = sorted(name for name in names if name not in _SKIPPED)
        below = directory.removeprefix(os.fspath(root)).strip("/")
        found = (name for name in files if os.path.isfile(f"{directory}/{name}"))  # noqa: PTH113 - as above
        yield from (f"{below}/{name}".lstrip("/") for name in found)


@contextmanager
def _explained(path: str | Path) -> Iterator[None]:
    """Turn an OSError into a sentence."""
    try:
        yield
    except OSError as error:
        raise WorkspaceError(_sentence(path, error)) from error


def _sentence(path: str | Path, error: OSError) -> str:
    match error.errno:
        case errno.ENOENT:
            return f"{path} does not exist; list the files to see what does."
        case errno.ENOSPC | errno.EDQUOT | errno.EFBIG:
            return f"{path} could not be written because the disk is full; it is as it was. Make room and try again."
        case errno.ELOOP:
            return f"{path} turned into a link while it was opened; name the file itself."
        case errno.EEXIST:
            return f"{path} cannot be moved because something came into being there; choose another name."
        case errno.ENAMETOOLONG:
            return f"{str(path)[:80]}… is too long for a file name; choose a shorter one."
        case errno.EISDIR:
            return f"{path} is a directory; name a file in it."
        case errno.ENOTDIR:
            return f"{path} goes through something that is not a directory; list the files to see what is there."
        case errno.EACCES | errno.EPERM:
            return f"{path} cannot be opened: permission denied; check its mode and owner."
        case errno.EROFS:
            return f"{path} lies on a read-only file system; nothing was written."
        case _:
            return f"{path} cannot be used: {error.strerror}."
