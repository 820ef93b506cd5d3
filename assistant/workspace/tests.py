"""Finds the tests of a repository, runs them in the sandbox and reads what came of each."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assistant.safety.confinement.toolchains import command_path
from assistant.safety.sandbox import Sandbox
from assistant.safety.sanitize import sanitize
from assistant.workspace.errors import WorkspaceError
from assistant.workspace.files import Workspace

_ENVIRONMENT = {"PYTEST_ADDOPTS": "-rA -p no:cacheprovider", "COLUMNS": "200", "CI": "1"}
_OUTPUT_LIMIT = 4_000_000
_PYTHON_MARKS = ("pyproject.toml", "pytest.ini", "tox.ini", "setup.cfg", "setup.py", "conftest.py")
_TEST_FILE = re.compile(
    r"(^|/)(tests?|__tests__|spec)/|(^|/)(test_[^/]*|[^/]*_test|tests|conftest)\.py$"
    r"|_test\.go$|\.(test|spec)\.[cm]?[jt]sx?$|(^|/)[^/]*(Test|Tests|Spec)\.(java|kt|cs|swift)$|_spec\.rb$"
)
_NOT_FOUND = 127
_NOT_EXECUTABLE = 126
_PYTEST_USAGE = 4
_PYTEST_NOTHING = 5


@dataclass(frozen=True, slots=True)
class TestReport:
    """What a test run gave. `ran` is False where no test ran at all, and `problem` says why in one sentence.

    `passed` and `failed` are ids as the runner prints them; both are empty where it prints none.
    """

    __test__ = False

    command: str
    exit_code: int
    passed: tuple[str, ...]
    failed: tuple[str, ...]
    output: str
    timed_out: bool
    seconds: float
    ran: bool
    problem: str = ""

    @property
    def ok(self) -> bool:
        """Whether tests ran, and all of them passed."""
        return self.ran and self.exit_code == 0 and not self.failed


def find_test_command(workspace: Workspace, environ: Mapping[str, str] = os.environ) -> str | None:
    """The command that runs the tests of this repository, or None where nothing says how."""
    if any(workspace.exists(name) for name in _PYTHON_MARKS):
        return _python_command(workspace, environ)
    if _npm_test(workspace):
        return "npm test"
    if workspace.exists("go.mod"):
        return "go test ./..."
    if workspace.exists("Cargo.toml"):
        return "cargo test"
    if any(path.endswith(".py") and is_test_file(path) for path in workspace.list("*.py", limit=5000).paths):
        return _python_command(workspace, environ)
    return "make test" if _make_test(workspace) else None


def is_test_file(path: str) -> bool:
    """Whether a path looks like a part of the tests, in the ways of the common languages."""
    return _TEST_FILE.search(path) is not None


async def run_tests(
    sandbox: Sandbox,
    workspace: Workspace,
    command: str,
    *,
    timeout: float = 300.0,  # noqa: ASYNC109 - the report says that time ran out
    throwaway: bool = True,
    on_output: Callable[[str], None] | None = None,
) -> TestReport:
    """Run the test command for at most `timeout` seconds; with `throwaway` the repository stays as it is.

    `on_output` gets the raw output as it comes.

    Raises `SandboxError` where it cannot be started.
    """
    result = await sandbox.run(
        command,
        cwd=workspace.root,
        timeout=timeout,
        throwaway=throwaway,
        env=_ENVIRONMENT,
        output_limit=_OUTPUT_LIMIT,
        on_output=on_output,
    )
    output = sanitize(result.output)
    passed, failed = read_outcomes(output)
    problem = _problem(command, result.exit_code, output, bool(passed or failed))
    if result.timed_out:
        problem = f"The tests did not end within {timeout:g} seconds; give them more time or run fewer."
    return TestReport(
        command=command,
        exit_code=result.exit_code,
        passed=passed,
        failed=failed,
        output=output,
        timed_out=result.timed_out,
        seconds=result.seconds,
        ran=not problem,
        problem=problem,
    )


def with_target(command: str, target: str) -> str:
    """The test command for one file, directory or test id, given as one shell word each."""
    words = shlex.split(target)
    if any(word.startswith("-") for word in words):
        raise WorkspaceError("A target is a path or a test id, not an option.")
    return shlex.join(words) if not command else f"{command} {shlex.join(words)}"


_PYTEST_SUMMARY = re.compile(r"^=+ short test summary info =+$", re.MULTILINE)
_PYTEST_PASSED = re.compile(r"^(PASSED|XPASS) (.+)$", re.MULTILINE)
_PYTEST_OTHER = re.compile(r"^(FAILED|ERROR|XFAIL) ([^\n\[]*?(?:\[.*?\](?= - |$))?)(?: - .*)?$", re.MULTILINE)
_UNITTEST_LINE = re.compile(
    r"^(\w+) \(([\w.<>]+)\)(?:\n[^\n]*?)? \.\.\. (?:[^\n]*?)(ok|FAIL|ERROR|unexpected success)$", re.MULTILINE
)
_UNITTEST_HEAD = re.compile(r"^(FAIL|ERROR): (\w+) \(([\w.<>]+)\)", re.MULTILINE)
_GO_LINE = re.compile(r"^\s*--- (PASS|FAIL): (\S+)", re.MULTILINE)
_CARGO_LINE = re.compile(r"^test (\S+)(?: - [^\n]*?)? \.\.\. (ok|FAILED)$", re.MULTILINE)
_GOOD = frozenset({"PASSED", "ok", "PASS"})
_LEFT_OUT = frozenset({"XFAIL"})
"""Neither passed nor failed: a test that is expected to fail proves nothing when it does."""


def read_outcomes(output: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Ids that passed and that failed, from the output of pytest, unittest, go or cargo. A failure outweighs a pass."""
    outcomes: dict[str, bool] = {}
    for name, word in _outcomes(output):
        if word in _LEFT_OUT:
            continue
        outcomes[name] = outcomes.get(name, True) and word in _GOOD
    passed = tuple(name for name, good in outcomes.items() if good)
    return passed, tuple(name for name, good in outcomes.items() if not good)


def _outcomes(output: str) -> Iterator[tuple[str, str]]:
    *_, summary = [None, *_PYTEST_SUMMARY.finditer(output)]
    if summary is not None:
        for pattern in (_PYTEST_PASSED, _PYTEST_OTHER):
            for word, name in pattern.findall(output, summary.end()):
                yield name.strip(), word
        return
    for name, owner, word in _UNITTEST_LINE.findall(output):
        yield _unittest_id(name, owner), word
    for word, name, owner in _UNITTEST_HEAD.findall(output):
        yield _unittest_id(name, owner), word
    for word, name in _GO_LINE.findall(output):
        yield name, word
    yield from _CARGO_LINE.findall(output)


def _unittest_id(name: str, owner: str) -> str:
    return owner if owner.rpartition(".")[2] == name else f"{owner}.{name}"


def _problem(command: str, code: int, output: str, outcomes: bool) -> str:
    """Why nothing ran, or an empty string where something did."""
    if outcomes:
        return ""
    last = (output.strip().splitlines() or [""])[-1]
    if code == _NOT_FOUND:
        return f"The test command was not found ({last}); name another one."
    if code == _NOT_EXECUTABLE:
        return f"The test command cannot be run ({last}); name another one."
    if "No module named pytest" in output or "No module named unittest" in output:
        return f"The test command needs a package that is not installed ({last})."
    if code == _PYTEST_NOTHING or _ran_nothing(output):
        return "No tests were found; name another test command or target."
    if code == _PYTEST_USAGE and "pytest" in command and "while loading conftest" not in output:
        return f"pytest did not understand the command ({last})."
    return ""


def _ran_nothing(output: str) -> bool:
    return bool(re.search(r"^(NO TESTS RAN|Ran 0 tests|=*\s*no tests ran)", output, re.MULTILINE))


def _python_command(workspace: Workspace, environ: Mapping[str, str]) -> str:
    """pytest by the first interpreter that has it, else unittest by the first there is."""
    if any(list(workspace.root.glob(f"{venv}/lib/python3*/site-packages/pytest")) for venv in (".venv", "venv")):
        return "python -m pytest -q"
    path = command_path(environ, workspace.root, sandboxed=False)
    pythons = [name for name in ("python", "python3", sys.executable) if shutil.which(name, path=path)]
    for python in pythons:
        program = Path(shutil.which(python, path=path) or "/")
        if workspace.root not in program.parents and _has_pytest(program, path):
            return f"{shlex.quote(python)} -m pytest -q"
    return f"{shlex.quote((pythons or ['python'])[0])} -m unittest discover -v"


def _has_pytest(python: Path, path: str) -> bool:
    """Ask an interpreter of the user's own PATH; one that lies in the repository is never run outside the sandbox."""
    command = [str(python), "-I", "-c", "import pytest"]
    try:
        done = subprocess.run(
            command, cwd="/", env={**os.environ, "PATH": path}, capture_output=True, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _npm_test(workspace: Workspace) -> bool:
    try:
        data: Any = json.loads(workspace.read("package.json").text)
        return "no test specified" not in str(data["scripts"]["test"])
    except (WorkspaceError, ValueError, KeyError, TypeError):
        return False


def _make_test(workspace: Workspace) -> bool:
    for name in ("Makefile", "makefile", "GNUmakefile"):
        try:
            if re.search(r"^test\s*:(?!=)", workspace.read(name).text, re.MULTILINE):
                return True
        except WorkspaceError:
            continue
    return False
