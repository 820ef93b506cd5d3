"""Python: pytest wherever it is installed, since it runs unittest's tests too and names them all."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import PurePosixPath

from assistant.testing.finders.place import Found, Place
from assistant.testing.paths import is_test_file

_MARKS = ("pyproject.toml", "pytest.ini", "tox.ini", "setup.cfg", "setup.py", "manage.py", "conftest.py")
_PYTEST = re.compile(r"^\[(?:tool\.pytest\b|tool:pytest\]|pytest\])|^\[pytest", re.MULTILINE)
_TESTS = ("test", "tests")
_RUNNERS: tuple[tuple[tuple[str, ...], str], ...] = (
    (("tool", "pdm", "scripts"), "pdm run {}"),
    (("tool", "poe", "tasks"), "poe {}"),
    (("tool", "hatch", "envs", "default", "scripts"), "hatch run {}"),
    (("tool", "taskipy", "tasks"), "task {}"),
)


def find(place: Place) -> Found | None:
    """A project of Python that says so, and has tests if it may be one of another language too."""
    mark = place.has(*_MARKS)
    if not mark or (_mixed(place) and not _PYTEST.search(place.text(mark)) and not _test_file(place)):
        return None
    return _found(place, mark)


def find_bare(place: Place) -> Found | None:
    """Tests of Python in a folder that says nothing; those of a project further in are run from there."""
    test = _test_file(place)
    above = [str(parent) for parent in PurePosixPath(test).parents][:-1]
    inner = (f"{folder}/{mark}" for folder in above for mark in _MARKS[:-1])
    return _found(place, test) if test and not place.has(*inner) else None


def _mixed(place: Place) -> bool:
    return bool(place.has("package.json", "go.mod", "Cargo.toml", "pom.xml", "CMakeLists.txt", "mix.exs", "Gemfile"))


def _test_file(place: Place) -> str:
    """A test below the folder, by its path relative to that."""
    inside = (path.removeprefix(f"{place.folder}/") for path in place.files("*.py"))
    return next((path for path in inside if is_test_file(path)), "")


def _found(place: Place, why: str) -> Found:
    """pytest by an interpreter of the user's, else what the project says, else our own pytest, else unittest."""
    if place.has("manage.py") and not _PYTEST.search(place.text("pyproject.toml") + place.text("pytest.ini")):
        return Found(f"{_python(place)} manage.py test -v 2", "manage.py")
    if any(list(place.root.glob(f"{venv}/lib/python3*/site-packages/pytest")) for venv in (".venv", "venv")):
        return Found("python -m pytest -q", why)
    found = (_pytest(place, python, why) for python in ("python", "python3"))
    return (
        next(filter(None, found), None)
        or next(_said(place), None)
        or _pytest(place, place.python, why)
        or Found(f"{_python(place)} -m unittest discover -v", why)
    )


def _pytest(place: Place, python: str, why: str) -> Found | None:
    program = place.program(python)
    return Found(f"{shlex.quote(python)} -m pytest -q", why) if program and _has_pytest(program, place.path) else None


def _python(place: Place) -> str:
    if place.has(".venv/bin/python", "venv/bin/python"):
        return "python"
    return shlex.quote(next((name for name in ("python", "python3", place.python) if place.program(name)), "python"))


def _said(place: Place) -> Iterator[Found]:
    """Scripts of the project for programs that are installed."""
    for keys, form in _RUNNERS:
        scripts = place.toml("pyproject.toml", *keys)
        name = next((name for name in _TESTS if isinstance(scripts, dict) and name in scripts), "")
        if name and place.program(form.partition(" ")[0]):
            yield Found(form.format(name), f"pyproject.toml ({'.'.join(keys)})")
    for file, program, command in (("tox.ini", "tox", "tox -q"), ("noxfile.py", "nox", "nox")):
        if place.has(file) and place.program(program):
            yield Found(command, file)


def _has_pytest(python: str, path: str) -> bool:
    """Ask an interpreter of the user's own PATH; one that lies in the repository is never run outside the sandbox."""
    command = [python, "-I", "-c", "import pytest"]
    environment = {**os.environ, "PATH": path}
    try:
        done = subprocess.run(command, cwd="/", env=environment, capture_output=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
