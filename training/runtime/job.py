"""What a stage is given, and what it gives back: every stage is a function from a `Job` to an `Outcome`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from training.runtime.folder import RunFolder
from training.runtime.stopping import Stop
from training.runtime.world import World
from training.settings import Recipe, StageName


@dataclass(frozen=True, slots=True)
class Job:
    """One stage of a run.

    `weights` is what the stage before left: a folder of whole weights or of a peft adapter; None: the recipe's model.
    `base` is where relative paths of the recipe begin. `say` prints one line for people (the progress line stands
    apart, in `training.runtime.progress`). `resume` goes on from the stage's last checkpoint where there is one.
    """

    stage: StageName
    recipe: Recipe
    folder: RunFolder
    world: World
    base: Path
    weights: Path | None = None
    stop: Stop = field(default_factory=Stop)
    say: Callable[[str], None] = print
    resume: bool = True


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a stage ended.

    `weights` is what the next stage goes on from. `finished` is false where it was stopped, or stopped itself: `why`
    then says so in a sentence that names the last good checkpoint. `figures` are its last metrics; `notes` are lines
    for the report, the command that serves the result among them.
    """

    weights: Path | None
    finished: bool = True
    why: str = ""
    figures: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


class Stage(Protocol):
    """A stage: `training.distill.run`, `training.coldstart.run`, … are of this shape."""

    def __call__(self, job: Job) -> Outcome:
        """Run it. Raises UserError where its input cannot be used."""
