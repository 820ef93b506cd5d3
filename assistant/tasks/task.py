"""A task as a folder: `task.toml`, and `repo/` to be fixed, or `prompt.md` to be answered and `check.py` to judge."""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import re
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from assistant.errors import UserError

Kind = Literal["fix", "answer"]
"""Failing tests to mend, or a prompt to answer."""
FILE = "task.toml"
SKIPPED = frozenset({".git", "__pycache__", ".pytest_cache", ".mypy_cache", ".ruff_cache"})
"""Folders that are no part of a task: what comes of running it, and its history."""
_INSTALLED = frozenset({".venv", "venv", "node_modules", ".tox", ".nox"})
_ID = re.compile(r"\w[\w.+@-]{0,199}")
_NEEDED = ("id", "kind")
_LONGEST = 1e9
"""Seconds of a time limit; our choice."""


@dataclass(frozen=True, slots=True)
class Task:
    """A task in `folder`. `timeout_s` is seconds for all of it (None: no limit of its own); `tests` are ids that must
    pass in the end.

    For the kind "fix", `test` is the command that runs the tests (None: it is looked for) and `issue` says in words
    what is wrong. The folder itself is only read.
    """

    id: str
    folder: Path
    kind: Kind
    test: str | None = None
    timeout_s: float | None = None
    issue: str | None = None
    tests: tuple[str, ...] = ()
    language: str = ""

    @property
    def repo(self) -> Path:
        """The files to mend."""
        return self.folder / "repo"

    @property
    def prompt(self) -> Path:
        """What is asked."""
        return self.folder / "prompt.md"

    @property
    def check(self) -> Path:
        """The program that judges the reply, which it reads from its standard input: exit code 0 is solved."""
        return self.folder / "check.py"

    @property
    def digest(self) -> str:
        """SHA-256 of all that the task consists of: equal for equal tasks.

        Raises:
            UserError: a file cannot be read.
        """
        return folder_digest(self.folder)


def folder_digest(folder: Path) -> str:
    """SHA-256 over the names and bytes of a folder's files, without what is installed there, history and caches.

    Raises:
        UserError: a file cannot be read.
    """
    digest = hashlib.sha256()
    try:
        for path in _files(folder):
            content = os.fsencode(path.readlink()) if path.is_symlink() else path.read_bytes()
            for part in (os.fsencode(path.relative_to(folder)), content):
                digest.update(len(part).to_bytes(8, "big") + part)
    except OSError as error:
        raise UserError(f"{folder} cannot be read: {error.strerror} ({error.filename})") from None
    return digest.hexdigest()


def read_tasks(folder: Path) -> list[Task]:
    """All tasks in `folder` and the folders below, sorted by id; a task's own folders are not looked into.

    Raises:
        UserError: there is none, one is wrong, or two have the same id.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder; name one that holds tasks, each with a {FILE}")
    tasks = sorted(map(read_task, _task_folders(folder)), key=lambda task: task.id)
    if not tasks:
        raise UserError(f"there is no task in {folder}; a task is a folder with a {FILE}")
    (name, number), *_ = Counter(task.id.casefold() for task in tasks).most_common(1)
    if number > 1:
        places = " and ".join(str(task.folder) for task in tasks if task.id.casefold() == name)
        raise UserError(f"the id {name!r} is taken twice, in {places}; give each task an id of its own")
    return tasks


def read_task(folder: Path) -> Task:
    """The task in `folder`.

    Raises:
        UserError: it is not as it must be; one sentence that begins with the file's path.
    """
    path = folder / FILE
    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read: {error}") from None
    try:
        task = _task(values, folder.resolve())
        _check_files(task)
    except ValueError as error:
        raise UserError(f"{path}: {error}") from None
    return task


def write_task(task: Task) -> None:
    """Write `task.toml` into the task's folder, which is made if need be; what else it holds stays as it is.

    Raises:
        UserError: it cannot be written, or a value is none that can be read again.
    """
    path = task.folder / FILE
    values = {key: _value(task, key) for key in _KEYS if _value(task, key) not in (None, "", ())}
    try:
        _task(values, task.folder)
        task.folder.mkdir(parents=True, exist_ok=True)
        path.write_bytes("".join(f"{key} = {_toml(value)}\n" for key, value in values.items()).encode())
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be written: {error}") from None


def _value(task: Task, key: str) -> Any:
    return getattr(task, key)


def _toml(value: str | float | tuple[str, ...]) -> str:
    """JSON's strings, numbers and lists are TOML's, except that DEL is escaped too."""
    data = list(value) if isinstance(value, tuple) else value
    return json.dumps(data, ensure_ascii=False).replace("\x7f", "\\u007f")


def _task_folders(folder: Path) -> Iterator[Path]:
    for place, folders, files in os.walk(folder):
        if FILE in files:
            folders.clear()
            yield Path(place)
        else:
            folders[:] = [name for name in folders if name not in SKIPPED]


def _files(folder: Path) -> Iterator[Path]:
    """Files and links, in an order that no file system decides."""
    for entry in sorted(folder.iterdir(), key=lambda path: os.fsencode(path.name)):
        if entry.is_symlink() or entry.is_file():
            yield entry
        elif entry.is_dir() and entry.name not in SKIPPED | _INSTALLED:
            yield from _files(entry)


def _task(values: Mapping[str, Any], folder: Path) -> Task:
    """Raises ValueError."""
    for key in values:
        if key not in _KEYS:
            near = difflib.get_close_matches(key, _KEYS, 1)
            raise ValueError(f"unknown key {key!r}; " + (f"did you mean {near[0]!r}?" if near else f"use {_LIST}"))
    if missing := [key for key in _NEEDED if key not in values]:
        raise ValueError(f"the key {missing[0]!r} is missing")
    return Task(folder=folder, **{key: _KEYS[key](key, value) for key, value in values.items()})


def _check_files(task: Task) -> None:
    """Raises ValueError."""
    if task.kind == "fix" and not task.repo.is_dir():
        raise ValueError("a task of kind 'fix' needs the folder repo/ beside it")
    for path in (task.prompt, task.check):
        if task.kind == "answer" and not path.is_file():
            raise ValueError(f"a task of kind 'answer' needs the file {path.name} beside it")


def _text(key: str, value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{key!r} is text in quotes, and not empty")
    return value


def _id(key: str, value: Any) -> str:
    if not _ID.fullmatch(_text(key, value)):
        raise ValueError(f"the id {value!r} has to be letters, digits and . + @ - _, beginning with a letter or digit")
    return str(value)


def _kind(key: str, value: Any) -> Kind:
    for kind in get_args(Kind):
        if value == kind:
            return kind  # type: ignore[no-any-return]
    raise ValueError(f"{key!r} is one of {', '.join(get_args(Kind))}, not {value!r}")


def _seconds(key: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= _LONGEST:
        raise ValueError(f"{key!r} is a positive number of seconds, not {value!r}")
    return float(value)


def _ids(key: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(each, str) and each for each in value):
        raise ValueError(f"{key!r} is a list of test ids, each in quotes")
    return tuple(value)


_KEYS: Mapping[str, Callable[[str, Any], Any]] = {
    "id": _id,
    "kind": _kind,
    "test": _text,
    "timeout_s": _seconds,
    "issue": _text,
    "tests": _ids,
    "language": _text,
}
_LIST = ", ".join(_KEYS)
