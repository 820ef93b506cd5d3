"""Hands over a proven patch: as a file, or as a commit on a new branch; the user's files stay as they are."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from assistant.errors import UserError
from assistant.fix.message import Occasion, commit_message
from assistant.fix.report import FixReport
from assistant.workspace.errors import WorkspaceError
from assistant.workspace.git import GitReader, environment, safe_options
from assistant.workspace.repository import Repository

_COMMITS = 50
"""Commits whose messages show the repository's style (our choice)."""
_TIMEOUT = 60.0
_UTF8 = ("-c", "i18n.commitEncoding=utf-8", "-c", "i18n.logOutputEncoding=utf-8")
_APPLY = ("apply", "--cached", "--whitespace=nowarn", "--no-ignore-whitespace", "-")


@dataclass(frozen=True, slots=True)
class Delivered:
    """The commit at the tip of the new branch. `note` is what the user should know of it, or empty."""

    branch: str
    commit: str
    note: str = ""


def check_branch(root: Path, name: str) -> None:
    """Whether a commit could be put on such a branch: to be asked before the work begins.

    Raises:
        UserError: the name is none or is taken, there is no commit yet, or git does not know who commits.
    """
    repository = Repository(root)
    repository.new_branch(name)
    repository.check_author()


def commit_on_branch(report: FixReport, root: Path, name: str, *, issue: str | None = None) -> Delivered:
    """Make a branch at HEAD with one commit more: the patch, with a message in the repository's own style.

    Index, files and the branch that is checked out stay as they are. No hook, filter or signing program runs.

    Raises:
        UserError: see `check_branch`; or the patch does not apply to the last commit.
    """
    check_branch(root, name)
    Repository(root).check_filters(report.files)
    reader = GitReader(root)
    head = reader.head() or ""
    unsaved = [entry.path for entry in reader.status()]
    tree = _tree(report, root, head, unsaved)
    said = commit_message(report, history(root), _occasion(reader, name, issue))
    flags = ("--no-gpg-sign", "-p", head, "-F", "-", tree)
    commit = reader.write(*_UTF8, "commit-tree", *flags, stdin=said.encode()).decode().strip()
    _point(reader, name, commit)
    return Delivered(name, commit, " ".join(_notes(reader, unsaved)))


def history(root: Path) -> tuple[str, ...]:
    """The messages of the last commits that are no merges, newest first."""
    flags = ("--no-merges", "--no-show-signature", "--no-color", f"--max-count={_COMMITS}", "--format=%B%x00")
    messages = GitReader(root).write(*_UTF8, "log", *flags, "HEAD").decode("utf-8", "replace").split("\0")
    return tuple(message.strip() for message in messages if message.strip())


def write_patch(file: Path, patch: str) -> None:
    """The patch, byte for byte. Raises `UserError` where the file cannot be written."""
    try:
        file.write_bytes(patch.encode("utf-8", "surrogateescape"))
    except OSError as error:
        raise UserError(f"the patch cannot be written to {file}: {error.strerror}") from None


def _notes(reader: GitReader, unsaved: Sequence[str]) -> Iterator[str]:
    if unsaved:
        yield "It was tested together with changes that are not committed."
    if reader.write("config", "--type=bool", "--default=false", "--get", "commit.gpgSign").strip() == b"true":
        yield "It is not signed, though your settings ask for that."


def _occasion(reader: GitReader, name: str, issue: str | None) -> Occasion:
    author = reader.write("var", "GIT_COMMITTER_IDENT").decode("utf-8", "replace")
    return Occasion(f"{author.rpartition('>')[0]}>", (name, reader.branch() or "", issue or ""))


def _tree(report: FixReport, root: Path, head: str, unsaved: Sequence[str]) -> str:
    """The tree of HEAD with the patch. Where git keeps other line endings than the files have, it gets git's."""
    patch = report.patch.encode("utf-8", "surrogateescape")
    with tempfile.TemporaryDirectory(prefix="kat-branch-") as folder:
        index = Path(folder) / "index"
        _with_index(index, root, "read-tree", head)
        reasons = []
        for version in dict.fromkeys((patch, patch.replace(b"\r\n", b"\n"))):
            code, said = _with_index(index, root, *_APPLY, stdin=version)
            if code == 0:
                return _with_index(index, root, "write-tree")[1].strip()
            reasons.append(said)
    raise UserError(_why_not(report.files, unsaved, reasons[0]))


def _why_not(files: Sequence[str], unsaved: Sequence[str], reason: str) -> str:
    mixed = sorted({*files} & {*unsaved})
    if not mixed:
        return f"the patch does not apply to the last commit: {' '.join(reason.split())[:200]}"
    named = mixed[0] if len(mixed) == 1 else f"{mixed[0]} and {len(mixed) - 1} more"
    return (
        f"the patch builds on changes to {named} that are not committed, so no branch can begin at the last commit; "
        "commit them first, or take the patch with --apply or --patch FILE"
    )


def _point(reader: GitReader, name: str, commit: str) -> None:
    """Make the branch, unless there is one by now."""
    try:
        reader.write("update-ref", "-m", "kat fix", "--", f"refs/heads/{name}", commit, "")
    except WorkspaceError as error:
        raise UserError(f"the branch {name} cannot be made; choose another name ({error})") from None


def _with_index(index: Path, root: Path, *arguments: str, stdin: bytes = b"") -> tuple[int, str]:
    """The exit code of a git command with this index, and its output or, where it failed, what it complained of."""
    done = subprocess.run(
        ["git", *safe_options(root), *arguments],
        cwd=root,
        env=environment() | {"GIT_INDEX_FILE": str(index)},
        input=stdin,
        capture_output=True,
        timeout=_TIMEOUT,
        check=False,
    )
    return done.returncode, (done.stderr if done.returncode else done.stdout).decode("utf-8", "replace")
