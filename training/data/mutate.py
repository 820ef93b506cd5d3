"""Tasks by mutation: one small mistake in a function that tests run. Whether they notice it, `Verify` finds out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from assistant.errors import UserError
from assistant.evaluation.more_operators import ALL_OPERATORS
from assistant.evaluation.mutants import Candidate
from assistant.evaluation.mutation import mutants
from assistant.evaluation.operators import Operator
from assistant.fix.changes import Change, Changes, FileState
from assistant.testing.paths import is_test_file
from training.data.repositories.checkouts import tree
from training.data.repositories.diffs import changed, plain, unified
from training.data.repositories.modules import text_of
from training.data.schema import Provenance, Refused, Source, Tags, Task, content_id
from training.data.stage import Context
from training.near import nearest
from training.seeds import derived, rng

_DULL = 100
"""Mutants in a row of functions that have theirs, after which each function may have one more; our choice."""


@dataclass(frozen=True, slots=True)
class Mutate:
    """Up to `count` mutants of each source, spread over its functions, files and `operators` (none named: all).

    Only what passing tests run is changed. The tasks are unverified: their statement says what is known without a run.
    """

    seed: int = 0
    count: int = 100
    operators: tuple[str, ...] = ()

    name: ClassVar[str] = "mutate"
    version: ClassVar[int] = 1
    reads: ClassVar[type] = Source
    writes: ClassVar[type] = Task
    whole: ClassVar[bool] = False

    def __call__(self, records: Iterable[Source], context: Context) -> Iterator[Task | Refused]:
        """The tasks; a source whose tests run nothing is refused as `unprofiled`."""
        operators = _chosen(self.operators)
        for source in records:
            if not source.lines:
                yield Refused(source.id, "unprofiled", "no line of it is known to be run by a test; profile it first")
                continue
            candidates = _candidates(source, tree(source, "", context.cache), self.seed, operators)
            for candidate in _spread(candidates, self.count):
                yield task_of(source, candidate)


def task_of(source: Source, candidate: Candidate) -> Task:
    """The task to take a mutant back."""
    mutant = candidate.mutant
    start = _patch(candidate.path, candidate.source, mutant.text)
    return Task(
        id=content_id("mutation", source.name, source.revision, start),
        kind="mutation",
        statement=f"Something is wrong with `{mutant.function}` in `{candidate.path}`. Find it and correct it.",
        provenance=Provenance(
            source=source.name,
            revision=source.revision,
            released=source.released,
            path=candidate.path,
            function=mutant.function,
            made_by=f"mutate: {mutant.operator}",
        ),
        licence=source.licence,
        start=start,
        solution=_patch(candidate.path, mutant.text, candidate.source),
        test=source.test,
        tags=Tags(type="repair", measures={"hunks": 1.0, "lines": float(_lines(start))}),
    )


def _chosen(names: tuple[str, ...]) -> tuple[Operator, ...]:
    known = {operator.name: operator for operator in ALL_OPERATORS}
    for name in names:
        if name not in known:
            raise UserError(f"there is no operator {name!r}; {nearest(name, known)}")
    return tuple(operator for name, operator in known.items() if not names or name in names)


def _candidates(source: Source, root: Path, seed: int, operators: tuple[Operator, ...]) -> Iterator[Candidate]:
    """Mutants of all files in turn, the longer run the oftener."""
    order = rng(seed, "mutate", source.name)
    weights = {path: len(lines) for path, lines in sorted(source.lines.items()) if lines and not is_test_file(path)}
    open_ = {path: _mutants(source, root, path, seed, operators) for path in weights}
    while open_:
        (path,) = order.choices([*open_], [weights[path] for path in open_])
        candidate = next(open_[path], None)
        if candidate is None:
            del open_[path]
        else:
            yield candidate


def _mutants(source: Source, root: Path, path: str, seed: int, operators: tuple[Operator, ...]) -> Iterator[Candidate]:
    text = text_of(root / path)
    if text is None:
        return
    tested = {function.name for function in source.functions if function.path == path}
    number = derived(seed, "mutants", source.name, path)
    for mutant in mutants(text, seed=number, lines=frozenset(source.lines[path]), operators=operators):
        if mutant.function in tested or not source.functions:
            yield Candidate(path, text, mutant)


@dataclass(slots=True)
class _Spread:
    """One mutant of each function, then a second one, and so on; those of others that came meanwhile wait."""

    most: int = 1
    dull: int = 0
    taken: Counter[tuple[str, str]] = field(default_factory=Counter)

    def takes(self, candidate: Candidate) -> bool:
        """Whether this one is taken now."""
        if self.taken[candidate.function] >= self.most:
            self.dull += 1
            return False
        self.taken[candidate.function] += 1
        self.dull = 0
        return True

    def second(self, waiting: list[Candidate], most: int) -> tuple[list[Candidate], list[Candidate]]:
        """Those, at most so many, that are taken now that a function may have one more; and the others."""
        self.most += 1
        ready: list[Candidate] = []
        others: list[Candidate] = []
        for candidate in waiting:
            (ready if len(ready) < most and self.takes(candidate) else others).append(candidate)
        self.dull = 0
        return ready, others


def _spread(candidates: Iterator[Candidate], count: int) -> Iterator[Candidate]:
    spread, waiting, given = _Spread(), list[Candidate](), 0
    more = True
    while given < count and (more or waiting):
        candidate = next(candidates, None) if more else None
        more = candidate is not None
        if candidate is not None and spread.takes(candidate):
            given += 1
            yield candidate
        elif candidate is not None:
            waiting.append(candidate)
        if waiting and (not more or spread.dull >= _DULL):
            ready, waiting = spread.second(waiting, count - given)
            given += len(ready)
            yield from ready


def _patch(path: str, old: str, new: str) -> str:
    if plain(path):
        return unified(path, old, new)
    return Changes.of([Change(path, FileState(old.encode()), FileState(new.encode()))]).patch()


def _lines(patch: str) -> int:
    return max(len([*changed(patch, "+")]), len([*changed(patch, "-")]))
