"""`kat fix` in its simple form: run the tests, let the agent work in a copy, run them again, hand over the patch."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from assistant.config import Settings
from assistant.errors import RefusedError, UserError
from assistant.events import Event, RunFinished, RunStatus
from assistant.fix.copy import DEPENDENCIES, WorkingCopy, working_copy
from assistant.fix.report import FixReport, Receipt, receipt
from assistant.fix.request import FixRequest
from assistant.safety.choice import sandbox_for
from assistant.safety.rules import read_rule
from assistant.safety.sandbox import Harm, Sandbox
from assistant.workspace.files import Workspace
from assistant.workspace.tests import TestReport, find_test_command, is_test_file, run_tests
from model.engine import Engine, EngineError

_OUTPUT_SHOWN = 2_000
"""Characters of failing output that the model is shown at once (our choice); it can run the tests for the rest."""


_RUNNER_SETTINGS = frozenset({"pytest.ini", "tox.ini", ".coveragerc"})
_RUNNERS = frozenset({"Makefile", "makefile", "GNUmakefile", "package.json", "pyproject.toml", "setup.cfg"})


async def fix(
    request: FixRequest, open_engine: Callable[[], Awaitable[Engine]], watch: Callable[[Event], None] = lambda _: None
) -> FixReport:
    """Try to make the failing tests pass; the repository itself is only read.

    Raises:
        RefusedError: no sandbox keeps what is run here from the rest of the machine, and no rule allows that.
        UserError: there are no tests to run, or they cannot be run.
        EngineError: the engine does not answer.
    """
    started = time.monotonic()
    report = await _fix(request, open_engine, watch)
    return replace(report, seconds=round(time.monotonic() - started, 3))


async def _fix(
    request: FixRequest, open_engine: Callable[[], Awaitable[Engine]], watch: Callable[[Event], None]
) -> FixReport:
    workspace = Workspace(request.repository)
    command = request.test_command or request.settings.test_command
    command = command or await asyncio.to_thread(find_test_command, workspace)
    if command is None:
        raise UserError("no tests were found; say how they run with --test COMMAND")
    with working_copy(workspace) as copy:
        sandbox = await asyncio.to_thread(_sandbox, copy.root, workspace.root, request.settings)
        check_confined(sandbox, request.allow)
        bench = _Bench(request, copy, sandbox, command)
        before = await bench.tests()
        if not before.ran:
            raise UserError(f"{before.problem} (say how they run with --test COMMAND, how long with --test-timeout)")
        if before.exit_code == 0 and not request.issue:
            return FixReport("nothing_to_fix", "All tests pass.", command, receipt=bench.receipt(before))
        return await _work(bench, before, open_engine, watch)


@dataclass(frozen=True, slots=True)
class _Bench:
    """Where the work is done: the copy, its sandbox and its tests."""

    request: FixRequest
    copy: WorkingCopy
    sandbox: Sandbox
    command: str

    async def tests(self) -> TestReport:
        """Run the tests in a throw-away view of the copy."""
        timeout = self.request.settings.command_timeout
        return await run_tests(self.sandbox, Workspace(self.copy.root), self.command, timeout=timeout, throwaway=True)

    def receipt(self, report: TestReport) -> Receipt:
        """The receipt for a run of the tests on the copy as it is now."""
        return receipt(report.command, report.exit_code, self.copy.tree(), report.output)


async def _work(
    bench: _Bench,
    before: TestReport,
    open_engine: Callable[[], Awaitable[Engine]],
    watch: Callable[[Event], None],
) -> FixReport:
    from assistant.opening import Place, open_pilot

    request = bench.request
    settings = replace(request.settings, test_command=bench.command)
    pilot = await open_pilot(
        Place(bench.copy.root, named=request.repository, snapshots=bench.copy.root.parent / "snapshots"),
        await open_engine(),
        settings,
        allow=("edit", "command", *request.allow),
        interactive=False,
        sandbox=bench.sandbox,
    )
    end: RunFinished | None = None
    out_of_time = asyncio.get_running_loop().call_later(request.timeout, pilot.stop)
    try:
        async for event in pilot.run(_prompt(before, request.issue), settings.think, words=request.issue or ""):
            watch(event)
            end = event if isinstance(event, RunFinished) else end
    finally:
        out_of_time.cancel()
        await pilot.aclose()
    if end is None or end.status is RunStatus.UNREACHABLE:
        raise EngineError(end.message if end else "the run ended without a result")
    report = await _verified(bench, before, end.message)
    return replace(report, steps=tuple(pilot.records), tokens=end.tokens)


async def _verified(bench: _Bench, before: TestReport, message: str) -> FixReport:
    """Run the tests on what the patch brings, and nothing else; compare with before."""
    copy = bench.copy
    copy.drop_ignored()
    if not bench.request.allow_test_edits:
        copy.restore([path for path in copy.files() if _is_of_the_tests(path, before)])
    files = copy.files()
    after = await bench.tests()
    fixed, why = _verdict(before, after, files, message)
    return FixReport(
        status="fixed" if fixed else "not_fixed",
        message=why,
        test_command=bench.command,
        failed_before=before.failed,
        failed_after=after.failed,
        patch=copy.patch(),
        files=tuple(files),
        candidates=1,
        receipt=bench.receipt(after),
    )


def _verdict(before: TestReport, after: TestReport, files: list[str], message: str) -> tuple[bool, str]:
    """Whether what failed passes now and what passed still does, and what to say."""
    lost = sorted(set(before.passed) - set(after.passed))
    missing = [name for name in before.failed if not _passes(name, after)]
    if not files:
        return False, f"Nothing was changed. {message}".strip()
    if after.timed_out:
        return False, after.problem
    if lost:
        return False, f"{lost[0]} passed before and does not now."
    if after.exit_code != 0:
        return False, f"The tests still fail (exit code {after.exit_code}). {message}".strip()
    if missing:
        return False, f"{missing[0]} failed before and was not seen to pass; it may be skipped or not collected."
    return True, _fixed(before, after)


def _passes(name: str, report: TestReport) -> bool:
    """Whether a test passed, or, for a file that could not be collected, tests in it did."""
    return name in report.passed or any(passed.startswith((f"{name}::", f"{name}.")) for passed in report.passed)


def _is_of_the_tests(path: str, before: TestReport) -> bool:
    """Whether a change to `path` could change what is tested, and how.

    Where single tests have no names the exit code is all the proof there is, and how they are run must not change.
    """
    names_known = bool(before.passed or before.failed)
    return is_test_file(path) or path in _RUNNER_SETTINGS or (not names_known and path in _RUNNERS)


def _fixed(before: TestReport, after: TestReport) -> str:
    mended = len(before.failed) or "All"
    return f"{mended} failing test{'' if mended == 1 else 's'} now pass; {len(after.passed)} pass in all."


def _sandbox(root: Path, original: Path, settings: Settings) -> Sandbox:
    """The copy's sandbox, in which the original's installed dependencies are seen."""
    shown = tuple((original / name, root / name) for name in DEPENDENCIES if (original / name).is_dir())
    return replace(sandbox_for(root, settings), shown=shown)


def check_confined(sandbox: Sandbox, allow: Sequence[str]) -> None:
    """What is run belongs to the repository and to the model: nobody has agreed to it outside a sandbox."""
    confined = {Harm.OUTSIDE, Harm.HOME, Harm.TCP} <= sandbox.stops
    if not confined and not any(read_rule(text).allows("command") for text in allow):
        raise RefusedError(
            "no sandbox works here, so tests and commands could do whatever you can; "
            "`kat doctor` says more, and --allow command runs them all the same"
        )


def _prompt(before: TestReport, issue: str | None) -> str:
    parts = []
    if issue:
        parts.append(f"The issue:\n{issue.strip()}")
    if before.exit_code:
        failed = "\n".join(before.failed[:20]) or "(no names could be read)"
        output = before.output.strip()[-_OUTPUT_SHOWN:]
        parts.append(f"These tests fail:\n{failed}\n\nThe end of their output:\n{output}")
    parts.append("Find the cause in the code and mend it. Do not change the tests. Run the tests, then finish.")
    return "\n\n".join(parts)
