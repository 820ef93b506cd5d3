"""Sources by name, and folders with their files at a revision."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from assistant.errors import UserError
from assistant.safety.confinement.cloning import cheapest
from assistant.safety.confinement.private import private_folder
from assistant.workspace.git import GitReader
from training.data.flow.places import content
from training.data.flow.shards import read
from training.data.schema import Source, content_hash, content_id

_LEFT_OUT = (
    *(".git", ".hg", ".svn", ".venv", "venv", "node_modules", ".tox", ".nox"),
    *("__pycache__", "*.pyc", ".pytest_cache", ".hypothesis", ".mypy_cache", ".ruff_cache", ".coverage"),
)
"""What is no part of a source, though it may lie in its folder."""
_FILE, _PROGRAM, _LINK = "100644", "100755", "120000"
_BATCH = 500
"""Files that are read at a time; our choice."""


class Sources:
    """Sources by name: those given, or those in a file or folder of records.

    Raises:
        UserError: none are named.
    """

    def __init__(self, where: str | Path | Sequence[Source]) -> None:
        if not where:
            raise UserError(
                "this stage needs the sources of its tasks; say where profile wrote them, with --set sources=DIR, "
                'or sources = "@profile" in a recipe'
            )
        self._where = where
        self._known: Mapping[str, Source] | None = None

    def get(self, name: str) -> Source:
        """The source of that name.

        Raises:
            UserError: there is none.
        """
        if self._known is None:
            self._known = self._read()
        if name not in self._known:
            raise UserError(f"there is no source {name!r} among those given; profile it first, and say where that lies")
        return self._known[name]

    def _read(self) -> Mapping[str, Source]:
        if isinstance(self._where, str | Path):
            return _read(str(self._where), content(self._where))
        return {source.name: source for source in self._where}


@lru_cache(2)
def _read(where: str, digest: str | None) -> Mapping[str, Source]:
    """Those of a place as long as the same is there: a stage is called again for each chunk."""
    return {source.name: source for source in read(Source, where)}


def tree(source: Source, revision: str, cache: Path) -> Path:
    """A folder with the source's files at a revision (empty: its own), which nobody may write.

    That is `source.root` where the source has no history; else the commit's files, in `cache`, there for good.

    Raises:
        UserError: there is no such revision.
    """
    root, wanted = Path(source.root), revision or source.revision
    if wanted.startswith("sha256:") or not (root / ".git").exists():
        if wanted and source.revision and wanted != source.revision:
            raise UserError(f"{source.name} has no history, so {wanted} cannot be had; profile it again")
        if not root.is_dir():
            raise UserError(f"the folder {root} of {source.name} is not there; profile it where it is now")
        return root.resolve()
    commit = _commit(root, wanted)
    place = cache.resolve() / "trees" / content_id("tree", commit) / root.name
    if not place.is_dir():
        place.parent.parent.mkdir(parents=True, exist_ok=True)
        with private_folder(place.parent.parent) as folder:
            _extract(root, commit, folder / "new" / root.name)
            if not place.is_dir():
                os.replace(folder / "new", place.parent)  # noqa: PTH105 - onto an empty folder, or nothing
    return place


def copied(base: Path, root: Path) -> None:
    """Copy a source's files to `root`, sharing blocks where the disk can. Raises `UserError` if they cannot be read."""
    try:
        ignored = shutil.ignore_patterns(*_LEFT_OUT)
        shutil.copytree(base, root, symlinks=True, ignore=ignored, copy_function=cheapest)
    except (OSError, shutil.Error) as error:
        raise UserError(f"the files of {base.name} cannot be copied: {error}") from None


def files(root: Path) -> list[str]:
    """The paths of a source's files, sorted; links are files."""
    found = []
    ignored = shutil.ignore_patterns(*_LEFT_OUT)
    for folder, folders, names in os.walk(root):
        left_out = ignored(folder, [*folders, *names])
        folders[:] = [name for name in folders if name not in left_out and not (Path(folder) / name).is_symlink()]
        relative = Path(folder).relative_to(root)
        found += [(relative / name).as_posix() for name in names if name not in left_out]
    return sorted(found)


def fingerprint(root: Path) -> str:
    """``sha256:…`` of a folder's files, their names and whether they are programs; times do not count."""
    return f"sha256:{content_hash(_named(root))}"


def _named(root: Path) -> Iterator[str | bytes]:
    """Of each file its path, kind and content, one file after the other."""
    for path in files(root):
        place = root / path
        mode = place.lstat().st_mode
        if stat.S_ISLNK(mode):
            yield from (path, _LINK, os.fsencode(os.readlink(place)))  # noqa: PTH115
        elif stat.S_ISREG(mode):
            yield from (path, _PROGRAM if mode & 0o100 else _FILE, place.read_bytes())


def _commit(root: Path, revision: str) -> str:
    try:
        asked = ("rev-parse", "--verify", "--quiet", f"{revision or 'HEAD'}^{{commit}}")
        return GitReader(root).write(*asked).decode().strip()
    except UserError:
        raise UserError(f"{root.name} has no commit {revision}; fetch its history and try again") from None


def _extract(root: Path, commit: str, place: Path) -> None:
    """A commit's files as they are in git: no filter and no attribute takes part, and tests are never left out."""
    git = GitReader(root)
    rows = [row.partition(b"\t") for row in git.write("ls-tree", "-r", "-z", commit).split(b"\0") if row]
    entries = [(meta.decode().split(), os.fsdecode(path)) for meta, _, path in rows]
    blobs = [(meta[0], meta[2], path) for meta, path in entries if meta[1] == "blob"]
    place.mkdir(parents=True)
    inside = place.resolve()
    try:
        for first in range(0, len(blobs), _BATCH):
            part = blobs[first : first + _BATCH]
            for (mode, _, path), content in zip(part, _contents(git, [name for _, name, _ in part]), strict=True):
                _put(inside, path, mode, content)
    except (OSError, ValueError) as error:
        raise UserError(f"the files of {root.name} at {commit[:12]} cannot be had: {error}") from None


def _contents(git: GitReader, names: Sequence[str]) -> Iterator[bytes]:
    """What is in the blobs of these names."""
    data, at = git.write("cat-file", "--batch", stdin="".join(f"{name}\n" for name in names).encode()), 0
    for name in names:
        end = data.index(b"\n", at)
        size = data[at:end].rsplit(b" ", 1)[1]
        if not size.isdigit():
            raise ValueError(f"{name} is missing; fetch the whole history and try again")
        yield data[end + 1 : end + 1 + int(size)]
        at = end + int(size) + 2


def _put(inside: Path, path: str, mode: str, content: bytes) -> None:
    """A file of a commit. Names in git may be made up to lead elsewhere: by dots, or through a link beside them."""
    target = inside / path
    if not target.parent.resolve().is_relative_to(inside) or os.path.lexists(target):
        raise ValueError(f"its path {path!r} leads elsewhere")
    target.parent.mkdir(parents=True, exist_ok=True)
    _write(target, mode, content)


def _write(place: Path, mode: str, content: bytes) -> None:
    if mode == _LINK:
        place.symlink_to(os.fsdecode(content))
        return
    place.write_bytes(content)
    place.chmod(0o755 if mode == _PROGRAM else 0o644)
