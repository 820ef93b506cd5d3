"""A beginning for the snapshots of a view: what git knows of the repository, so that its files are not read again."""

from __future__ import annotations

import shutil
from pathlib import Path

from assistant.workspace.errors import WorkspaceError
from assistant.workspace.git import GitReader


def seed_snapshots(repository: Path, store: Path) -> None:
    """Give the store of a view's snapshots the repository's index, and its objects to read. Raises OSError.

    The files of a mount have the inodes and times that the index knows. Where attributes convert line endings the
    first snapshot holds files as git does; what a snapshot cannot use it makes anew.
    """
    git = GitReader(repository)
    try:
        index, objects = git.place("index"), git.place("objects")
    except WorkspaceError:
        return
    if not index.is_file():
        return
    information = store / "git/objects/info"
    information.mkdir(parents=True, exist_ok=True)
    store.chmod(0o700)
    (information / "alternates").write_text(f"{objects.resolve()}\n", "utf-8", "surrogateescape")
    for place in (index, *index.parent.glob("sharedindex.*")):
        shutil.copyfile(place, store / "git" / place.name)
