"""A repository's history, read through git without letting its configuration run anything."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

from assistant.errors import UserError
from assistant.workspace.git import environment, safe_options

_BATCH = 200
"""Commits that are read at a time; our choice."""
_SECONDS = 120.0
_PLAIN = ("--no-renames", "--no-ext-diff", "--no-textconv", "--no-color", "--ignore-submodules=all", "-O/dev/null")
_STEADY = ("--no-replace-objects", "-c", "diff.suppressBlankEmpty=false")
"""What a repository may say otherwise, so that the same commit would read otherwise."""
_MARK = "\0\1\0"
"""Stands before each commit: a message holds no NUL, and ends in a line break."""


@dataclass(frozen=True, slots=True)
class FileCount:
    """A file that a commit changes: lines added and taken away, -1 each where it is binary."""

    path: str
    added: int
    removed: int


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit with one parent; `released` is its date in UTC, ISO. Who made it is not kept."""

    sha: str
    parent: str
    released: str
    message: str
    files: tuple[FileCount, ...] = ()


@dataclass(frozen=True, slots=True)
class History:
    """The commits behind one revision. All methods raise `UserError` where git cannot read."""

    root: Path
    options: tuple[str, ...]

    @classmethod
    def of(cls, root: Path) -> History | None:
        """The history of a folder, None where it has none of its own."""
        if not (root / ".git").exists():
            return None
        history = cls(root, tuple(safe_options(root)))
        return history if history.knows("HEAD") else None

    def knows(self, revision: str) -> bool:
        """Whether a commit of that name is there."""
        wanted = ("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
        return self._ran(*wanted).returncode == 0

    def commits(self, tip: str) -> Iterator[Commit]:
        """Commits with exactly one parent that lead to `tip`, newer ones first, in an order of their own."""
        only = ("--min-parents=1", "--max-parents=1", "--topo-order")
        names = iter(self._read("rev-list", *only, "--end-of-options", tip).decode().split())
        while batch := list(islice(names, _BATCH)):
            yield from self._described(batch)

    def patch(self, commit: Commit, paths: Sequence[str]) -> str:
        """What a commit does to some files, as `git apply` takes it; bytes that are no UTF-8 are surrogates."""
        form = ("--full-index", "--src-prefix=a/", "--dst-prefix=b/", "--unified=3", "--diff-algorithm=myers")
        alone = ("--inter-hunk-context=0", "--no-relative", "--indent-heuristic")
        names = [f":(top,literal){path}" for path in paths]
        data = self._read("diff", *_PLAIN, *form, *alone, commit.parent, commit.sha, "--", *names)
        return data.decode("utf-8", "surrogateescape")

    def contents(self, commit: Commit, paths: Sequence[str]) -> Mapping[str, tuple[bytes | None, bytes | None]]:
        """Files as they are before and after a commit, None where they are not there."""
        names = [f"{revision}:{path}" for path in paths for revision in (commit.parent, commit.sha)]
        blobs = iter(_blobs(self._read("cat-file", "--batch", stdin="\n".join([*names, ""]).encode())))
        return {path: (next(blobs), next(blobs)) for path in paths}

    def _described(self, names: Sequence[str]) -> Iterator[Commit]:
        form = "--format=%x00%x01%x00%H%x00%P%x00%ct%x00%B%x00"
        listing = "\n".join([*names, ""]).encode()
        arguments = ("--no-walk=unsorted", "--stdin", "--numstat", "-z", "--no-show-signature", "--no-notes")
        text = self._read("log", *arguments, *_PLAIN, form, stdin=listing).decode("utf-8", "replace")
        for sha, parent, time, message, rest in _fields(text):
            released = datetime.fromtimestamp(int(time), UTC).date().isoformat()
            yield Commit(sha, parent, released, message.strip(), tuple(_counts(rest)))

    def _read(self, *arguments: str, stdin: bytes = b"") -> bytes:
        done = self._ran(*arguments, stdin=stdin)
        if done.returncode:
            said = (done.stderr.decode("utf-8", "replace").strip().splitlines() or ["no reason given"])[-1][:200]
            raise UserError(f"the history of {self.root.name} cannot be read: {said}")
        return done.stdout

    def _ran(self, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        command = ["git", *self.options, *_STEADY, *arguments]
        try:
            return subprocess.run(
                command,
                cwd=self.root,
                env=environment(),
                input=stdin,
                capture_output=True,
                timeout=_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise UserError(f"the history of {self.root.name} cannot be read: {type(error).__name__}") from None


def _fields(text: str) -> Iterator[tuple[str, str, str, str, str]]:
    for entry in text.split(_MARK)[1:]:
        parts = entry.split("\0", 4)
        if len(parts) == 5 and len(parts[0]) >= 40 and parts[2].isdigit():
            yield parts[0], parts[1], parts[2], parts[3], parts[4]


def _counts(rows: str) -> Iterator[FileCount]:
    for row in rows.split("\0"):
        match row.strip("\n").split("\t", 2):
            case [added, removed, path]:
                yield FileCount(path, _number(added), _number(removed))


def _number(text: str) -> int:
    return int(text) if text.isdigit() else -1


def _blobs(data: bytes) -> Iterator[bytes | None]:
    at = 0
    while at < len(data):
        end = data.index(b"\n", at)
        head = data[at:end].rsplit(b" ", 2)
        if not head[-1].isdigit() or len(head) != 3:
            yield None
            at = end + 1
        else:
            size = int(head[-1])
            yield data[end + 1 : end + 1 + size] if head[1] == b"blob" else None
            at = end + 2 + size
