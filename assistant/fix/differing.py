"""The patch between two sets of files, by one call of git on objects that are written here."""

from __future__ import annotations

import hashlib
import os
import tempfile
import zlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from assistant.workspace.plain_git import plain_git

File = tuple[str, str, bytes]
"""Path, git mode and content."""

_FLAGS = ("--numstat", "--patch", "--binary", "--full-index", "--no-color", "--no-ext-diff", "--no-textconv")
_BINARY = 1_000
"""Lines that a binary file counts for; our choice."""
_FOLDER = "40000"


@lru_cache(maxsize=64)
def difference(old: tuple[File, ...], new: tuple[File, ...]) -> tuple[int, str]:
    """Lines taken away and added, and the patch; bytes that are no UTF-8 are surrogates. Raises `UserError`."""
    if old == new:
        return 0, ""
    with tempfile.TemporaryDirectory(prefix="kat-diff-") as name:
        store = Path(name)
        for folder in ("objects", "refs"):
            (store / folder).mkdir()
        (store / "HEAD").write_text("ref: refs/heads/none\n")
        text = _git(store, _tree(store, old), _tree(store, new))
    counts, _, patch = text.partition("\ndiff --git ")
    rows = (row.split("\t")[:2] for row in counts.split("\n") if row)
    lines = sum(int(number) if number.isdigit() else _BINARY for row in rows for number in row)
    return lines, f"diff --git {patch}"


def _git(store: Path, before: str, after: str) -> str:
    arguments = (f"--git-dir={store}", "diff", *_FLAGS, "--no-renames", before, after)
    return plain_git(store, *arguments, failing="the patch cannot be written")


def _tree(store: Path, files: Sequence[File]) -> str:
    """Write the tree of these files, with all that is in it; its name."""
    rows: list[tuple[bytes, str, str]] = []
    folders: dict[str, list[File]] = {}
    for path, mode, content in files:
        first, _, rest = path.partition("/")
        if rest:
            folders.setdefault(first, []).append((rest, mode, content))
        else:
            rows.append((os.fsencode(path), mode, _object(store, "blob", content)))
    rows += [(os.fsencode(name), _FOLDER, _tree(store, inside)) for name, inside in folders.items()]
    rows.sort(key=lambda row: row[0] + (b"/" if row[1] == _FOLDER else b""))
    return _object(store, "tree", b"".join(b"%s %s\0" % (m.encode(), n) + bytes.fromhex(o) for n, m, o in rows))


def _object(store: Path, kind: str, content: bytes) -> str:
    """Write a git object, as git does: SHA-1 over its kind, size and content; its name."""
    data = f"{kind} {len(content)}\0".encode() + content
    name = hashlib.sha1(data, usedforsecurity=False).hexdigest()
    place = store / "objects" / name[:2] / name[2:]
    place.parent.mkdir(exist_ok=True)
    place.write_bytes(zlib.compress(data, 1))
    return name
