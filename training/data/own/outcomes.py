"""What became of the steps of a session, as its journal tells it: kept, taken back, refused, corrected. Pure.

A step counts as kept only where something says so: the tests passed behind it in its run, the user allowed its edits
himself, or what it wrote is committed. That nobody complained says nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from assistant.records import StepRecord
from assistant.sessions.replay import step_records
from assistant.think import EDITS, is_test_run
from assistant.workspace.history import ROOT

Record = Mapping[str, Any]
Kept = Literal["tests", "approved", "committed", ""]
"""What says that a run's changes were right."""
Blobs = Mapping[str, str]
"""What a commit holds: the name of each file's content, by path."""
_YES = frozenset({"once", "session", "always"})


@dataclass(frozen=True, slots=True)
class Run:
    """What was done for one message of the user: its steps, whether it ended by itself, and what says it was right."""

    words: str
    steps: tuple[StepRecord, ...]
    done: bool
    kept: Kept
    steered: frozenset[int]
    """Steps before which the user said something more."""


@dataclass(frozen=True, slots=True)
class Outcomes:
    """The runs of a session, and the steps that the user did not want: undone, or refused when he was asked."""

    runs: tuple[Run, ...]
    undone: frozenset[int]
    refused: frozenset[int]

    @property
    def unwanted(self) -> frozenset[int]:
        """Steps whose changes the user took back or did not allow."""
        return self.undone | self.refused


def outcomes(records: Sequence[Record], committed: Blobs) -> Outcomes:
    """What became of each step. Raises what a damaged journal raises (`sessions.undamaged`)."""
    states = _States.of(records)
    undone = frozenset(states.parents) - states.alive - {ROOT}
    refused = frozenset(_step(each) for each in records if _refuses(each))
    steps = {step.index: step for step in step_records(records)}
    unwanted = undone | refused
    runs = []
    for part in _parts(records):
        run = _run(part, steps)
        runs.append(replace(run, kept=_why_kept(run, part, states, unwanted, committed)))
    return Outcomes(tuple(runs), undone, refused)


@dataclass(slots=True)
class _States:
    """The states that steps left, as undo and redo moved between them."""

    parents: dict[int, int] = field(default_factory=dict)
    written: dict[int, dict[str, str]] = field(default_factory=dict)
    position: int = ROOT

    @classmethod
    def of(cls, records: Sequence[Record]) -> _States:
        """As the records tell it."""
        found = cls()
        for record in records:
            match record["kind"]:
                case "changed" if record["changes"]:
                    found._add(record["step"])
                    left = {path: new[1] if new else "" for path, (_, new) in record["changes"].items()}
                    found.written[record["step"]] = left
                case "user_edit":
                    found._add(record["id"])
                case "restored":
                    found.position = record["target"]
        return found

    @property
    def alive(self) -> frozenset[int]:
        """The steps whose changes the files still have."""
        found, at = set[int](), self.position
        while at != ROOT and at not in found:
            found.add(at)
            at = self.parents.get(at, ROOT)
        return frozenset(found)

    def _add(self, step: int) -> None:
        self.parents[step], self.position = self.position, step


def _parts(records: Sequence[Record]) -> Iterator[Sequence[Record]]:
    """The records of each run: from a message of the user to the next."""
    starts = [n for n, record in enumerate(records) if record["kind"] == "user"]
    for start, end in zip(starts, [*starts[1:], len(records)], strict=True):
        yield records[start:end]


def _run(part: Sequence[Record], steps: Mapping[int, StepRecord]) -> Run:
    mine = tuple(steps[each["record"]["index"]] for each in part if each["kind"] == "step")
    done = any(each["kind"] == "finished" and each["status"] == "done" for each in part)
    steered, waiting = set[int](), False
    for each in part:
        waiting = waiting or each["kind"] == "steer"
        if waiting and each["kind"] == "reply":
            steered.add(each["step"])
            waiting = False
    return Run(str(part[0]["text"]), mine, done, "", frozenset(steered))


def _why_kept(run: Run, part: Sequence[Record], states: _States, unwanted: frozenset[int], committed: Blobs) -> Kept:
    """What says that all the changes of a run are right, if anything does."""
    changed = [step.index for step in run.steps if step.index in states.parents]
    if not changed or not run.done or unwanted & {step.index for step in run.steps}:
        return ""
    left = {path: blob for step in changed for path, blob in states.written.get(step, {}).items()}
    if left and all(committed.get(path, "") == blob for path, blob in left.items()):
        return "committed"
    if _tests_pass(run, changed[-1]):
        return "tests"
    asked = [each for each in part if each["kind"] == "approval" and each["by"] == "user"]
    allowed = {_step(each) for each in asked if each["decision"] in _YES}
    return "approved" if set(changed) <= allowed else ""


def _tests_pass(run: Run, last: int) -> bool:
    """Whether the last thing that tests said behind step `last` is that they pass."""
    said = [call.outcome for step in run.steps if step.index >= last for call in _behind(step, last)]
    return bool(said) and said[-1] == "ok"


def _behind(step: StepRecord, last: int) -> Iterator[Any]:
    """The test runs of a step; of the one that changed something itself, those behind its change."""
    edited = step.index != last
    for call in step.calls:
        edited = edited or call.tool in EDITS
        if edited and is_test_run(call):
            yield call


def _refuses(record: Record) -> bool:
    """Whether the user said no to a call that would have changed something."""
    return (record["kind"], record.get("by"), record.get("decision")) == ("approval", "user", "no")


def _step(record: Record) -> int:
    number = str(record["id"]).partition(".")[0]
    return int(number) if number.isdecimal() else 0
