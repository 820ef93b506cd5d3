"""A task's files as a git repository, of which the task itself notices nothing."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from assistant.errors import UserError
from assistant.safety.confinement.private import private_folder
from assistant.tasks.task import SKIPPED, Task
from assistant.workspace.plain_git import ATTRIBUTES, plain_git


@asynccontextmanager
async def checked_out(task: Task) -> AsyncIterator[Path]:
    """The root of a repository with the task's files: its own, or a copy with one commit, which is gone afterwards.

    The copy keeps the task out of a repository that its folder may happen to lie in, which may well ignore it.

    Raises:
        UserError: the files cannot be copied.
    """
    if (task.repo / ".git").exists():
        yield task.repo
        return
    with private_folder() as folder:
        await asyncio.to_thread(_copy, task.repo, folder / "repo")
        yield folder / "repo"


def _copy(source: Path, target: Path) -> None:
    try:
        shutil.copytree(source, target, symlinks=True, ignore=shutil.ignore_patterns(*SKIPPED))
    except shutil.Error as error:
        path, _, reason = error.args[0][0]
        raise UserError(f"the task's files cannot be copied: {reason} ({path})") from None
    except OSError as error:
        raise UserError(f"the task's files cannot be copied from {source}: {error.strerror}") from None
    _git(target, "init", "--quiet", "--template=", "--initial-branch=main")
    (target / ".git/info").mkdir()
    (target / ".git/info/attributes").write_text(ATTRIBUTES)
    _git(target, "add", "--all")
    _git(target, "commit", "--quiet", "--allow-empty", "--no-verify", "-m", "as it was")


def _git(root: Path, *arguments: str) -> None:
    plain_git(root, *arguments, failing="no history could be made for a copy of the task")
