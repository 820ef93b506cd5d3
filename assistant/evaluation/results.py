"""What came of one task in one mode, as a line of an append-only file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from assistant.errors import UserError
from assistant.records import StepRecord, Tokens
from assistant.tasks.storing import read_lines
from model.format import Mode, ThinkRequest

MODES = tuple(ThinkRequest)
ERROR = "error"
"""The status of what could not be tried; it counts as unsolved, and is tried again when the run goes on."""


@dataclass(frozen=True, slots=True)
class Origin:
    """What the results of a run have in common: its id and seed, and what was measured; times are in UTC."""

    run: str
    engine: str
    model: str
    seed: int
    version: str
    settings: str
    begun: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a try. `steps` have a mode, and in `thought` of them the model thought; seconds are of all of it."""

    solved: bool
    status: str
    message: str = ""
    tokens: Tokens = field(default_factory=Tokens)
    seconds: float = 0.0
    steps: int = 0
    thought: int = 0


@dataclass(frozen=True, slots=True)
class Result:
    """One try: `repeat` counts from 0, `digest` is the task's."""

    origin: Origin
    task: str
    kind: str
    digest: str
    mode: ThinkRequest
    repeat: int
    outcome: Outcome

    @property
    def key(self) -> tuple[str, str, int]:
        """Which try it is: task, mode and repeat."""
        return self.task, self.mode.value, self.repeat

    def as_json(self) -> dict[str, Any]:
        """The line, flat."""
        own = {"task": self.task, "kind": self.kind, "digest": self.digest, "mode": self.mode, "repeat": self.repeat}
        return {**asdict(self.origin), **own, **asdict(self.outcome)}


def modes_of(steps: Sequence[StepRecord]) -> tuple[int, int]:
    """How many steps had a mode, and in how many the model thought."""
    modes = [step.mode for step in steps if step.mode is not None]
    return len(modes), modes.count(Mode.ON)


def read_results(path: Path) -> list[Result]:
    """All results of a file, none where there is no file.

    Raises:
        UserError: it cannot be read, or holds something else.
    """
    try:
        return [_result(line) for line in read_lines(path)]
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} holds something else than results of `kat eval` ({error})") from None


def latest(results: Sequence[Result]) -> list[Result]:
    """The last result of every try, in the order in which they were first begun."""
    return list({result.key: result for result in results}.values())


def _result(line: dict[str, Any]) -> Result:
    return Result(
        origin=Origin(**_part(line, Origin)),
        task=str(line["task"]),
        kind=str(line["kind"]),
        digest=str(line["digest"]),
        mode=ThinkRequest(line["mode"]),
        repeat=int(line["repeat"]),
        outcome=Outcome(**{**_part(line, Outcome), "tokens": Tokens(**line["tokens"])}),
    )


def _part(line: dict[str, Any], kind: type[Origin | Outcome]) -> dict[str, Any]:
    return {each.name: line[each.name] for each in fields(kind)}
