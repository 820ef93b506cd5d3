"""The stages by name: commands, recipes and pages of documentation all derive from this one table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from importlib import import_module
from typing import Any

from assistant.errors import UserError
from training.near import nearest

SEVERAL = 64
"""Records that a worker takes at a time unless an entry says otherwise; our choice."""


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a stage is found: `module` of `training.data` and the class in it; `says` is one line of help.

    `chunk` is how many records a worker takes at a time: few where one takes long. `asks` says that it asks a model.
    """

    module: str
    made_by: str
    says: str
    chunk: int = SEVERAL
    asks: bool = False

    def load(self) -> type[Any]:
        """The stage's class."""
        found: type[Any] = getattr(import_module(f"training.data.{self.module}"), self.made_by)
        return found


STAGES: Mapping[str, Entry] = {
    "profile": Entry("profile", "Profile", "make a source's environment, run its tests, map them to its functions", 1),
    "harvest": Entry("harvest", "Harvest", "tasks from commits that touch code and tests", 1),
    "mutate": Entry("mutate", "Mutate", "tasks from mutations of functions that tests run", 1),
    "combine": Entry("invent", "Combine", "tasks from two mutations in one place", 1),
    "invent": Entry("invent", "Invent", "tasks from bugs that a model writes", 1, asks=True),
    "writing": Entry("writing", "Writing", "tasks to write a function from its docstring", 1),
    "questions": Entry("questions", "Questions", "questions on code whose answers are known", 1),
    "mutant_review": Entry("review", "MutantReview", "diffs to be reviewed, from mutations of a source", 1),
    "review": Entry("review", "Review", "diffs to be reviewed, from tasks"),
    "trace": Entry("trace", "Trace", "what does this call return: calls that were run, line by line", 1),
    "verify": Entry("verify", "Verify", "run each task's tests twice in fresh copies, and keep what holds", 16),
    "tag": Entry("tag", "Tag", "type, domain and measured difficulty of tasks"),
    "tampering": Entry("guards.tampering", "Tampering", "refuse tasks whose solution meddles with tests"),
    "tag_samples": Entry("tag", "TagSamples", "type, domain and measured difficulty of samples"),
    "leaks": Entry("guards.leaks", "Leaks", "refuse tasks whose statement gives the fix away"),
    "licences": Entry("guards.licences", "Licences", "refuse what may not be trained on"),
    "contamination": Entry("guards.contamination", "Contamination", "refuse what overlaps with named benchmarks"),
    "scrub": Entry("guards.scrub", "Scrub", "take secrets and personal data out"),
    "duplicates": Entry("guards.duplicates", "Duplicates", "refuse near-duplicates and overlaps with held-out ones"),
    "splits": Entry("guards.splits", "Splits", "hold out by time and by module"),
    "mistakes": Entry("line_repair", "Mistakes", "one-line repairs straight from mutations of a source", 1),
    "line_repair": Entry("line_repair", "LineRepair", "one-line repairs from verified tasks"),
    "answering": Entry("answering", "Answering", "answers to traces, questions, reviews and writing, in both regimes"),
    "episodes": Entry("episodes", "Episodes", "steps of the assistant's own loop, played by an expert", 1),
    "repairs": Entry("episodes", "Repairs", "steps of an agent that mends verified tasks", 4),
    "own_sessions": Entry("sessions", "OwnSessions", "the user's own sessions, where he opted in", 1),
    "synthesize": Entry("synthesize", "Synthesize", "solver, thinker and critic over any engine", 16, asks=True),
    "pick": Entry("pick", "Pick", "a few records of each kind and difficulty"),
    "rollouts": Entry("rollouts", "Rollouts", "several tries at each task in each mode", 16, asks=True),
    "vote": Entry("vote", "Vote", "each task's mode by how often it was solved in either"),
    "judges": Entry("modes.judges", "Judges", "judge texts written by a model", 16, asks=True),
    "mix": Entry("mix", "Mix", "KAT's proportions of regimes, families and difficulty"),
}


def entry(name: str) -> Entry:
    """The stage of that name.

    Raises:
        UserError: there is none; the nearest is named.
    """
    try:
        return STAGES[name]
    except KeyError:
        raise UserError(f"there is no stage {name!r}; {nearest(name, STAGES)}") from None


def entry_of(stage: Any) -> Entry | None:
    """The entry that a stage belongs to, if it is registered."""
    return next((one for one in STAGES.values() if one.made_by == type(stage).__name__), None)


def options_of(made_by: type[Any]) -> tuple[str, ...]:
    """The names of a stage's options."""
    return tuple(field.name for field in fields(made_by))
