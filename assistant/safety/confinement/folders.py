"""Which folders outside the repository may be opened for writing, if the user asks for it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from assistant.errors import UserError
from assistant.safety.confinement.toolchains import is_under

_SYSTEM = tuple(map(Path, ("/boot", "/dev", "/etc", "/proc", "/run", "/sys", "/usr")))
_LOOKED_AT = 5000
"""Folders that are searched for repositories."""


class FolderError(UserError):
    """A folder must not be opened for writing; the message is one sentence for the user."""


def writable_folders(
    folders: Iterable[Path],
    environ: Mapping[str, str],
    repository: Path,
    config_dirs: Sequence[Path],
    at: Path | None = None,
) -> tuple[Path, ...]:
    """`folders` with links resolved. Raises `FolderError` for one that must stay closed, and says why.

    `at` is the repository that `repository` is a view of.
    """
    homes = [Path(environ[name]).resolve() for name in ("HOME",) if environ.get(name)]
    ours = [path.resolve() for path in config_dirs]
    roots = [repository] if at is None else [repository, at]
    return tuple(_checked(folder, homes, ours, roots) for folder in folders)


def _checked(folder: Path, homes: list[Path], ours: list[Path], roots: list[Path]) -> Path:
    if not folder.is_absolute():
        raise FolderError(f"{folder} is not an absolute path; write folders out in full, from /")
    place = folder.resolve()
    if not place.is_dir():
        raise FolderError(f"{folder} is not a folder; make it first, or take it out of `sandbox_write`")
    if reason := _closed(place, homes, ours, roots):
        raise FolderError(f"{folder} cannot be opened for writing: {reason}")
    return place


def _closed(place: Path, homes: list[Path], ours: list[Path], roots: list[Path]) -> str:
    """Why a folder must stay closed, or an empty string."""
    if place == Path("/") or is_under(place, _SYSTEM):
        return "it belongs to the system"
    if any(is_under(home, [place]) for home in homes):
        return "it holds your home; name a folder inside it"
    if any(is_under(place, [own]) or is_under(own, [place]) for own in ours):
        return "our own settings and sessions are there"
    if any(is_under(place, [root]) or is_under(root, [place]) for root in roots):
        return "it holds, or is part of, the repository"
    if ".git" in place.parts or any(_repositories(place)):
        return "there is a git repository in it"
    return ""


def _repositories(place: Path) -> Iterator[Path]:
    """Git directories in a folder, as far as one can look in a moment."""
    for looked_at, (directory, folders, files) in enumerate(os.walk(place)):
        if ".git" in folders or ".git" in files:
            yield Path(directory, ".git")
        if looked_at > _LOOKED_AT:
            return
