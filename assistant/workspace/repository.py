"""Commits, branches and work trees in the user's own repository, only when asked; nothing in it can run a program.

Hooks, filters, monitors, signing and editors are off (see `GitReader`). A file that a filter would change on its way
into git (LFS, for one) is refused, since it would be stored as it must not be.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from assistant.workspace.errors import WorkspaceError
from assistant.workspace.git import GitReader

_BUSY = ("MERGE_HEAD", "CHERRY_PICK_HEAD", "REVERT_HEAD", "rebase-merge", "rebase-apply")


class Repository:
    """The user's repository. All methods raise `WorkspaceError` with one sentence."""

    def __init__(self, root: Path) -> None:
        self._git = GitReader(root)
        self.root = self._git.root

    def commit(self, message: str, paths: Sequence[str]) -> str:
        """Commit these files as they are now, and nothing that is staged besides; returns the commit."""
        if not message.strip():
            raise WorkspaceError("A commit needs a message.")
        if not paths:
            raise WorkspaceError("There is nothing to commit.")
        self.check_author()
        self._check_idle()
        self.check_filters(paths)
        listing = b"".join(os.fsencode(f":(top,literal){path}") + b"\0" for path in paths)
        from_input = ("--pathspec-from-file=-", "--pathspec-file-nul")
        self._git.write("add", "--all", "--force", *from_input, stdin=listing)
        flags = ("--quiet", "--no-verify", "--no-gpg-sign", "--no-post-rewrite", "--cleanup=whitespace")
        self._git.write("commit", *flags, "--only", f"--message={message}", *from_input, stdin=listing)
        return self._git.head() or ""

    def branch(self, name: str) -> None:
        """Make a branch where HEAD is, and be on it; files and index stay as they are."""
        self._git.write("branch", "--no-track", "--", self.new_branch(name), "HEAD")
        self._git.write("symbolic-ref", "HEAD", f"refs/heads/{name}")

    def worktree(self, folder: Path, branch: str) -> None:
        """Make a linked work tree in a new folder, on a new branch that begins at HEAD."""
        if os.path.lexists(folder):
            raise WorkspaceError(f"{folder} exists already; name a new folder.")
        self._git.write(
            "worktree", "add", "--quiet", "-b", self.new_branch(branch), "--", str(folder.absolute()), "HEAD"
        )

    def new_branch(self, name: str) -> str:
        """`name`, if a branch of that name can be made."""
        if name.startswith("-") or not self._git.accepts("check-ref-format", f"refs/heads/{name}"):
            raise WorkspaceError(f"{name!r} is no name for a branch; use letters, digits, - and /.")
        if self._git.accepts("show-ref", "--verify", "--quiet", f"refs/heads/{name}"):
            raise WorkspaceError(f"the branch {name} exists already; choose another name.")
        if self._git.head() is None:
            raise WorkspaceError("the repository has no commit yet; make one first.")
        return name

    def _check_idle(self) -> None:
        for name in _BUSY:
            if self._git.place(name).exists():
                raise WorkspaceError("a merge, rebase or cherry-pick is under way here; finish it first.")

    def check_author(self) -> None:
        """Refuse to commit for nobody."""
        if not self._git.accepts("var", "GIT_AUTHOR_IDENT"):
            raise WorkspaceError("git does not know who commits; set user.name and user.email first.")

    def check_filters(self, paths: Sequence[str]) -> None:
        """Refuse files that a filter would change on their way into git."""
        listing = b"".join(os.fsencode(path) + b"\0" for path in paths)
        fields = self._git.write("check-attr", "--stdin", "-z", "filter", stdin=listing).split(b"\0")
        for path, value in zip(fields[0::3], fields[2::3], strict=False):
            if value not in (b"unspecified", b"unset"):
                name, attribute = os.fsdecode(path), os.fsdecode(value)
                raise WorkspaceError(
                    f"{name} goes through the filter {attribute}, which is not run here; commit it yourself."
                )
