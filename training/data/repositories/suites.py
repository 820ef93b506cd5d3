"""The tests of a source, run in fresh throw-away copies in the sandbox, under an environment of their own."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from assistant.config import Settings
from assistant.errors import UserError
from assistant.fix.bench import Bench
from assistant.fix.changes import Changes
from assistant.fix.request import FixRequest
from assistant.fix.views import views
from assistant.safety.choice import sandbox_for
from assistant.testing.commands import find_tests
from assistant.testing.report import TestReport
from assistant.testing.selecting import with_tests
from assistant.workspace.files import Workspace
from training.data.repositories.environments import variables

FIRST = 300.0
"""Seconds that a run of tests may take of which nobody knows how long it takes; our choice."""
_PATIENCE = 4.0
"""How many times as long as before a run may take, and in seconds beside that; our choice."""
_NOTHING = Changes()
_SETTINGS = {"pytest.ini": "", ".pytest.ini": "", "pyproject.toml": "[tool.pytest", "tox.ini": "[pytest]"}
_SETTINGS |= {"setup.cfg": "[tool:pytest]", "pytest.toml": "", ".pytest.toml": ""}
"""Files in which pytest finds its settings, and what stands in them then."""
_PYTEST = "python -m pytest -q"
_IS_PYTEST = re.compile(r"(?:\w+=\S* )*(?:python[\d.]* -m )?pytest\b[^;&|]*$")
_GOING_ON = " --continue-on-collection-errors"


@dataclass(frozen=True, slots=True)
class Suite:
    """A source's tests: where they run, and the interpreter (empty: whichever is on the PATH)."""

    bench: Bench
    python: str = ""

    async def run(
        self,
        changes: Changes = _NOTHING,
        *,
        number: int = 1,
        ids: Iterable[str] = (),
        seconds: float = FIRST,
        first: bool = False,
    ) -> TestReport:
        """Run the tests, or only `ids` where the command can say so, on the source with `changes`, in a fresh copy.

        `number` seeds the hashes of texts, so that the order of sets is another in each of several runs, and the same
        when all is done again. `seconds` is what the run may take. With `first` it may end where one test fails.
        """
        names = tuple(ids)
        command = (with_tests(self.bench.command, names) if names else None) or self.bench.command
        env = {"PYTHONHASHSEED": str(number)} | ({"PYTEST_ADDOPTS": "-x"} if first else {})
        return await self.bench.tests(changes, command=command, timeout=seconds, env=env)


@contextmanager
def suite(root: Path, command: str, python: str = "") -> Iterator[Suite]:
    """The tests that `command` runs in the folder `root`, which is only read.

    Raises:
        UserError: no views of the folder can be made.
    """
    settings, environ = Settings(), variables(python)
    sandbox = sandbox_for(root, settings, environ)
    with views(root) as layers:
        yield Suite(Bench(FixRequest(root, settings, command), Workspace(root), sandbox, layers, command), python)


def patience(seconds: float) -> float:
    """Seconds that a run may take which took `seconds` before."""
    return seconds * _PATIENCE + _PATIENCE


def command_of(root: Path, python: str = "") -> str:
    """The command that runs the tests in `root`, by names that are right on every machine.

    pytest is held to the source's own settings: those of a folder above are not its own. Packages in `src` are found.

    Raises:
        UserError: nothing says how tests run.
    """
    found = find_tests(Workspace(root), variables(python), python="python" if python else "")
    if found is None:
        raise UserError(f"no tests were found in {root.name}; say how they run")
    if found.command != _PYTEST:
        return found.command
    alone = "" if _has_settings(root) else " -c /dev/null --rootdir=."
    return f"{'PYTHONPATH=src ' if _in_src(root) else ''}{_PYTEST}{alone}"


def without_options(command: str) -> str:
    """The command, free of the options that the settings of the source add (they may ask for plugins)."""
    return f"{command} -o addopts="


def going_on(command: str) -> str:
    """The command, which runs the other tests too where a file of them cannot be read, as new tests of old code."""
    return f"{command}{_GOING_ON}" if _IS_PYTEST.match(command) and _GOING_ON not in command else command


def reversed_order(command: str, ids: Sequence[str]) -> str | None:
    """The command that runs these tests the last first: by their ids, or by their files where those are too many."""
    files = tuple(dict.fromkeys(name.partition("::")[0] for name in reversed(ids)))
    simple = all(re.fullmatch(r"[\w./:-]+", name) for name in ids)
    by_id = with_tests(command, tuple(reversed(ids))) if simple else None
    return by_id or with_tests(command, files)


def _has_settings(root: Path) -> bool:
    return any(
        (root / name).is_file() and mark in (root / name).read_text("utf-8", "replace")
        for name, mark in _SETTINGS.items()
    )


def _in_src(root: Path) -> bool:
    inside = (root / "src").iterdir() if (root / "src").is_dir() else ()
    return any(place.suffix == ".py" or (place / "__init__.py").is_file() for place in inside)
