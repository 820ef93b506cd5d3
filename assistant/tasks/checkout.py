"""A task's files as a git repository, of which the task itself notices nothing."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from assistant.errors import UserError
from assistant.safety.confinement.private import private_folder
from assistant.tasks.task import SKIPPED, Task

_ENVIRONMENT = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_AUTHOR_NAME": "KAT Pilot",
    "GIT_AUTHOR_EMAIL": "kat@localhost",
    "GIT_COMMITTER_NAME": "KAT Pilot",
    "GIT_COMMITTER_EMAIL": "kat@localhost",
}
_ATTRIBUTES = "* -text -filter -ident -working-tree-encoding\n"


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
    (target / ".git/info/attributes").write_text(_ATTRIBUTES)
    _git(target, "add", "--all")
    _git(target, "commit", "--quiet", "--allow-empty", "--no-verify", "-m", "as it was")


def _git(root: Path, *arguments: str) -> None:
    done = subprocess.run(
        ["git", "-c", "core.hooksPath=/dev/null", "-c", "core.autocrlf=false", *arguments],
        cwd=root,
        env={"PATH": os.environ.get("PATH", os.defpath), **_ENVIRONMENT},
        capture_output=True,
        timeout=300,
        check=False,
    )
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip()[:200]
        raise UserError(f"git {arguments[0]} failed in a copy of the task: {reason}")
