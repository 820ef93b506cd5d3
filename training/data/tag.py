"""What a task is about, and how hard it is: type, domain, difficulty and the user's wish, from what can be measured.

Difficulty is the weighted mean of the measures that are known, each from 0 (easy) to 1 (hard)::

    failing   1 - pass rate of the model without thinking, where rollouts are known     weight 8
    context   characters that are shown and changed, up to `_MUCH`                      weight 1
    hunks     places that the solution changes, from 1 up to 5                          weight 1
    steps     lines that a call runs, up to `_MOST_STEPS`, of a trace                   weight 4
    survived  share of the function's mutants that its tests do not notice, if known    weight 1
    operator  how far the sign of a mutation lies from its cause (`OPERATORS`)          weight 1

Below `EASY` a task is easy, from `HARD` on it is hard. Weights, limits and tables are our choice; the pass rate, being
the one thing that was seen and not guessed, outweighs all the others together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

from assistant.chinese import has_chinese
from training.data.asking.pass_rates import PassRates
from training.data.asking.survivors import Survivors
from training.data.domains import domain_of
from training.data.modes.intent import strength
from training.data.repositories.diffs import changed, hunks
from training.data.schema import Difficulty, Refused, Sample, Tags, Task, TaskKind
from training.data.stage import Context, place

EASY, HARD = 0.25, 0.55
_MUCH = 6_000
_MOST_HUNKS = 5
_MOST_STEPS = 24
_WEIGHTS = {"failing": 8.0, "context": 1.0, "hunks": 1.0, "steps": 4.0, "survived": 1.0, "operator": 1.0}
OPERATORS: Mapping[str, float] = {
    "truth": 0.2,
    "negated condition": 0.2,
    "comparison": 0.3,
    "arithmetic": 0.3,
    "dropped not": 0.3,
    "repeated statement": 0.3,
    "boolean": 0.4,
    "off by one": 0.4,
    "swapped arguments": 0.4,
    "removed result": 0.4,
    "slice bound": 0.5,
    "break or continue": 0.5,
    "other exception": 0.5,
    "sibling function": 0.5,
    "dropped condition": 0.7,
    "dropped argument": 0.7,
    "changed default": 0.7,
    "wrong variable": 0.7,
    "removed statement": 0.9,
}
"""How hard it is to find a mutation by reading; what is not there is harder to see. Others count as a half."""
TYPES: Mapping[TaskKind, str] = {
    "commit": "repair",
    "mutation": "repair",
    "invented": "repair",
    "writing": "write",
    "review": "review",
    "question": "question",
    "trace": "trace",
}
FAMILIES: Mapping[str, str] = {"line_repair": "repair", "agent_step": "agent", "writing": "write"}


@dataclass(frozen=True, slots=True)
class Tag:
    """Tags tasks. `rollouts` is a folder of rollouts by which pass rates without thinking are known, or empty.

    `mutants` and `verified` are the folders before and behind a `verify`, by which it is known how many of a function's
    mutants its tests do not notice; both or none.
    """

    seed: int = 0
    rollouts: str = place()
    mutants: str = place()
    verified: str = place()

    name: ClassVar[str] = "tag"
    version: ClassVar[int] = 1
    reads: ClassVar[type] = Task
    writes: ClassVar[type] = Task
    whole: ClassVar[bool] = False

    def __call__(self, records: Iterable[Task], context: Context) -> Iterator[Task | Refused]:
        """The tasks with their tags. Raises UserError if a folder cannot be read."""
        rates, survivors = PassRates.of(self.rollouts), Survivors.of(self.mutants, self.verified)
        for task in records:
            yield replace(task, tags=tags_of(task, rates.without_thought(task.id), survivors.share(task.provenance)))


@dataclass(frozen=True, slots=True)
class TagSamples:
    """Tags samples, where what made them did not; what stands there already is kept."""

    seed: int = 0

    name: ClassVar[str] = "tag_samples"
    version: ClassVar[int] = 1
    reads: ClassVar[type] = Sample
    writes: ClassVar[type] = Sample
    whole: ClassVar[bool] = False

    def __call__(self, records: Iterable[Sample], context: Context) -> Iterator[Sample | Refused]:
        """The samples with their tags."""
        for sample in records:
            yield replace(sample, tags=tags_of_sample(sample))


def tags_of(task: Task, pass_off: float | None = None, survived: float | None = None) -> Tags:
    """The tags of a task, of which the model solved the share `pass_off` without thinking (None: nobody tried).

    `survived` is the share of its function's mutants that went unnoticed (None: there were none).
    """
    seen = {"pass_off": pass_off, "survived": survived}
    known = {name: round(share, 4) for name, share in seen.items() if share is not None}
    measures = {**task.tags.measures, **measured(task), **known}
    words = f"{task.statement}\n{task.context}\n{_changed(task.solution)}"
    return Tags(
        task.tags.type or TYPES[task.kind],
        task.tags.domain or domain_of(task.provenance.path, words),
        difficulty(measures, _operator(task.provenance.made_by)),
        strength(task.statement),
        language_of(task.statement),
        dict(sorted(measures.items())),
    )


def tags_of_sample(sample: Sample) -> Tags:
    """The tags of a sample, from its prompt; its difficulty stays what it was if it has measures."""
    said = next((message.content for message in reversed(sample.messages) if message.role == "user"), "")
    tags = sample.tags
    measures = tags.measures or {"context": float(len(said))}
    return replace(
        tags,
        type=tags.type or FAMILIES.get(sample.family, sample.family),
        domain=tags.domain or domain_of(sample.provenance.path, said),
        difficulty=tags.difficulty if tags.measures else difficulty(measures, None),
        intent=tags.intent or strength(said),
        measures=dict(sorted(measures.items())),
    )


def measured(task: Task) -> dict[str, float]:
    """What can be counted of a task: characters shown and changed, hunks, and lines that the solution touches."""
    lines = _changed(task.solution)
    shown = len(task.statement) + len(task.context) + len(lines)
    if not task.solution.strip():
        return {"context": float(shown)}
    places = max(1, hunks(task.solution))
    return {"context": float(shown), "hunks": float(places), "changed": float(len(lines.splitlines()))}


def difficulty(measures: Mapping[str, float], operator: str | None) -> Difficulty:
    """Easy, medium or hard, by the weighted mean of what is known."""
    found = {name: of(measures) for name, of in _PARTS.items()}
    parts = {name: value for name, value in found.items() if value is not None}
    if operator is not None:
        parts["operator"] = OPERATORS.get(operator, 0.5)
    weight = sum(_WEIGHTS[name] for name in parts)
    score = sum(_WEIGHTS[name] * value for name, value in parts.items()) / weight if weight else 0.5
    return "easy" if score < EASY else "hard" if score >= HARD else "medium"


def language_of(text: str) -> str:
    """``zh`` where a text has Chinese characters, else ``en``."""
    return "zh" if has_chinese(text) else "en"


def _of(name: str, measure: Callable[[float], float]) -> Callable[[Mapping[str, float]], float | None]:
    def part(measures: Mapping[str, float]) -> float | None:
        return min(1.0, max(0.0, measure(measures[name]))) if name in measures else None

    return part


_PARTS: Mapping[str, Callable[[Mapping[str, float]], float | None]] = {
    "failing": _of("pass_off", lambda rate: 1.0 - rate),
    "context": _of("context", lambda size: size / _MUCH),
    "hunks": _of("hunks", lambda hunks: (hunks - 1) / (_MOST_HUNKS - 1)),
    "steps": _of("steps", lambda steps: steps / _MOST_STEPS),
    "survived": _of("survived", lambda share: share),
}


def _operator(made_by: str) -> str | None:
    """The operator of a mutation, as ``mutate: comparison`` names it."""
    stage, _, operator = made_by.partition(":")
    return operator.strip() or None if stage == "mutate" else None


def _changed(patch: str) -> str:
    """The lines that a patch takes and gives."""
    return "\n".join((*changed(patch, "-"), *changed(patch, "+")))
