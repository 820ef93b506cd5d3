"""Views that are copies: of the files that git knows or does not ignore, sharing their blocks where the disk can."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from assistant.errors import UserError
from assistant.fix.counting import entries, known_files, submodules
from assistant.safety.confinement.cloning import cheapest, clone, copy_data

DEPENDENCIES = ("node_modules", ".venv", "venv")
"""Folders that tests need and that are never copied; the sandbox shows the original's, read-only."""
_OWN = ("HEAD", "index")
"""Files of a git directory that belong to one work tree."""

Stamp = tuple[int, int, int, int]
"""Change time in ns, bytes, inode and mode: what is another as soon as a file was touched."""


@dataclass(frozen=True, slots=True)
class Copied:
    """A copy of a repository at `root`, and what its files were right after it was made."""

    root: Path
    stamps: dict[str, Stamp]

    def touched(self) -> Iterator[str]:
        """Relative paths of files that may be different from what was copied, or new, or gone."""
        there = set()
        root = os.fspath(self.root)
        for path in _files(self.root):
            there.add(path)
            if _stamp(os.lstat(f"{root}/{path}")) != self.stamps.get(path):
                yield path
        yield from self.stamps.keys() - there


def copied(repository: Path, root: Path, *, reflink: bool) -> Copied:
    """Copy the repository's files to `root`, which must not be there.

    Raises:
        UserError: the files cannot be copied (no space, not readable).
    """
    root.mkdir()
    try:
        stamps = dict(_copies(repository, root, cheapest if reflink else copy_data))
        _lend_git(repository, root)
    except OSError as error:
        raise UserError(f"the repository cannot be copied: {error.strerror} ({error.filename})") from None
    return Copied(root, stamps)


def reflinks_work(repository: Path, folder: Path) -> bool:
    """Whether a file of the repository can share its blocks with one in `folder`."""
    for path in known_files(repository):
        source, target = repository / path, folder / "reflink"
        if source.is_symlink() or not source.is_file() or not source.stat().st_size:
            continue
        with suppress(OSError):
            clone(str(source), str(target))
            return True
        return False
    return False


def shown(repository: Path, root: Path) -> tuple[tuple[Path, Path], ...]:
    """What a sandbox shows in a copy: installed packages, submodules and the history, the repository's own."""
    names = [name for name in (*DEPENDENCIES, *sorted(submodules(repository))) if (repository / name).is_dir()]
    git = [".git"] if (repository / ".git").is_dir() else []
    return tuple((repository / name, root / name) for name in (*names, *git))


def link_dependencies(places: Iterable[tuple[Path, Path]]) -> None:
    """Links to what a sandbox cannot show elsewhere than where it lies."""
    for source, target in places:
        if not os.path.lexists(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(source)


def _copies(repository: Path, root: Path, copy: Callable[[str, str], object]) -> Iterator[tuple[str, Stamp]]:
    source, target = os.fspath(repository), os.fspath(root)
    made: set[str] = set()
    for path in known_files(repository):
        folder = path.rpartition("/")[0]
        if not set(DEPENDENCIES).isdisjoint(path.split("/")):
            continue
        if folder not in made:
            (root / folder).mkdir(parents=True, exist_ok=True)
            made.add(folder)
        if _copy(f"{source}/{path}", f"{target}/{path}", copy):
            yield path, _stamp(os.lstat(f"{target}/{path}"))


def _copy(source: str, target: str, copy: Callable[[str, str], object]) -> bool:
    """Copy a file or link; says whether it was one, and there."""
    try:
        mode = os.lstat(source).st_mode
    except FileNotFoundError:
        return False
    if stat.S_ISLNK(mode):
        os.symlink(os.readlink(source), target)  # noqa: PTH115, PTH211 - for 20,000 files paths as text are quicker
    elif stat.S_ISREG(mode):
        copy(source, target)
    return stat.S_ISLNK(mode) or stat.S_ISREG(mode)


def _stamp(info: os.stat_result) -> Stamp:
    return info.st_ctime_ns, info.st_size, info.st_ino, info.st_mode


def _files(root: Path) -> Iterator[str]:
    """Every file and link, but for git's own."""
    pending = [""]
    while pending:
        below = pending.pop()
        for entry in entries(root / below):
            if entry.name == ".git" or (not below and entry.is_symlink() and entry.name in DEPENDENCIES):
                continue
            if entry.is_dir(follow_symlinks=False):
                pending.append(f"{below}{entry.name}/")
            else:
                yield f"{below}{entry.name}"


def _lend_git(repository: Path, root: Path) -> None:
    """A git directory for the copy that has the repository's history, and an index of its own."""
    source = _git_directory(repository)
    if source is None:
        return
    common = source / "commondir"
    shared = (source / common.read_text("utf-8").strip()).resolve() if common.is_file() else source
    target = root / ".git"
    target.mkdir()
    (target / "commondir").write_text(f"{shared}\n", "utf-8", "surrogateescape")
    for place in (*(source / name for name in _OWN), *source.glob("sharedindex.*")):
        if place.is_file():
            shutil.copyfile(place, target / place.name)


def _git_directory(repository: Path) -> Path | None:
    link = repository / ".git"
    if link.is_file():
        said = link.read_text("utf-8", "surrogateescape").removeprefix("gitdir:").strip()
        link = (repository / said).resolve()
    return link if link.is_dir() else None
