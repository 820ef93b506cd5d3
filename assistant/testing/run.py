"""Runs the tests of a repository in the sandbox, and says what came of each."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from assistant.safety.sandbox import CommandResult, Sandbox
from assistant.safety.sanitize import sanitize
from assistant.testing.harvest import Harvest, writes_results
from assistant.testing.outcomes import Results, read_results
from assistant.testing.report import TestReport
from assistant.workspace.files import Workspace

_ENVIRONMENT = {
    "PYTEST_ADDOPTS": "-rA -vv -p no:cacheprovider",
    "GOFLAGS": "-v",
    "SPEC_OPTS": "--format documentation --no-color",
    "COLUMNS": "200",
    "CI": "1",
    "NO_COLOR": "1",
}
"""What makes runners name each test, also those that pass and those that are skipped."""
_OUTPUT_LIMIT = 4_000_000
_NOT_FOUND = 127
_NOT_EXECUTABLE = 126
_PYTEST_USAGE = 4
_PYTEST_NOTHING = 5
_CLOCKS = 2.0
"""Seconds by which the clock of a file system may lie behind; our choice."""


async def run_tests(
    sandbox: Sandbox,
    workspace: Workspace,
    command: str,
    *,
    timeout: float = 300.0,  # noqa: ASYNC109 - the report says that time ran out
    throwaway: bool = True,
    on_output: Callable[[str], None] | None = None,
    layers: Sequence[Path] = (),
    env: Mapping[str, str] | None = None,
    show: Sequence[Path] = (),
    harvest: Callable[[Path], None] | None = None,
) -> TestReport:
    """Run the test command for at most `timeout` seconds; with `throwaway` the repository stays as it is.

    `on_output` gets the raw output as it comes. `env` is added to the environment, and a PYTEST_ADDOPTS in it to ours.
    `layers`, `show` and `harvest` are as in `Sandbox.run`.

    Raises `SandboxError` where it cannot be started.
    """
    results = Harvest(time.time() - _CLOCKS)
    result = await sandbox.run(
        command,
        cwd=workspace.root,
        timeout=timeout,
        throwaway=throwaway,
        env=_environment(env or {}),
        output_limit=_OUTPUT_LIMIT,
        on_output=on_output,
        layers=layers,
        show=show,
        harvest=_both(results.take, harvest) if throwaway and writes_results(command) else harvest,
    )
    return _report(command, result, read_results(sanitize(result.output), results.texts), timeout)


def _report(command: str, result: CommandResult, found: Results, limit: float) -> TestReport:
    output = sanitize(result.output)
    problem = _problem(command, result.exit_code, output, bool(found.passed or found.failed))
    if result.timed_out:
        problem = f"The tests did not end within {limit:g} seconds; give them more time or run fewer."
    return TestReport(
        command=command,
        exit_code=result.exit_code,
        passed=found.passed,
        failed=found.failed,
        output=output,
        timed_out=result.timed_out,
        seconds=result.seconds,
        ran=not problem,
        problem=problem,
        skipped=found.skipped,
        place=result.place,
        times=found.times,
    )


def _both(first: Callable[[Path], None], second: Callable[[Path], None] | None) -> Callable[[Path], None]:
    def take(folder: Path) -> None:
        first(folder)
        if second is not None:
            second(folder)

    return take


def _environment(given: Mapping[str, str]) -> dict[str, str]:
    options = f"{_ENVIRONMENT['PYTEST_ADDOPTS']} {given.get('PYTEST_ADDOPTS', '')}".strip()
    return {**_ENVIRONMENT, **given, "PYTEST_ADDOPTS": options}


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
        said = next((row for row in output.splitlines() if row.startswith("ERROR: ")), last)
        return f"pytest did not understand the command, or was stopped ({said})."
    return ""


def _ran_nothing(output: str) -> bool:
    return bool(re.search(r"^(NO TESTS RAN|Ran 0 tests|=*\s*no tests ran)", output, re.MULTILINE))
