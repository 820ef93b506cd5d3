"""A task of the kind "fix", given to `kat fix`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

from assistant.events import Event
from assistant.fix.report import FixReport
from assistant.fix.request import FixRequest
from assistant.tasks.checkout import checked_out
from assistant.tasks.task import Task
from model.engine import Engine


async def fix_task(
    task: Task,
    base: FixRequest,
    open_engine: Callable[[], Awaitable[Engine]],
    watch: Callable[[Event], None] = lambda _: None,
) -> FixReport:
    """Fix a task's files, under the options of `base`; the task itself stays as it is.

    Raises:
        UserError, EngineError: as `fix` does.
    """
    from assistant.fix.run import fix

    async with checked_out(task) as root:
        return await fix(request_of(task, base, root), open_engine, watch)


def request_of(task: Task, base: FixRequest, root: Path) -> FixRequest:
    """What a task asks for, its files at `root`; the shorter of both time limits counts."""
    return replace(
        base,
        repository=root,
        test_command=task.test or base.test_command,
        issue=task.issue or base.issue,
        tests=task.tests or base.tests,
        timeout=min(base.timeout, task.timeout_s or base.timeout),
    )
