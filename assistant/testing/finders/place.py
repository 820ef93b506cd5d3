"""The folder of a project, as finders see it."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from assistant.safety.confinement.toolchains import command_path
from assistant.workspace.errors import WorkspaceError
from assistant.workspace.files import Workspace


@dataclass(frozen=True, slots=True)
class Found:
    """A command that runs tests, and which file said so."""

    command: str
    why: str


@dataclass(frozen=True, slots=True)
class Place:
    """A folder of the repository, by its path relative to the root ("" is the root itself).

    `python` is the interpreter that we run on, for projects that have none with pytest.
    """

    workspace: Workspace
    environ: Mapping[str, str]
    folder: str = ""
    python: str = sys.executable

    @property
    def root(self) -> Path:
        """The folder itself."""
        return self.workspace.root / self.folder

    @property
    def path(self) -> str:
        """Where the user's programs lie, as in PATH."""
        return command_path(self.environ, self.workspace.root, sandboxed=False)

    def has(self, *names: str) -> str:
        """The first of these names that is there, or an empty string."""
        return next((name for name in names if self._exists(name)), "")

    def matching(self, *patterns: str) -> str:
        """The first name in the folder that matches one of these, or an empty string."""
        try:
            names = sorted(os.listdir(self.root))  # noqa: PTH208 - names are all that is wanted
        except OSError:
            return ""
        return next((name for pattern in patterns for name in names if fnmatch(name, pattern)), "")

    def text(self, name: str) -> str:
        """What a file holds; nothing where it cannot be read."""
        try:
            return self.workspace.read(self._path(name)).text
        except WorkspaceError:
            return ""

    def json(self, name: str, *keys: str) -> Any:
        """A value of a JSON file; None where there is none."""
        return _value(lambda: json.loads(self.text(name)), keys)

    def toml(self, name: str, *keys: str) -> Any:
        """A value of a TOML file; None where there is none."""
        return _value(lambda: tomllib.loads(self.text(name)), keys)

    def files(self, pattern: str) -> tuple[str, ...]:
        """Paths that match, relative to the repository; what git ignores is left out."""
        found = self.workspace.list(pattern, limit=5_000).paths
        return tuple(path for path in found if not self.folder or path.startswith(f"{self.folder}/"))

    def program(self, name: str) -> str:
        """Where a program of the user's lies, or an empty string; one in the repository is never found."""
        found = shutil.which(name, path=self.path) or ""
        return "" if self.workspace.root in Path(found).parents else found

    def _path(self, name: str) -> str:
        return f"{self.folder}/{name}" if self.folder else name

    def _exists(self, name: str) -> bool:
        try:
            return self.workspace.exists(self._path(name))
        except WorkspaceError:
            return False


def _value(load: Callable[[], Any], keys: tuple[str, ...]) -> Any:
    try:
        value = load()
        for key in keys:
            value = value[key]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return value
