"""A copy of a repository to work in: the files git knows or does not ignore, and a git history of its own."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from assistant.errors import UserError
from assistant.fix.cloning import DEPENDENCIES
from assistant.safety.confinement.private import private_folder
from assistant.workspace.files import Workspace
from assistant.workspace.plain_git import ATTRIBUTES, plain_git

__all__ = ["DEPENDENCIES", "WorkingCopy", "working_copy"]

_MAX_FILES = 200_000


@dataclass(frozen=True, slots=True)
class WorkingCopy:
    """The copy. Its git directory is ours: no hook, filter or setting of the original came along."""

    root: Path

    def patch(self) -> str:
        """What changed since the copy was made, as `git apply` takes it."""
        self._git("add", "--all")
        return self._git("diff", "--cached", "--binary", "--no-color", "--no-ext-diff", "HEAD")

    def files(self) -> list[str]:
        """The files that changed, sorted."""
        self._git("add", "--all")
        names = self._git("diff", "--cached", "--name-only", "-z", "--no-renames", "HEAD")
        return sorted(name for name in names.split("\0") if name)

    def tree(self) -> str:
        """The git tree that the copy's files make now."""
        self._git("add", "--all")
        return self._git("write-tree").strip()

    def drop_ignored(self) -> None:
        """Remove what git ignores: nothing of it came from the original, and no patch would bring it there."""
        self._git("clean", "-ffdXq")

    def restore(self, paths: list[str]) -> None:
        """Bring these files back to what they were."""
        known = [path for path in paths if self._git("ls-tree", "--name-only", "HEAD", "--", path)]
        if known:
            self._git("checkout", "--quiet", "HEAD", "--", *known)
        for path in set(paths) - set(known):
            (self.root / path).unlink(missing_ok=True)

    def begin(self) -> None:
        """Make the first commit, which everything is compared with."""
        self._git("init", "--quiet")
        self._git("config", "core.autocrlf", "false")
        self._git("config", "core.fileMode", "true")
        (self.root / ".git/info").mkdir(exist_ok=True)
        (self.root / ".git/info/attributes").write_text(ATTRIBUTES)
        self._git("add", "--all", "--force")
        self._git("commit", "--quiet", "--allow-empty", "--no-verify", "-m", "as it was")

    def _git(self, *arguments: str) -> str:
        return plain_git(self.root, *arguments, failing="the working copy cannot be used")


@contextmanager
def working_copy(workspace: Workspace) -> Iterator[WorkingCopy]:
    """A copy of the repository's files in a temporary folder, which is gone afterwards.

    Raises:
        UserError: the files cannot be copied (no space, not readable).
    """
    with private_folder() as folder:
        root = folder / workspace.root.name
        root.mkdir()
        try:
            for name in workspace.list(limit=_MAX_FILES).paths:
                if set(DEPENDENCIES).isdisjoint(Path(name).parts):
                    _copy(workspace.root / name, root / name)
        except OSError as error:
            raise UserError(f"the repository cannot be copied: {error.strerror} ({error.filename})") from None
        copy = WorkingCopy(root)
        copy.begin()
        yield copy


def _copy(source: Path, target: Path) -> None:
    """Copy a file with its mode; a link stays a link; a folder (a submodule) or a file that is gone is left out."""
    if source.is_symlink():
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(source.readlink())
    elif source.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target)
