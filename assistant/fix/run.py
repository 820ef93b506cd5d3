"""`kat fix` in its simple form: run the tests, let the agent work in a copy, run them again, hand over the patch."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path

from assistant.config import Settings, config_dir, state_dir
from assistant.errors import UserError
from assistant.events import Event, RunFinished, RunStatus
from assistant.fix.copy import WorkingCopy, working_copy
from assistant.fix.report import FixReport, Receipt, receipt
from assistant.safety.sandbox import Sandbox, detect
from assistant.workspace.files import Workspace
from assistant.workspace.tests import TestReport, find_test_command, is_test_file, run_tests
from model.engine import Engine, EngineError

_OUTPUT_SHOWN = 2_000
"""Characters of failing output that the model is shown at once (our choice); it can run the tests for the rest."""


@dataclass(frozen=True, slots=True)
class FixRequest:
    """What to fix and how. Without `test_command` one is looked for; `timeout` is seconds for the whole."""

    repository: Path
    settings: Settings
    test_command: str | None = None
    issue: str | None = None
    allow_test_edits: bool = False
    timeout: float = 1_800.0


async def fix(
    request: FixRequest, open_engine: Callable[[], Awaitable[Engine]], watch: Callable[[Event], None] = lambda _: None
) -> FixReport:
    """Try to make the failing tests pass; the repository itself is only read.

    Raises:
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
    command = (
        request.test_command or request.settings.test_command or await asyncio.to_thread(find_test_command, workspace)
    )
    if command is None:
        raise UserError("no tests were found; say how they run with --test COMMAND")
    with working_copy(workspace) as copy:
        sandbox = await asyncio.to_thread(_sandbox, copy.root)
        before = await _tests(sandbox, copy, command, request)
        _refuse_unusable(before)
        if before.exit_code == 0 and not request.issue:
            return FixReport("nothing_to_fix", "All tests pass.", command, receipt=_receipt(before, copy))
        return await _work(request, copy, sandbox, before, open_engine, watch)


async def _work(
    request: FixRequest,
    copy: WorkingCopy,
    sandbox: Sandbox,
    before: TestReport,
    open_engine: Callable[[], Awaitable[Engine]],
    watch: Callable[[Event], None],
) -> FixReport:
    from assistant.pilot import open_pilot

    settings = replace(request.settings, test_command=before.command)
    pilot = await open_pilot(
        copy.root,
        await open_engine(),
        settings,
        allow=("read", "edit", "command"),
        interactive=False,
        named=request.repository,
    )
    end: RunFinished | None = None
    try:
        async for event in pilot.run(_prompt(before, request.issue), settings.think):
            watch(event)
            end = event if isinstance(event, RunFinished) else end
    finally:
        await pilot.aclose()
    if end is None or end.status is RunStatus.UNREACHABLE:
        raise EngineError(end.message if end else "the run ended without a result")
    report = await _verified(request, copy, sandbox, before, end.message)
    return replace(report, steps=tuple(pilot.records), tokens=end.tokens)


async def _verified(
    request: FixRequest, copy: WorkingCopy, sandbox: Sandbox, before: TestReport, message: str
) -> FixReport:
    files = copy.files()
    touched = [path for path in files if is_test_file(path)]
    if touched and not request.allow_test_edits:
        copy.restore(touched)
        files = copy.files()
    after = await _tests(sandbox, copy, before.command, request)
    lost = sorted(set(before.passed) - set(after.passed))
    report = FixReport(
        status="not_fixed",
        message="",
        test_command=before.command,
        failed_before=before.failed,
        failed_after=after.failed,
        patch=copy.patch(),
        files=tuple(files),
        candidates=1,
        receipt=_receipt(after, copy),
    )
    if after.timed_out:
        return replace(report, message=f"The tests did not end within {request.settings.command_timeout:.0f} s.")
    if after.exit_code == 0 and not lost and files:
        return replace(report, status="fixed", message=_fixed(before, after))
    if not files:
        return replace(report, message=f"Nothing was changed. {message}".strip())
    if lost:
        return replace(report, message=f"{lost[0]} passed before and does not now.")
    return replace(report, message=f"The tests still fail (exit code {after.exit_code}). {message}".strip())


def _fixed(before: TestReport, after: TestReport) -> str:
    mended = len(before.failed) or "All"
    return f"{mended} failing test{'' if mended == 1 else 's'} now pass; {len(after.passed)} pass in all."


def _receipt(report: TestReport, copy: WorkingCopy) -> Receipt:
    return receipt(report.command, report.exit_code, copy.tree(), report.output)


def _sandbox(root: Path) -> Sandbox:
    return detect(root, config_dirs=[config_dir(), state_dir()])


async def _tests(sandbox: Sandbox, copy: WorkingCopy, command: str, request: FixRequest) -> TestReport:
    timeout = min(request.settings.command_timeout, request.timeout)
    return await run_tests(sandbox, Workspace(copy.root), command, timeout=timeout, throwaway=True)


def _refuse_unusable(report: TestReport) -> None:
    if not report.ran:
        raise UserError(f"{report.problem} (say how they run with --test COMMAND, how long with --test-timeout)")


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
