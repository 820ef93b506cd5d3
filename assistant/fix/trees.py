"""The git tree of a repository with changes made to it, and whether its files are still what they were."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from assistant.errors import UserError
from assistant.fix.changes import Change, Changes
from assistant.fix.counting import known_files
from assistant.safety.confinement.private import private_folder
from assistant.workspace.git import GitReader, environment, safe_options

_TIMEOUT = 300.0
_ONLY_OURS = ("-c", "core.splitIndex=false", "-c", "core.safecrlf=false", "-c", "advice.addEmbeddedRepo=false")
_SUBMODULE = "160000"
_GONE = "0"


def tree_of(repository: Path, changes: Changes) -> str:
    """The tree that `git add -A && git write-tree` gives where `changes` are made; the repository's git is only read.

    No filter of the user's runs (a file of Git LFS counts as its content), and repositories without a commit, at which
    `git add` fails, are left out. Files that the index knows are not read again, so it costs little more than
    `git status`.

    Raises:
        UserError: git cannot make it.
    """
    with private_folder() as folder:
        git = _git(repository.resolve(), folder)
        submodules = git.submodules()
        listing = ".\0" + "".join(f":(top,exclude,literal){path}\0" for path in (*submodules, *git.begun()))
        git.run("add", "--all", "--pathspec-from-file=-", "--pathspec-file-nul", stdin=os.fsencode(listing))
        rows = [*(f"{_SUBMODULE} {commit}\t{path}\0" for path, commit in submodules.items() if commit)]
        nothing = git.run("hash-object", "--stdin").decode().strip()
        rows += [_row(git, change, nothing) for change in changes.changes]
        git.run("update-index", "-z", "--index-info", stdin=os.fsencode("".join(rows)))
        return git.run("write-tree").decode().strip()


def fingerprint(repository: Path) -> str:
    """Another one as soon as a file that git knows or does not ignore was written, moved or deleted; SHA-256."""
    digest = hashlib.sha256()
    root = os.fspath(repository)
    for path in known_files(repository):
        digest.update(os.fsencode(f"{path}\0{_stamp(f'{root}/{path}')}\0"))
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class _Git:
    """Git on the user's files and history with an index and new objects of our own."""

    root: Path
    options: tuple[str, ...]
    variables: dict[str, str]

    def run(self, *arguments: str, stdin: bytes = b"") -> bytes:
        """The output of a command. Raises `UserError` where it fails."""
        try:
            done = subprocess.run(
                ["git", *self.options, *_ONLY_OURS, *arguments],
                cwd=self.root,
                env=environment() | self.variables,
                input=stdin,
                capture_output=True,
                timeout=_TIMEOUT,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise UserError(f"the tree of the files cannot be made: {error}") from error
        if done.returncode:
            reason = (done.stderr.decode(errors="replace").strip().splitlines() or ["no reason given"])[-1]
            raise UserError(f"the tree of the files cannot be made: git {arguments[0]}: {reason[:200]}")
        return done.stdout

    def submodules(self) -> dict[str, str]:
        """The submodules of the index and the commits they are at; an empty one where nobody knows."""
        rows = (os.fsdecode(row).partition("\t") for row in self.run("ls-files", "-z", "--stage").split(b"\0") if row)
        return {path: self._commit(path) for meta, _, path in rows if meta.startswith(_SUBMODULE)}

    def begun(self) -> list[str]:
        """New repositories inside this one that have no commit yet."""
        listed = self.run("ls-files", "-z", "--others", "--exclude-standard").split(b"\0")
        folders = (os.fsdecode(path) for path in listed if path.endswith(b"/"))
        return [path.rstrip("/") for path in folders if not self._commit(path)]

    def _commit(self, path: str) -> str:
        place = self.root / path
        return GitReader(place).head() or "" if os.path.lexists(place / ".git") else ""


def _git(root: Path, folder: Path) -> _Git:
    reader = GitReader(root)
    objects, index = folder / "objects", folder / "index"
    objects.mkdir()
    variables = {"GIT_INDEX_FILE": str(index), "GIT_OBJECT_DIRECTORY": str(objects)}
    if not (root / ".git").exists():
        subprocess.run(
            ["git", "init", "--quiet", "--template=", "--bare", folder / "git"], check=True, env=environment()
        )
        return _Git(root, (f"--git-dir={folder / 'git'}", f"--work-tree={root}"), variables)
    theirs = reader.place("objects")
    variables["GIT_ALTERNATE_OBJECT_DIRECTORIES"] = _quoted(theirs)
    if reader.place("index").is_file():
        shutil.copyfile(reader.place("index"), index)
    return _Git(root, tuple(safe_options(root)), variables)


def _row(git: _Git, change: Change, nothing: str) -> str:
    """A line for git's index; `nothing` is any name of an object, of which only the length counts."""
    if change.new is None:
        return f"{_GONE} {nothing}\t{change.path}\0"
    content = ["--no-filters"] if change.new.mode == "120000" else [f"--path={change.path}"]
    blob = git.run("hash-object", "-w", "--stdin", *content, stdin=change.new.content).decode().strip()
    return f"{change.new.mode} {blob}\t{change.path}\0"


def _quoted(path: Path) -> str:
    """A path in a list of object directories."""
    return '"' + str(path).replace("\\", "\\\\").replace('"', '\\"') + '"'


def _stamp(path: str) -> str:
    try:
        info = os.lstat(path)
    except OSError:
        return ""
    return f"{info.st_mode} {info.st_size} {info.st_mtime_ns} {info.st_ino}"
