"""Reads a repository through git without letting its configuration run anything."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from assistant.workspace.errors import WorkspaceError

_TIMEOUT = 30.0
_LONGEST_PATTERNS = 100_000
_OVERRIDES = {
    "core.fsmonitor": "",
    "core.hooksPath": "/dev/null",
    "core.pager": "cat",
    "core.quotePath": "false",
    "core.untrackedCache": "false",
    "diff.autoRefreshIndex": "false",
    "diff.external": "",
    "diff.ignoreSubmodules": "all",
    "status.relativePaths": "false",
    "submodule.recurse": "false",
}
_EMPTY_VARIABLE = "KAT_EMPTY"
_ENVIRONMENT = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_ALLOW_PROTOCOL": "none",
    "GIT_EXTERNAL_DIFF": "",
    "GIT_PAGER": "cat",
    "GIT_SSH_COMMAND": "false",
    "GIT_ASKPASS": "false",
    _EMPTY_VARIABLE: "",
}
_EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"


@dataclass(frozen=True, slots=True)
class RepositoryInfo:
    """A work tree: `branch` is None on a detached head, `empty` says that nothing is committed yet."""

    root: Path
    branch: str | None
    bare: bool
    empty: bool


@dataclass(frozen=True, slots=True)
class StatusEntry:
    """A changed file: git's two letters (index, work tree; ``??`` for an untracked file) and its path."""

    code: str
    path: str


class GitReader:
    """Git on one work tree. All raise `WorkspaceError`; nothing fetches or runs a program, only `write` writes."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._options: list[str] | None = None

    def head(self) -> str | None:
        """The commit that is checked out, or None in an empty repository."""
        code, out, _ = self._try("rev-parse", "--verify", "--quiet", "HEAD^{commit}")
        return out.decode().strip() if code == 0 else None

    def branch(self) -> str | None:
        """The branch that is checked out (perhaps without a commit), or None on a detached head."""
        code, out, _ = self._try("symbolic-ref", "--quiet", "--short", "HEAD")
        return os.fsdecode(out).strip() if code == 0 else None

    def status(self) -> tuple[StatusEntry, ...]:
        """What differs from the last commit, untracked files one by one, submodules left out."""
        arguments = ("--porcelain=v1", "-z", "--no-renames", "--untracked-files=all", "--ignore-submodules=all")
        return tuple(StatusEntry(entry[:2], entry[3:]) for entry in _split(self._run("status", *arguments)))

    def tracked_files(self) -> tuple[str, ...]:
        """Paths in the index."""
        return tuple(_split(self._run("ls-files", "-z", "--cached")))

    def files(self) -> tuple[str, ...]:
        """Paths in the index and untracked ones that .gitignore does not name, sorted, each once."""
        out = self._run("ls-files", "-z", "--cached", "--others", "--exclude-standard")
        return tuple(sorted({*os.fsdecode(out).split("\0")} - {""}))

    def tracked_though_ignored(self) -> tuple[str, ...]:
        """Paths in the index that an ignore pattern names all the same."""
        return tuple(_split(self._run("ls-files", "-z", "--cached", "--ignored", "--exclude-standard")))

    def exclude_patterns(self) -> str:
        """The user's ignore patterns outside .gitignore files: those for this repository, then the general ones."""
        code, out, _ = self._try("config", "--global", "--type=path", "--get", "core.excludesFile")
        general = Path(os.fsdecode(out).strip()) if code == 0 else _config_home() / "git" / "ignore"
        texts = [_text(path) for path in (self.place("info/exclude"), general)]
        return "\n".join(text for text in texts if text) + "\n"

    def index_stamp(self) -> tuple[int, int]:
        """Time (ns) and size of the index; both change with it."""
        try:
            info = self.place("index").stat()
        except OSError:
            return (0, 0)
        return info.st_mtime_ns, info.st_size

    def place(self, name: str) -> Path:
        """A file of the git directory, which for a linked work tree lies elsewhere."""
        if (self.root / ".git").is_dir():
            return self.root / ".git" / name
        return self.root / os.fsdecode(self._run("rev-parse", "--git-path", name)).strip()

    def diff(self, paths: Sequence[str] = (), context: int = 3) -> str:
        """A patch from the last commit to the work tree, for `paths` or everything; new files are not in it."""
        flags = ("--no-ext-diff", "--no-textconv", "--no-color", "--ignore-submodules=all", f"--unified={int(context)}")
        prefixes = ("--src-prefix=a/", "--dst-prefix=b/", "--no-renames")
        base = self.head() or _EMPTY_TREE
        return self._run("diff", *flags, *prefixes, base, "--", *_literal(paths)).decode("utf-8", "replace")

    def untracked(self, paths: Sequence[str] = ()) -> tuple[str, ...]:
        """New files that .gitignore does not name."""
        return tuple(_split(self._run("ls-files", "-z", "--others", "--exclude-standard", "--", *_literal(paths))))

    def known(self, paths: Sequence[str]) -> tuple[str, ...]:
        """Those of `paths` that are in the index, or new and not named by .gitignore."""
        flags = ("--cached", "--others", "--exclude-standard", "--deduplicate")
        return tuple(_split(self._run("ls-files", "-z", *flags, "--", *_literal(paths))))

    def submodules(self) -> frozenset[str]:
        """Paths of the submodules in the index, also of those that were never fetched."""
        rows = (row.partition("\t") for row in _split(self._run("ls-files", "-z", "--stage")))
        return frozenset(path for meta, _, path in rows if meta.startswith("160000"))

    def tracked(self, paths: Sequence[str]) -> tuple[str, ...]:
        """Those of `paths` that are in the index."""
        return tuple(_split(self._run("ls-files", "-z", "--cached", "--", *_literal(paths)))) if paths else ()

    def ignored(self, paths: Sequence[str]) -> tuple[str, ...]:
        """Those of `paths` that an ignore pattern names and that are not in the index; none may run through a link."""
        if not paths:
            return ()
        listing = b"".join(os.fsencode(path) + b"\0" for path in paths)
        code, out, error = self._try("check-ignore", "-z", "--stdin", stdin=listing)
        if code not in (0, 1):
            raise WorkspaceError(f"git cannot tell which files are ignored: {error.decode('utf-8', 'replace').strip()}")
        return tuple(_split(out))

    def accepts(self, *arguments: str) -> bool:
        """Whether a git command ends with exit code 0."""
        return self._try(*arguments)[0] == 0

    def write(self, *arguments: str, stdin: bytes = b"") -> bytes:
        """The output of a git command that may write, with the user's name and address from his own settings."""
        return self._run(*arguments, stdin=stdin)

    def _run(self, *arguments: str, stdin: bytes = b"") -> bytes:
        code, out, error = self._try(*arguments, stdin=stdin)
        if code != 0:
            said = (error.decode("utf-8", "replace").strip().splitlines() or [f"exit code {code}"])[-1]
            raise WorkspaceError(f"git {arguments[0]} failed in {self.root}: {said}")
        return out

    def _try(self, *arguments: str, stdin: bytes = b"") -> tuple[int, bytes, bytes]:
        if self._options is None:
            self._options = safe_options(self.root)
        if not stdin:
            return _execute(self.root, (*self._options, *arguments))
        with tempfile.TemporaryFile() as source:
            source.write(stdin)
            source.seek(0)
            return _execute(self.root, (*self._options, *arguments), source)


def environment(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment for a git command that `safe_options` begins: no prompt, no fetch, no program of the user's."""
    return {name: value for name, value in environ.items() if not name.startswith("GIT_")} | _ENVIRONMENT


def safe_options(root: Path) -> list[str]:
    """Options, to stand right behind `git`, that name the work tree and take every program out of its configuration."""
    options = [f"--git-dir={root / '.git'}", f"--work-tree={root}", "--no-pager"]
    options += [word for key, value in _OVERRIDES.items() for word in ("-c", f"{key}={value}")]
    return [*options, *(f"--config-env={key}={_EMPTY_VARIABLE}" for key in _filters(root, options))]


def _filters(root: Path, options: Sequence[str]) -> Iterator[str]:
    """The keys of every configured filter: they name programs. A key may hold "=", which ``-c`` cannot express."""
    pattern = r"^filter\..*\.(clean|smudge|process|required)$"
    _, out, _ = _execute(root, (*options, "config", "--includes", "--null", "--name-only", "--get-regexp", pattern))
    return _split(out)


def _execute(root: Path, arguments: Sequence[str], source: BinaryIO | None = None) -> tuple[int, bytes, bytes]:
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")  # else the import fails where there is no git
    from git import Git
    from git.exc import GitCommandNotFound

    try:
        running = Git(root).execute(["git", *arguments], istream=source, as_process=True, env=_ENVIRONMENT)
    except GitCommandNotFound as failure:
        raise WorkspaceError("git was not found; install it and put it on the PATH.") from failure
    # Not by kill_after_timeout: its timer outlives a Ctrl-C, and the program would wait for it.
    process = running.proc
    assert process is not None
    try:
        out, error = process.communicate(timeout=_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        out = b""
        with suppress(subprocess.TimeoutExpired):  # what it started may hold its pipes
            out, _ = process.communicate(timeout=1)
        error = f"git took longer than {_TIMEOUT:g} seconds".encode()
    return process.returncode, out, error


def repository(path: Path) -> RepositoryInfo:
    """The repository that `path` lies in. Raises `WorkspaceError` with one sentence where there is none to work in."""
    _check_directory(path)
    resolved = path.resolve()
    for directory in (resolved, *resolved.parents):
        if (directory / ".git").is_symlink():
            raise WorkspaceError(
                f"{directory / '.git'} is a link, which is not supported; open the directory it is in."
            )
        if (directory / ".git").exists():
            return _info(directory)
        if _is_bare(directory):
            raise WorkspaceError(f"{directory} is a bare repository without files; clone it and open the clone.")
    raise WorkspaceError(f"{path} is not in a git repository; run `git init` there first, or name another directory.")


def _check_directory(path: Path) -> None:
    try:
        exists = path.exists()
    except OSError as error:
        raise WorkspaceError(f"{path} cannot be opened: {error.strerror}.") from error
    if not exists:
        raise WorkspaceError(f"{path} does not exist; name the directory of a git repository.")
    if not path.is_dir():
        raise WorkspaceError(f"{path} is a file; name the directory of a git repository.")
    if not os.access(path, os.R_OK | os.X_OK):
        raise WorkspaceError(f"{path} cannot be read; check its permissions.")


def _info(root: Path) -> RepositoryInfo:
    git = GitReader(root)
    code, out, _ = git._try("rev-parse", "--is-bare-repository")  # noqa: SLF001 - same module
    if code != 0:
        raise WorkspaceError(f"{root / '.git'} is not a usable git repository; `git status` there says more.")
    if out.strip() == b"true" and not (root / ".git").is_dir():
        raise WorkspaceError(f"{root} is a bare repository without files; clone it and open the clone.")
    return RepositoryInfo(root, git.branch(), bare=False, empty=git.head() is None)


def _is_bare(directory: Path) -> bool:
    return (directory / "HEAD").is_file() and (directory / "objects").is_dir() and (directory / "refs").is_dir()


def _config_home() -> Path:
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")[:_LONGEST_PATTERNS]
    except OSError:
        return ""


def _split(out: bytes) -> Iterator[str]:
    return (os.fsdecode(part) for part in out.split(b"\0") if part)


def _literal(paths: Iterable[str]) -> list[str]:
    return [f":(top,literal){path}" for path in paths]
