"""A git directory of our own beside a repository's files: the repository's own git is neither read nor written by it.

Its configuration and environment are ours alone, so that nothing that lies in the repository can make git run a program
or change bytes: no hooks, filters, line-ending conversion, monitors, pagers, signing; no system or user configuration.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from assistant.workspace.errors import WorkspaceError

_CONFIG = """\
[core]
	repositoryFormatVersion = 0
	bare = false
	fileMode = true
	symlinks = true
	autocrlf = false
	protectHFS = false
	protectNTFS = false
	looseCompression = 1
	attributesFile = /dev/null
	excludesFile = /dev/null
	hooksPath = /dev/null
	fsmonitor = false
	pager = cat
	quotePath = false
[gc]
	auto = 0
	packRefs = false
[maintenance]
	auto = false
[submodule]
	recurse = false
[advice]
	addEmbeddedRepo = false
[index]
	threads = false
"""
_ATTRIBUTES = "* -text -filter -ident -working-tree-encoding -eol !diff !merge\n"
"""Above every .gitattributes of the repository: bytes stay as they are, and a diff shows them."""
_ENVIRONMENT = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_COUNT": "0",
    "GIT_CONFIG_PARAMETERS": "",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES": "",
    "GIT_NAMESPACE": "",
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_ALLOW_PROTOCOL": "none",
    "GIT_EXTERNAL_DIFF": "",
    "GIT_PAGER": "cat",
    "GIT_ASKPASS": "false",
    "GIT_SSH_COMMAND": "false",
    "GIT_LITERAL_PATHSPECS": "0",
    "GIT_GLOB_PATHSPECS": "0",
    "GIT_NOGLOB_PATHSPECS": "0",
    "GIT_ICASE_PATHSPECS": "0",
    "LC_ALL": "C",
}


class ShadowGit:
    """Runs git on the files at `root` with the git directory in `store`, which is made if need be (mode 0700)."""

    def __init__(self, root: Path, store: Path) -> None:
        from git import Git

        self.root = root
        self.store = store
        self.directory = store / "git"
        self._git = Git(root)
        self._lock: tuple[int, ...] = ()
        self._git.update_environment(**_ENVIRONMENT, **self._places())
        try:
            self._prepare()
        except OSError as error:
            raise WorkspaceError(f"Snapshots cannot be kept in {store}: {error.strerror}.") from error

    def run(self, *arguments: str, stdin: bytes = b"") -> bytes:
        """The output of a git command. Raises `WorkspaceError` where it fails."""
        code, out, said = self.execute(*arguments, stdin=stdin)
        if code != 0:
            reason = said.splitlines()[-1] if said else f"code {code}"
            raise WorkspaceError(f"A snapshot could not be made or read: {reason}.")
        return out

    def execute(self, *arguments: str, stdin: bytes = b"") -> tuple[int, bytes, str]:
        """Exit code, output and what was said. Arguments are ours: data goes to standard input, or behind ``--``."""
        with tempfile.TemporaryFile() as source:
            source.write(stdin)
            source.seek(0)
            code, out, error = self._git.execute(
                ["git", "--no-pager", *arguments],
                istream=source,
                with_extended_output=True,
                with_exceptions=False,
                stdout_as_string=False,
                strip_newline_in_stdout=False,
                pass_fds=self._lock,
            )
        return code, bytes(out), (error if isinstance(error, str) else error.decode("utf-8", "replace")).strip()

    def blob(self, name: str) -> bytes:
        """The content of a blob, from one process that answers for all."""
        try:
            found: bytes = self._git.get_object_data(name)[3]
        except ValueError as error:
            raise WorkspaceError("A snapshot is no longer complete; what it held cannot be brought back.") from error
        return found

    def has(self, name: str) -> bool:
        """Whether an object is there."""
        try:
            self._git.get_object_header(name)
        except ValueError:
            return False
        return True

    def index_stamp(self) -> tuple[int, ...] | None:
        """Changes whenever some process writes our index."""
        try:
            info = (self.directory / "index").stat()
        except FileNotFoundError:
            return None
        return info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns

    def collect(self) -> None:
        """Let git make room in a process that outlives this one; what others write meanwhile is young, and stays."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        command = ["git", "gc", "--quiet", "--prune=2.hours.ago"]
        null = [(os.POSIX_SPAWN_OPEN, stream, os.devnull, os.O_RDWR, 0) for stream in range(3)]
        with suppress(OSError):
            os.posix_spawnp("git", command, environment | _ENVIRONMENT | self._places(), file_actions=null, setpgroup=0)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One process at a time; what another one that was killed left locked is cleared.

        The git processes that begin here hold the lock too: they may outlive a killed parent.
        """
        if not self.directory.exists():  # somebody removed it while we work
            self._prepare()
        with (self.store / "lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            (self.directory / "index.lock").unlink(missing_ok=True)
            self._lock = (file.fileno(),)
            try:
                yield
            finally:
                self._lock = ()

    def mend(self) -> None:
        """Drop the index, which is made anew from the files, and objects that a power failure left empty."""
        (self.directory / "index").unlink(missing_ok=True)
        for path in (self.directory / "objects").glob("??/*"):
            if path.stat().st_size == 0:
                path.unlink()

    def close(self) -> None:
        """End the process that reads blobs."""
        with suppress(Exception):  # it may have died already
            self._git.clear_cache()

    def _places(self) -> dict[str, str]:
        names = {"GIT_DIR": "", "GIT_COMMON_DIR": "", "GIT_INDEX_FILE": "index", "GIT_OBJECT_DIRECTORY": "objects"}
        return {key: str(self.directory / name) for key, name in names.items()} | {"GIT_WORK_TREE": str(self.root)}

    def _prepare(self) -> None:
        self.store.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in ("objects", "refs/trees", "info"):
            (self.directory / name).mkdir(mode=0o700, parents=True, exist_ok=True)
        for name, text in (("config", _CONFIG), ("info/attributes", _ATTRIBUTES), ("HEAD", "ref: refs/heads/none\n")):
            self._write(name, text)

    def _write(self, name: str, text: str) -> None:
        path = self.directory / name
        if not path.exists() or path.read_text("utf-8") != text:
            fresh = path.with_name(f"{path.name}.{os.getpid()}")
            fresh.write_text(text, "utf-8")
            fresh.replace(path)

    def exclude(self, patterns: str) -> None:
        """Set the patterns that are ignored beside those of .gitignore files."""
        self._write("info/exclude", patterns)
