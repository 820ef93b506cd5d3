"""Snapshots of all files of a repository, as git trees in a shadow git directory that belongs to us.

Untracked files are in them, and so whatever a command did. Files that git ignores are not, unless the repository tracks
them or the agent was about to change them; nor are files over a size limit and repositories inside the repository:
those are named.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from assistant.workspace.errors import WorkspaceError
from assistant.workspace.git import GitReader
from assistant.workspace.shadow import ShadowGit

FILE_LIMIT = 10_000_000
"""Bytes of the largest file that a snapshot keeps (our choice)."""
KEEP_DAYS = 30
KEEP_BYTES = 2_000_000_000
"""How long snapshots are kept, and how much room those of a repository may take (our choice)."""
_TIDY_SECONDS = 86_400
_NULL = "0" * 40
_VANISHED = re.compile(r"unable to stat '(.*)': No such file", re.DOTALL)
_TRIES = 50
"""How many files may vanish while one snapshot is taken (our choice)."""
_STORE = re.compile(r"[0-9a-f]{24}")


class Entry(NamedTuple):
    """A file in a snapshot: git's mode (``100644``, ``100755``, or ``120000`` for a link) and the name of its blob."""

    mode: str
    blob: str


Change = tuple[Entry | None, Entry | None]
"""A file before and after; None where it is not there."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A git tree, what is not in it (paths with the reason in a few words), and what `patterns` outside it ignore."""

    tree: str
    left_out: dict[str, str] = field(default_factory=dict)
    patterns: str = ""


class Snapshots:
    """The snapshots of one repository. Every method raises `WorkspaceError`; none writes to the repository."""

    def __init__(self, root: Path, store: Path, file_limit: int = FILE_LIMIT) -> None:
        self.root = root.resolve()
        self._file_limit = file_limit
        self._git = ShadowGit(self.root, store)
        self._modes_file = store / "modes.json"
        self._seen_index: tuple[int, int] | None = None
        self._patterns = ""
        self._last: Snapshot | None = None
        self._last_index: tuple[int, ...] | None = None
        (store / "repository").write_text(str(self.root), "utf-8", "surrogateescape")

    def take(self, keep: Iterable[str] = ()) -> Snapshot:
        """A snapshot of the files as they are now; those of `keep` are in it even if git ignores them."""
        kept = tuple(keep)
        with self._git.locked():
            if self._git.index_stamp() != self._last_index:  # another process took one meanwhile
                self._last = None
            try:
                snapshot = self._taken(kept)
            except WorkspaceError:
                self._git.mend()
                self._last = None
                snapshot = self._taken(kept)
            self._remember(snapshot.tree)
            self._last_index = self._git.index_stamp()
        return snapshot

    def keeps(self, tree: str) -> bool:
        """Whether a snapshot is still there."""
        return (self._git.directory / "refs/trees" / _name(tree)).is_file()

    def holds(self, entry: Entry) -> bool:
        """Whether the content of a file is still there."""
        return self._git.has(_name(entry.blob))

    def hidden(self, before: Snapshot, changes: Mapping[str, Change], named: Collection[str] = ()) -> set[str]:
        """New files among the changes since `before` that it could not have shown: ignored then, or left out.

        Whether they were there before, nobody knows. `named` are those that were kept though ignored since.
        """
        appeared = [path for path, (old, _) in changes.items() if old is None]
        folders = tuple(f"{path.rstrip('/')}/" for path in before.left_out)
        found = {path for path in appeared if path in before.left_out or path.startswith(folders)}
        other_rules = before.patterns != self._patterns or any(_sets_rules(path) for path in changes)
        if other_rules or not set(named).isdisjoint(appeared):
            found |= self._ignored_by(before, appeared)
        return found

    def _ignored_by(self, before: Snapshot, paths: Iterable[str]) -> set[str]:
        """Which paths the rules of a snapshot ignore."""
        rules = {path: entry for path, entry in self.files(before.tree).items() if _sets_rules(path)}
        with tempfile.TemporaryDirectory() as folder:
            general, top = Path(folder) / "patterns", Path(folder) / "top"
            general.write_text(before.patterns, "utf-8", "surrogateescape")
            top.mkdir()
            for path, entry in rules.items():
                (top / path).parent.mkdir(parents=True, exist_ok=True)
                (top / path).write_bytes(self.content(entry) if entry.mode != "120000" else b"")
            listing = b"".join(os.fsencode(path) + b"\0" for path in paths)
            place = ("-C", str(top), f"--work-tree={top}", "-c", f"core.excludesFile={general}")
            _, out, _ = self._git.execute(*place, "check-ignore", "--no-index", "-z", "--stdin", stdin=listing)
        return {os.fsdecode(part) for part in out.split(b"\0") if part}

    def changes(self, before: str, after: str) -> dict[str, Change]:
        """What differs between two trees, by path."""
        if before == after:
            return {}
        out = self._git.run("diff-tree", "-r", "-z", "--raw", "--no-renames", _name(before), _name(after))
        fields = iter(os.fsdecode(part) for part in out.split(b"\0") if part)
        return {path: _change(meta) for meta, path in zip(fields, fields, strict=True)}

    def files(self, tree: str) -> dict[str, Entry]:
        """All files of a tree, by path."""
        out = self._git.run("ls-tree", "-r", "-z", "--full-tree", _name(tree))
        rows = (os.fsdecode(row).partition("\t") for row in out.split(b"\0") if row)
        return {path: Entry(meta.split()[0], meta.split()[2]) for meta, _, path in rows}

    def diff(self, before: str, after: str, paths: Iterable[str] = ()) -> str:
        """A patch between two trees, of all files or of these, as `git apply` takes it."""
        flags = ("--no-color", "--no-ext-diff", "--no-textconv", "--no-renames", "--full-index", "--binary")
        chosen = [f":(top,literal){path}" for path in paths]
        out = self._git.run("diff-tree", "-r", "-p", *flags, _name(before), _name(after), "--", *chosen)
        return out.decode("utf-8", "replace")

    def content(self, entry: Entry) -> bytes:
        """What the file holds; the target of a link."""
        return self._git.blob(_name(entry.blob))

    def mode(self, path: str, entry: Entry) -> int:
        """Permission bits for a file that is to come back: those it had when it was last looked at, else usual ones."""
        known = self._modes().get(path, 0o644)
        return known | (known & 0o444) >> 2 if entry.mode == "100755" else known & 0o666

    def ignored(self) -> list[str]:
        """What .gitignore keeps out of every snapshot, folders in one piece."""
        flags = ("--others", "--ignored", "--exclude-standard", "--directory")
        return [os.fsdecode(part) for part in self._git.run("ls-files", "-z", *flags).split(b"\0") if part]

    def tidy(self, *, days: float = KEEP_DAYS, size: int = KEEP_BYTES, now: float | None = None) -> None:
        """Once a day, drop snapshots older than `days`, or half of them where all take more than `size` bytes.

        Git makes the room later, in a process of its own: nobody waits for it.
        """
        moment = time.time() if now is None else now
        mark = self._git.store / "tidied"
        if not mark.exists():
            mark.touch()
            return
        if 0 <= moment - mark.stat().st_mtime < _TIDY_SECONDS:
            return
        os.utime(mark, (moment, moment))
        kept = sorted(self._kept(), key=lambda ref: ref.stat().st_mtime)
        old = [ref for ref in kept if ref.stat().st_mtime < moment - days * 86_400]
        if not old and _size(self._git.directory) > size:
            old = kept[: max(1, len(kept) // 2)]
        for ref in old:
            ref.unlink(missing_ok=True)
        self._git.collect()
        drop_orphans(self._git.store.parent, now=now)

    def close(self) -> None:
        """End the process that reads contents."""
        self._git.close()

    def _taken(self, keep: Iterable[str]) -> Snapshot:
        self._follow_user()
        self._add_listed(keep)
        changed = self._changed()
        left_out = {path: why for path in changed if (why := self._unfit(path))}
        if self._last and set(changed) <= set(left_out) and left_out == self._last.left_out:
            return self._last
        left_out |= self._add_all_but(left_out)
        self._note_modes(changed)
        self._last = Snapshot(self._git.run("write-tree").decode().strip(), left_out, self._patterns)
        return self._last

    def _add_all_but(self, left_out: Iterable[str]) -> dict[str, str]:
        """Bring the index up to the files, and name those that could not be read, or vanished under git's hands."""
        flags = ("--all", "--ignore-errors", "--pathspec-from-file=-", "--pathspec-file-nul")
        without = list(left_out)
        for _ in range(_TRIES):
            listing = ".\0" + "".join(f":(top,exclude,literal){path.rstrip('/')}\0" for path in without)
            code, _, said = self._git.execute("add", *flags, stdin=os.fsencode(listing))
            if code == 0:
                return dict.fromkeys(self._there(without[len(list(left_out)) :]), "came and went")
            if code == 1:
                return dict.fromkeys(set(self._changed()) - set(left_out), "could not be read")
            vanished = _VANISHED.search(said)
            if vanished is None:
                break
            without.append(vanished[1])
        raise WorkspaceError(f"A snapshot could not be made: {said.splitlines()[-1] if said else f'code {code}'}.")

    def _there(self, paths: Iterable[str]) -> list[str]:
        return [path for path in paths if os.path.lexists(self.root / path)]

    def _changed(self) -> list[str]:
        """New, changed and missing files; a repository in the repository ends in a slash."""
        out = self._git.run("ls-files", "-z", "--others", "--modified", "--exclude-standard")
        return sorted({os.fsdecode(part) for part in out.split(b"\0") if part})

    def _unfit(self, path: str) -> str:
        if path.endswith("/"):
            return "a repository of its own"
        try:
            info = (self.root / path).lstat()
        except OSError:
            return ""
        large = stat.S_ISREG(info.st_mode) and info.st_size > self._file_limit
        return f"over {self._file_limit / 1e6:g} MB" if large else ""

    def _follow_user(self) -> None:
        """Ignore what the user ignores, and keep what the user's index has although it is ignored."""
        reader = GitReader(self.root)
        index = reader.index_stamp()
        if index == self._seen_index and self._last:
            return
        self._patterns = reader.exclude_patterns()
        self._git.exclude(self._patterns)
        self._add_listed(reader.tracked_though_ignored())
        self._seen_index = index

    def _add_listed(self, paths: Iterable[str]) -> None:
        wanted = [path for path in paths if self._plain(path) and not self._unfit(path)]
        if wanted:
            listing = b"".join(os.fsencode(path) + b"\0" for path in wanted)
            self._git.run("update-index", "--add", "--remove", "--replace", "-z", "--stdin", stdin=listing)
            self._last = None

    def _plain(self, path: str) -> bool:
        """Whether it is a file or link reached without a link, or nothing at all."""
        full = self.root / path
        parents = [full.parents[i] for i in range(len(Path(path).parts) - 1)]
        return not any(parent.is_symlink() for parent in parents) and not (full.is_dir() and not full.is_symlink())

    def _note_modes(self, changed: Iterable[str]) -> None:
        """Remember permission bits that git does not keep."""
        modes = known = self._modes()
        for path in changed:
            try:
                info = (self.root / path).lstat()
            except OSError:
                continue
            bits = info.st_mode & 0o777
            if stat.S_ISREG(info.st_mode) and bits != known.get(path, 0o644):
                modes = {**modes, path: bits} if modes is known else modes | {path: bits}
        if modes is not known:
            fresh = self._modes_file.with_suffix(f".{os.getpid()}")
            fresh.write_text(json.dumps(modes), "utf-8", "surrogatepass")
            fresh.replace(self._modes_file)

    def _modes(self) -> dict[str, int]:
        try:
            found = json.loads(self._modes_file.read_text("utf-8", "surrogatepass"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def _remember(self, tree: str) -> None:
        """Keep a tree from being collected: a ref that is as old as its last use."""
        (self._git.directory / "refs/trees" / tree).write_text(f"{tree}\n")

    def _kept(self) -> Iterator[Path]:
        return (self._git.directory / "refs/trees").iterdir()


def store_of(state: Path, root: Path) -> Path:
    """Where the snapshots of a repository lie below the state directory."""
    return state / "snapshots" / hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:24]


def drop_orphans(folder: Path, *, days: float = KEEP_DAYS, now: float | None = None) -> None:
    """Remove from the folder of all stores those of repositories that are gone, once not used for `days`."""
    moment = time.time() if now is None else now
    for store in folder.glob("*"):
        name = store / "repository"
        if not _STORE.fullmatch(store.name) or not name.is_file():
            continue
        if Path(name.read_text("utf-8", "surrogateescape")).exists():
            continue
        if name.stat().st_mtime < moment - days * 86_400:
            shutil.rmtree(store, ignore_errors=True)


def _sets_rules(path: str) -> bool:
    return PurePosixPath(path).name == ".gitignore"


def _change(meta: str) -> Change:
    old_mode, new_mode, old, new, _ = meta.removeprefix(":").split(" ")
    return (None if old == _NULL else Entry(old_mode, old)), (None if new == _NULL else Entry(new_mode, new))


def _name(name: str) -> str:
    """An object's name, and nothing else that git could take for an option or a revision."""
    if len(name) != 40 or not set(name) <= set("0123456789abcdef"):
        raise WorkspaceError(f"{name[:60]!r} is not the name of a snapshot.")
    return name


def _size(directory: Path) -> int:
    return sum(path.lstat().st_size for path in directory.rglob("*"))
