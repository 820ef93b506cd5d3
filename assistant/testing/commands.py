"""Finds the command that runs the tests of a repository."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Mapping

from assistant.testing.finders import javascript, others, python
from assistant.testing.finders.place import Found, Place
from assistant.workspace.errors import WorkspaceError
from assistant.workspace.files import Workspace

_FINDERS: tuple[Callable[[Place], Found | None], ...] = (
    python.find,
    javascript.find,
    javascript.find_deno,
    others.go,
    others.cargo,
    others.maven,
    others.gradle,
    others.cmake,
    others.dotnet,
    others.ruby,
    others.elixir,
    others.php,
    python.find_bare,
    others.make,
)
"""In the order in which they are asked; the first that finds something is right."""
_DEEPEST = 3
_MOST = 40
"""Folders below the root that are looked into, and how many; our choice."""
_PROJECTS = frozenset(
    {
        "pyproject.toml",
        "setup.py",
        "setup.cfg",
        "pytest.ini",
        "tox.ini",
        "package.json",
        "deno.json",
        "go.mod",
        "Cargo.toml",
        "pom.xml",
        "build.gradle",
        "build.gradle.kts",
        "CMakeLists.txt",
        "Gemfile",
        "Rakefile",
        "mix.exs",
        "composer.json",
        "phpunit.xml",
        "Makefile",
    }
)
_FOREIGN = frozenset({"node_modules", "vendor", "third_party", "examples", "example", "docs", "fixtures", "testdata"})


def find_test_command(workspace: Workspace, environ: Mapping[str, str] = os.environ) -> str | None:
    """The command that runs the tests of this repository, or None where nothing says how."""
    found = find_tests(workspace, environ)
    return found.command if found else None


def find_tests(
    workspace: Workspace, environ: Mapping[str, str] = os.environ, *, python: str = sys.executable
) -> Found | None:
    """The command and what named it: in the root, else in the folder nearest to it that says something.

    `python` is the interpreter of ours that is used where the user's have no pytest.
    """
    at_root = _found(Place(workspace, environ, "", python))
    if at_root is not None:
        return at_root
    for folder in _folders(workspace):
        if found := _found(Place(workspace, environ, folder, python)):
            return Found(f"cd {shlex.quote(folder)} && {found.command}", f"{folder}/{found.why}")
    return None


def with_target(command: str, target: str) -> str:
    """The test command for one file, directory or test id, given as one shell word each."""
    words = shlex.split(target)
    if any(word.startswith("-") for word in words):
        raise WorkspaceError("A target is a path or a test id, not an option.")
    return shlex.join(words) if not command else f"{command} {shlex.join(words)}"


def _found(place: Place) -> Found | None:
    return next((found for find in _FINDERS if (found := find(place))), None)


def _folders(workspace: Workspace) -> list[str]:
    """Folders that hold a project, those nearest to the root first."""
    parted = (path.split("/") for path in workspace.list(limit=100_000).paths)
    folders = {
        "/".join(above)
        for *above, name in parted
        if name in _PROJECTS and 0 < len(above) <= _DEEPEST and _FOREIGN.isdisjoint(above)
    }
    return sorted(folders, key=lambda folder: (folder.count("/"), folder))[:_MOST]
