"""Many tasks fixed one after another or several at a time: a JSON file each, and a summary of all."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from assistant.errors import RefusedError, UserError
from assistant.fix.report import FixReport
from assistant.records import Tokens
from assistant.tasks.predictions import Predictions
from assistant.tasks.several import several
from assistant.tasks.storing import put
from assistant.tasks.task import Task
from model.engine import EngineRefused

OF_ONE_TASK = (UserError, EngineRefused, OSError, subprocess.SubprocessError)
"""Errors that are about one task; whatever else is raised ends all of them."""
_SECRET = frozenset({"api_key", "mcp"})
_SEGMENTS = ("prompt", "cached", "judge", "think", "answer")


@dataclass(frozen=True, slots=True)
class Summary:
    """What came of tasks: how many ended in each status, their tokens and seconds; `kept` were not run again."""

    statuses: Mapping[str, int] = field(default_factory=dict)
    tokens: Tokens = field(default_factory=Tokens)
    seconds: float = 0.0
    kept: int = 0

    @property
    def tasks(self) -> int:
        """How many there are."""
        return sum(self.statuses.values())

    @property
    def all_fixed(self) -> bool:
        """Whether every task is."""
        return self.tasks == self.statuses.get("fixed", 0)

    def as_json(self) -> dict[str, Any]:
        """The summary as a JSON object."""
        tokens = {name: getattr(self.tokens, name) for name in _SEGMENTS}
        statuses = dict(sorted(self.statuses.items()))
        return {"tasks": self.tasks, "statuses": statuses, "tokens": tokens, "seconds": self.seconds, "kept": self.kept}


@dataclass(frozen=True, slots=True)
class Outcomes:
    """The folder with a JSON file a task. `settings` is the digest of all that the outcomes depend on."""

    folder: Path
    settings: str

    def path(self, task: Task) -> Path:
        """Where the outcome of a task is kept."""
        return self.folder / f"{task.id}.json"

    def standing(self, task: Task) -> dict[str, Any] | None:
        """What is kept of a task that need not be run again: the same task, the same settings, and no error."""
        try:
            kept = json.loads(self.path(task).read_bytes())
            same = (kept["settings"], kept["task"]) == (self.settings, task.digest)
            return kept if same and kept["status"] != "error" else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def keep(self, task: Task, report: FixReport) -> dict[str, Any]:
        """Write the outcome of a task, whole or not at all, and return it.

        Raises:
            UserError: it cannot be written.
        """
        kept = {"id": task.id, "task": task.digest, "settings": self.settings, **report.as_json()}
        put(self.path(task), (json.dumps(kept, indent=1) + "\n").encode())
        return kept


def settings_digest(settings: Mapping[str, Any]) -> str:
    """A digest of what the outcomes of tasks depend on, keys and secrets left out; equal for equal settings."""
    telling = {name: value for name, value in settings.items() if name not in _SECRET}
    return hashlib.sha256(json.dumps(telling, sort_keys=True, default=str).encode()).hexdigest()[:16]


async def fix_tasks(
    tasks: Sequence[Task],
    run: Callable[[Task], Awaitable[FixReport]],
    outcomes: Outcomes,
    *,
    jobs: int = 1,
    again: bool = False,
    predictions: Predictions | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Summary:
    """Run the tasks whose outcome does not stand already, `jobs` at a time; with `again`, all of them.

    What is done is on the disk at once, whatever ends the rest. `say` gets a line a task as it ends.

    Raises:
        EngineUnreachable, RefusedError: there is no going on, for any task.
        UserError: an outcome cannot be written.
    """
    ended: dict[str, dict[str, Any]] = {}
    kept = {} if again else {task.id: found for task in tasks if (found := outcomes.standing(task))}

    async def work(task: Task) -> None:
        before = kept.get(task.id)
        found = before or outcomes.keep(task, await _tried(task, run))
        if predictions is not None and found["status"] != "error":
            predictions.add(task.id, found["patch"])
        ended[task.id] = found
        say(_line(len(ended), len(tasks), found, kept=before is not None))

    await several(tasks, work, jobs)
    return _summary(ended.values(), len(kept))


async def _tried(task: Task, run: Callable[[Task], Awaitable[FixReport]]) -> FixReport:
    """What is wrong with one task keeps no other from being run."""
    try:
        return await run(task)
    except RefusedError:
        raise
    except OF_ONE_TASK as error:
        return FixReport("error", " ".join(str(error).split()))


def _line(number: int, total: int, found: Mapping[str, Any], *, kept: bool) -> str:
    tokens = _tokens(found)
    took = "kept" if kept else f"{found['seconds']:.1f} s, {tokens.written:,} tokens"
    return f"[{number}/{total}] {found['id']}: {found['status']} ({took}) {found['message']}"


def _summary(ended: Iterable[Mapping[str, Any]], kept: int) -> Summary:
    found = list(ended)
    statuses = Counter(each["status"] for each in found)
    tokens = sum(map(_tokens, found), Tokens())
    return Summary(statuses, tokens, round(sum(each["seconds"] for each in found), 3), kept)


def _tokens(found: Mapping[str, Any]) -> Tokens:
    return Tokens(**{name: found["tokens"][name] for name in _SEGMENTS})
