"""What a patch makes of files, without touching them."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

from assistant.errors import UserError
from assistant.fix.changes import Change, Changes, FileState
from assistant.workspace.plain_git import plain_git

_SOURCES = re.compile(r"^(?:rename|copy) from (.+)$", re.MULTILINE)


def changes_of(patch: str, root: Path) -> Changes:
    """The changes that `git apply` would make in `root`, which is only read.

    Raises:
        UserError: the patch does not apply there.
    """
    return changes_in_turn((patch,), root)


def changes_in_turn(patches: Iterable[str], root: Path) -> Changes:
    """The changes that `git apply` would make in `root`, which is only read, with one patch after the other.

    Raises:
        UserError: a patch does not apply there.
    """
    wanted = [patch for patch in patches if patch.strip()]
    if not wanted:
        return Changes()
    with tempfile.TemporaryDirectory(prefix="kat-patch-") as folder:
        place = Path(folder)
        before: dict[str, FileState | None] = {}
        for patch in wanted:
            for name in sorted({*_touched(patch, place), *_SOURCES.findall(patch)} - before.keys()):
                before[name] = _state(root, name)
                _lay(root, place, name)
            _apply(place, "--whitespace=nowarn", stdin=patch)
        return Changes.of(Change(name, old, _state(place, name)) for name, old in before.items())


def _touched(patch: str, place: Path) -> list[str]:
    rows = [row for row in _apply(place, "--numstat", "-z", stdin=patch).split("\0") if row]
    return [row.split("\t", 2)[-1] for row in rows]


def _apply(place: Path, *options: str, stdin: str) -> str:
    text = (stdin if stdin.endswith("\n") else f"{stdin}\n").encode("utf-8", "surrogateescape")
    nowhere = {"GIT_DIR": os.devnull}
    return plain_git(place, "apply", *options, "-", failing="the patch does not apply", stdin=text, variables=nowhere)


def _lay(root: Path, place: Path, name: str) -> None:
    """Put a file of `root`, if it is there, at the same path in `place`."""
    source, target = root / name, place / name
    if _leaves(root, name) or _leaves(place, name):  # a patch before this one may have made a link on the way
        raise UserError(f"the patch changes {name}, which is not in the repository")
    if source.is_file() or source.is_symlink():
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except OSError:
            raise UserError(f"the patch changes {name}, below what another made a file") from None
        shutil.copy2(source, target, follow_symlinks=False)


def _leaves(root: Path, name: str) -> bool:
    parts = Path(name).parts
    outside = ".." in parts or Path(name).is_absolute() or ".git" in parts
    return outside or not (root / name).parent.resolve().is_relative_to(root.resolve())


def _state(root: Path, name: str) -> FileState | None:
    path = root / name
    if path.is_symlink():
        return FileState(os.fsencode(path.readlink()), "120000")
    if not path.is_file() or _leaves(root, name):
        return None
    return FileState(path.read_bytes(), "100755" if os.access(path, os.X_OK) else "100644")
