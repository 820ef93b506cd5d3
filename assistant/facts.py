"""What a shortened conversation must never lose besides the user's words: changed files, failing tests, open tasks.

Read from the journal, never from the model's memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from assistant.testing.outcomes import read_outcomes

Record = Mapping[str, Any]
_HEAD = "[Facts from the session's journal, as they were at this point]"
_FAILED = "failed: "


@dataclass(frozen=True, slots=True)
class Facts:
    """Names of files that steps changed, of tests that failed when they ran last, and what is still to do."""

    changed: tuple[str, ...] = ()
    failing: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()

    def text(self) -> str:
        """As the model reads them; empty where there are none."""
        parts = [
            *([f"Files changed so far: {', '.join(self.changed)}"] if self.changed else []),
            *(["Tests that failed when they ran last:", *(f"- {name}" for name in self.failing)] * bool(self.failing)),
            *(["Still to do:", *(f"- {task}" for task in self.tasks)] * bool(self.tasks)),
        ]
        return "\n".join([_HEAD, *parts]) if parts else ""


def facts(records: Iterable[Record]) -> Facts:
    """What the records of a session say of it."""
    changed: dict[str, None] = {}
    failing: dict[str, None] = {}
    tasks: tuple[str, ...] = ()
    begun: dict[str, Record] = {}
    for record in records:
        match record["kind"]:
            case "intent":
                begun[record["id"]] = record
            case "result":
                intent = begun.get(record["id"], {})
                changed |= dict.fromkeys(_edited(intent, record))
                failing = _failing(failing, intent, record)
            case "changed":
                changed |= dict.fromkeys(record["changes"])
            case "plan":
                tasks = tuple(_open(record["items"]))
    return Facts(tuple(changed), tuple(failing), tasks)


def _edited(intent: Record, result: Record) -> Iterable[str]:
    """Files that a call which worked had named."""
    return (intent.get("paths") or ()) if result["outcome"] == "ok" else ()


def _failing(before: Mapping[str, None], intent: Record, result: Record) -> dict[str, None]:
    """The tests that fail, after a call that may have run some of them."""
    tool = intent.get("tool")
    if tool not in ("run_tests", "run_command"):
        return dict(before)
    output = result.get("whole") or result["output"]
    passed, failed = read_outcomes(output)
    named = [line.removeprefix(_FAILED) for line in output.splitlines() if line.startswith(_FAILED)]
    gone = set(passed)
    if tool == "run_tests" and result["outcome"] == "ok" and result.get("ok", True):
        gone |= set(_covered(before, intent["arguments"].get("target") or ""))
    return {name: None for name in before if name not in gone} | dict.fromkeys([*named, *failed])


def _covered(names: Iterable[str], target: str) -> Iterator[str]:
    """Those of the tests that a run of `target` (empty: all) ran."""
    parts = tuple(target.split())
    return (name for name in names if not parts or name.startswith(parts))


def _open(items: Iterable[Record]) -> Iterator[str]:
    for item in items:
        if item.get("state") != "done":
            yield item["text"] + (" (in hand)" if item.get("state") == "doing" else "")
