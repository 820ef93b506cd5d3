"""`kat fix --tasks`: every task of a folder, and a summary."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from assistant import interrupts
from assistant.commands.fixing import Delivery, Wanted, enter, model_name
from assistant.commands.opening import engine_from
from assistant.errors import Exit, UserError
from assistant.fix.request import FixRequest
from assistant.safety.sanitize import sanitize
from assistant.tasks.batch import Outcomes, Summary, fix_tasks, settings_digest
from assistant.tasks.fixing import fix_task
from assistant.tasks.predictions import Predictions
from assistant.tasks.task import Task, read_tasks
from model.engine import Engine
from model.lent import Lent


@dataclass(frozen=True, slots=True)
class Batch:
    """Many tasks: their folder, how many at a time, and where the outcomes are kept."""

    tasks: Path
    jobs: int
    out: Path | None
    again: bool


def fix_many(wanted: Wanted, delivery: Delivery, batch: Batch) -> int:
    """Fix the tasks of a folder, and sum up."""
    _only_for_one(wanted, delivery)
    tasks = [task for task in read_tasks(batch.tasks) if task.kind == "fix"]
    if not tasks:
        raise UserError(f"there is no task of the kind fix in {batch.tasks}")
    enter(batch.tasks)
    outcomes = Outcomes(batch.out or Path("kat-fix"), _digest(wanted.request))
    summary = interrupts.run(_fixed(tasks, wanted.request, outcomes, delivery, batch))
    counts = ", ".join(f"{count} {status}" for status, count in sorted(summary.statuses.items()))
    print(
        json.dumps(summary.as_json())
        if delivery.json
        else f"{summary.tasks} tasks: {counts}; {summary.tokens.written:,} tokens written, "
        f"{summary.seconds:.0f} s; kept in {outcomes.folder}"
    )
    return Exit.DONE if summary.all_fixed else Exit.NOT_ACHIEVED


async def _fixed(
    tasks: list[Task], request: FixRequest, outcomes: Outcomes, delivery: Delivery, batch: Batch
) -> Summary:
    kept = Predictions(delivery.predictions, model_name(request.settings)) if delivery.predictions else None
    engine = await engine_from(request.settings)

    async def lent() -> Engine:
        return Lent(engine)

    try:
        return await fix_tasks(
            tasks,
            lambda task: fix_task(task, request, lent),
            outcomes,
            jobs=batch.jobs,
            again=batch.again,
            predictions=kept,
            say=lambda line: print(sanitize(line), file=sys.stderr, flush=True),
        )
    finally:
        await engine.aclose()


def _digest(request: FixRequest) -> str:
    """Of all options that decide what comes of a task."""
    names = ("candidates", "samples", "strategy", "budget_tokens", "timeout", "test_timeout", "allow_test_edits")
    test = {"test_command": request.test_command or request.settings.test_command}
    return settings_digest({**asdict(request.settings), **test, **{name: getattr(request, name) for name in names}})


def _only_for_one(wanted: Wanted, delivery: Delivery) -> None:
    given = {
        "--issue": wanted.issue,
        "--issue-file": wanted.issue_file,
        "--instance": wanted.instance,
        "--apply": delivery.apply,
        "--branch": delivery.branch,
        "--patch": delivery.patch,
        "--report": delivery.report,
        "--show-suspects": delivery.show_suspects,
        "--ci": delivery.ci,
    }
    if wrong := [name for name, value in given.items() if value]:
        raise UserError(f"{wrong[0]} is for one repository and cannot go with --tasks; leave it out")
