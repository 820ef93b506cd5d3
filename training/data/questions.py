"""Questions on code whose short answers are known by construction: from signatures, docstrings and syntax trees."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import ClassVar

from training.data.questioning.asked import Asked
from training.data.questioning.calls import about_call, about_callers
from training.data.questioning.classes import about_classes
from training.data.questioning.functions import about_function
from training.data.questioning.modules import about_module
from training.data.questioning.words import EN, ZH
from training.data.repositories.modules import Module, functions, modules_of
from training.data.schema import Provenance, Refused, Source, Tags, Task, Verification, content_id
from training.data.stage import Context
from training.seeds import derived, rng

KINDS: Sequence[str] = tuple(EN)
"""The kinds of questions, as `made_by` names them behind ``questions:``."""


@dataclass(frozen=True, slots=True)
class Questions:
    """Questions on every file of a source that people wrote, tests aside.

    `each` is how many of one source are taken (0: all), spread over the kinds; `kinds` names those that are wanted
    (none: all); `chinese` is the share that is asked in Chinese; `wordings` is how often one question is asked, in
    other words.
    """

    seed: int = 0
    each: int = 0
    kinds: tuple[str, ...] = ()
    chinese: float = 0.25
    wordings: int = 1

    name: ClassVar[str] = "questions"
    version: ClassVar[int] = 1
    reads: ClassVar[type] = Source
    writes: ClassVar[type] = Task
    whole: ClassVar[bool] = False

    def __call__(self, records: Iterable[Source], context: Context) -> Iterator[Task | Refused]:
        """The questions on each source; one that is asked already in the same words on the same code is refused."""
        for source in records:
            context.watch(f"questions on {source.name}")
            yield from self._new(source, context)

    def _new(self, source: Source, context: Context) -> Iterator[Task | Refused]:
        seen: set[str] = set()
        asked = self._all(source, context)
        for each in _spread(asked, self.each, self.seed) if self.each else asked:
            for task in self._tasks(source, each):
                if task.id in seen:
                    yield Refused(task.id, "duplicate", "the same is asked of the same code already")
                else:
                    seen.add(task.id)
                    yield task

    def _all(self, source: Source, context: Context) -> Iterator[Asked]:
        for module in modules_of(source, context.cache):
            for each in self._about(source, module):
                if not self.kinds or each.kind in self.kinds:
                    yield each

    def _about(self, source: Source, module: Module) -> Iterator[Asked]:
        chance = rng(self.seed, "questions", source.name, module.path)
        for function in functions(module):
            yield from about_function(function, chance)
            yield from about_call(function, chance)
        yield from chain(about_classes(module, chance), about_callers(module, chance), about_module(module, chance))

    def _tasks(self, source: Source, asked: Asked) -> Iterator[Task]:
        chance = rng(self.seed, "wording", source.name, *_key(asked))
        for _ in range(self.wordings):
            language = "zh" if not asked.english and chance.random() < self.chinese else "en"
            wording = chance.choice((ZH if language == "zh" else EN)[asked.kind])
            slots = {"f": asked.subject, "path": asked.path, "p": "", "call": "", "base": "", **asked.slots}
            yield _task(source, asked, wording.format(**slots), language)


def _task(source: Source, asked: Asked, statement: str, language: str) -> Task:
    answer, thought = asked.answer.within(language), asked.thought.within(language)
    return Task(
        content_id("question", statement, asked.context, answer),
        "question",
        statement,
        Provenance(source.name, source.revision, source.released, asked.path, asked.subject, f"questions:{asked.kind}"),
        licence=source.licence,
        context=asked.context,
        answer=answer,
        thought=thought,
        tags=Tags("question", language=language, measures={"lines": asked.context.count("\n") + 1.0}),
        verification=Verification(
            "construction", 1, {"from": "syntax tree" if asked.kind != "purpose" else "docstring"}
        ),
    )


def _key(asked: Asked) -> tuple[str, ...]:
    """What no other question of a source has, as a rule."""
    return asked.kind, asked.path, asked.subject, *asked.slots.values()


def _spread(asked: Iterable[Asked], count: int, seed: int) -> Iterator[Asked]:
    """`count` of them, as many of each kind as there are, in an order that only `seed` and the questions decide."""
    kinds: dict[str, list[tuple[int, int, Asked]]] = {kind: [] for kind in KINDS}
    for number, each in enumerate(asked):
        pile = kinds[each.kind]
        entry = (-derived(seed, "spread", *_key(each)), -number, each)
        if len(pile) < count:
            heapq.heappush(pile, entry)
        else:
            heapq.heappushpop(pile, entry)
    rows = zip_longest(*(sorted(pile, reverse=True, key=lambda entry: entry[:2]) for pile in kinds.values()))
    ordered = (entry[2] for row in rows for entry in row if entry is not None)
    yield from (each for each, _ in zip(ordered, range(count), strict=False))
