"""What does this call return: tasks whose answer was seen when it ran, and whose chain of thought is what ran."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import ClassVar

from training.data.repositories.modules import Module, folder_of, functions, modules
from training.data.schema import Difficulty, Provenance, Refused, Source, Tags, Task, Verification, content_id
from training.data.stage import Context
from training.data.tracing.calls import calls_by_type, calls_like, calls_seen
from training.data.tracing.code import Shown, shown
from training.data.tracing.runs import Call, Seen, follow, sandbox_of
from training.data.tracing.words import CHINESE, ENGLISH, chain, steps_told
from training.seeds import rng

BATCH = 400
"""Calls that are followed in one run of the sandbox; our choice."""
_SPARE = 3
"""One in so many calls more than wanted is tried, at least two: some have no answer. Our choice."""
_EASY, _MEDIUM = 4, 15
"""Steps up to which a trace is easy, and up to which it is of medium difficulty; our choice."""
_ENGLISH = (
    "What does this call return?\n\n{call}",
    "What is the value of `{call}`?",
    "What does `{call}` evaluate to?",
    "Given this code, what is the result of `{call}`?",
    "Tell me the result of this expression: {call}",
    "I run `{call}`. What do I get?",
)
_CHINESE = (
    "这个调用返回什么？\n\n{call}",
    "`{call}` 的值是什么？",
    "根据这段代码，`{call}` 的结果是什么？",
    "运行 `{call}` 会得到什么？",
)


@dataclass(frozen=True, slots=True)
class Trace:
    """Up to `calls` tasks for each function of a source that can be called with plain values.

    Calls come from tests and docstrings, then ones like them, then such as the annotations allow. Each runs twice in
    the sandbox, in a process of its own, with another hash seed; what differs is refused. `functions` is how many
    functions are taken (0: all), `chinese` the share of questions that are put in Chinese.
    """

    seed: int = 0
    calls: int = 3
    functions: int = 0
    chinese: float = 0.2

    name: ClassVar[str] = "trace"
    version: ClassVar[int] = 1
    reads: ClassVar[type] = Source
    writes: ClassVar[type] = Task
    whole: ClassVar[bool] = False

    def __call__(self, records: Iterable[Source], context: Context) -> Iterator[Task | Refused]:
        """The tasks of each source, function by function.

        Raises:
            UserError: there is no sandbox here.
        """
        for source in records:
            yield from self._of(source, context)

    def _of(self, source: Source, context: Context) -> Iterator[Task | Refused]:
        root = folder_of(source, context.cache)
        known = [*modules(root)]
        chosen, refused = _able(source, known)
        yield from refused
        if self.functions and len(chosen) > self.functions:
            chosen = rng(self.seed, "trace", source.id).sample(chosen, self.functions)
            chosen.sort(key=lambda each: (each.module.path, each.node.lineno))
        seen = calls_seen(root, {each.node.name for each in chosen}, known)
        candidates = [[*self._candidates(source, each, seen[each.node.name])] for each in chosen]
        if not any(candidates):
            return
        sandbox = sandbox_of(root, source.python)
        for batch in _batches(candidates):
            context.watch(f"{source.id}: following {sum(map(len, batch))} calls")
            results = follow(sandbox, source.python, [call for calls in batch for call in calls], context.jobs)
            for calls in batch:
                yield from self._tasks(source, calls, results)

    def _candidates(self, source: Source, function: Shown, seen: Sequence[str]) -> Iterator[Call]:
        """Calls of one function, the best first: half of them as they were seen."""
        order = rng(self.seed, "trace", source.id, function.module.path, function.node.name)
        count = self.calls + max(2, self.calls // _SPARE)
        for text in islice(dict.fromkeys(_mixed(function, seen, order, count)), count):
            name = content_id("trace", source.id, source.revision, function.module.path, function.text, text)
            yield Call(name, function, text)

    def _tasks(self, source: Source, calls: Sequence[Call], results: Mapping[str, Seen]) -> Iterator[Task | Refused]:
        """The first `calls` of a function that have an answer; those before them that have none are refused."""
        made = 0
        for call in calls:
            if made >= self.calls:
                return
            seen = results[call.id]
            if seen.why:
                yield Refused(call.id, seen.why, f"{call.text}: {seen.detail}")
            else:
                made += 1
                yield self._task(source, call, seen)

    def _task(self, source: Source, call: Call, seen: Seen) -> Task:
        order = rng(self.seed, "trace words", call.id)
        chinese = order.random() < self.chinese
        wording = order.choice(_CHINESE if chinese else _ENGLISH)
        text = f"list({call.text})" if seen.wrapped else call.text
        function = call.function
        return Task(
            id=call.id,
            kind="trace",
            statement=wording.format(call=text),
            provenance=_provenance(source, function),
            licence=source.licence,
            context=function.text,
            answer=seen.answer,
            thought=chain(function, seen, text, CHINESE if chinese else ENGLISH),
            tags=_tags(function, seen, "zh" if chinese else "en"),
            verification=Verification("execution", 2, {"call": text}),
        )


def _able(source: Source, known: Sequence[Module]) -> tuple[list[Shown], list[Refused]]:
    """The functions that can be shown, and for each other one at the top of a module why it cannot."""
    able: list[Shown] = []
    refused: list[Refused] = []
    for module in known:
        for definition in functions(module):
            found = shown(definition)
            if isinstance(found, Shown):
                able.append(found)
            elif definition.owner is None:
                refused.append(Refused(f"{source.id}:{module.path}:{definition.qualified}", "not_shown", found))
    return able, refused


def _mixed(function: Shown, seen: Sequence[str], order: random.Random, count: int) -> Iterator[str]:
    """Calls as they were seen and such as are like them in turn; where none was seen, ones by type."""
    if not seen:
        yield from calls_by_type(function.node, order, count * 2)
        return
    waiting = order.sample(seen, len(seen))
    for _ in range(count):
        if waiting:
            yield waiting.pop()
        yield from calls_like(order.choice(seen), order, 1)


def _batches(candidates: Iterable[list[Call]]) -> Iterator[list[list[Call]]]:
    batch: list[list[Call]] = []
    size = 0
    for calls in candidates:
        batch.append(calls)
        size += len(calls)
        if size >= BATCH:
            yield batch
            batch, size = [], 0
    if size:
        yield batch


def _provenance(source: Source, function: Shown) -> Provenance:
    return Provenance(
        source=source.id,
        revision=source.revision,
        released=source.released,
        path=function.module.path,
        function=function.node.name,
        made_by="trace",
    )


def _tags(function: Shown, seen: Seen, language: str) -> Tags:
    steps = steps_told(function, seen)
    difficulty: Difficulty = "easy" if steps <= _EASY else "medium" if steps <= _MEDIUM else "hard"
    measures = {"steps": float(steps), "lines": float(len(function.lines))}
    return Tags("trace", difficulty=difficulty, language=language, measures=measures)
