"""Bugs that a model writes into functions that tests run, and bugs that are combined of two mutations, without one."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations, islice
from typing import ClassVar, Literal

from model.engine import EngineRefused
from model.format import ThinkRequest
from training.data.asking.abreast import abreast
from training.data.asking.drawing import BrokeOff, Drawing, Model, TookTooLong, opened
from training.data.asking.inventing import Bug, Useless, asking, read
from training.data.repositories.diffs import hunks, unified
from training.data.repositories.modules import Definition, functions, module_of, modules_of
from training.data.repositories.mutating import Change, changed, changes
from training.data.schema import Provenance, Refused, Source, Tags, Task, content_id
from training.data.stage import Context
from training.seeds import derived, rng

_LINES = (4, 60)
"""Lines of a function that is given a bug, at least and at most; our choice."""
_TRIED = 12
"""Mutations of a function from which two are taken; our choice."""
_IN_FILE = 0.3
"""Share of the combined bugs whose halves are in two functions of a file; our choice."""
_SYMPTOMS: Mapping[str, Sequence[str]] = {
    "en": (
        "Something is wrong with `{f}` in `{path}`: tests that passed fail now. Find the cause and repair it.",
        "`{f}` does not do what it should any more. Please find the bug and fix it.",
        "Since the last change `{path}` misbehaves, probably in `{f}`. Can you mend it?",
        "The tests of `{f}` fail. Please make them pass again without touching the tests.",
    ),
    "zh": (
        "`{path}` 里的 `{f}` 有问题:原来能通过的测试现在失败了。请找出原因并修好。",
        "`{f}` 的行为不对了,请找到缺陷并修复。",
        "`{f}` 的测试失败了。请在不改动测试的前提下让它们重新通过。",
    ),
}


@dataclass(frozen=True, slots=True)
class Invent:
    """Bugs by the model that the context names, in `count` functions of each source that passing tests run.

    A reply that is no good is asked for again, `tries` times in all, each with a seed of its own; `think` is how the
    model is asked (auto, on or off). What limits a reply has is `Drawing`'s.
    """

    seed: int = 0
    count: int = 20
    tries: int = 2
    think: Literal["auto", "on", "off"] = "off"
    tokens: int = 1024
    timeout: float = 120.0
    chinese: float = 0.25

    name: ClassVar[str] = "invent"
    version: ClassVar[int] = 1
    reads: ClassVar[type] = Source
    writes: ClassVar[type] = Task
    whole: ClassVar[bool] = False

    def __call__(self, records: Iterable[Source], context: Context) -> Iterator[Task | Refused]:
        """The tasks of each source; what a reply is refused for is said under the function's name.

        Raises:
            UserError: the context names no engine.
            EngineError: it cannot be reached, or refuses.
        """
        drawing = Drawing(tokens=self.tokens, timeout=self.timeout)
        for source in records:
            context.watch(f"bugs in {source.name}, written by a model")
            found = _chosen(source, context, self.seed, "invent", self.count)
            if not found:
                yield _uncovered(source)
                continue
            yield from abreast(found, lambda: opened(context, drawing), partial(self._bug, source), context.jobs)

    async def _bug(self, source: Source, model: Model, definition: Definition) -> Sequence[Task | Refused]:
        refused = Useless("malformed", "nothing was asked")
        for number in range(self.tries):
            seed = derived(self.seed, "bug", source.name, definition.module.path, definition.qualified, number)
            try:
                drawn = await model.reply(asking(definition), ThinkRequest(self.think), seed)
            except EngineRefused as error:
                refused = Useless("engine", str(error))
                break
            except (TookTooLong, BrokeOff) as error:
                refused = Useless("timeout", str(error))
                continue
            found = read(definition, drawn.reply.answer)
            if isinstance(found, Bug):
                return [self._task(source, definition, found, model.name)]
            refused = found
        return [Refused(_name(source, definition), refused.reason, refused.detail)]

    def _task(self, source: Source, definition: Definition, bug: Bug, model: str) -> Task:
        chance = rng(self.seed, "invent", source.name, definition.module.path, definition.qualified)
        patches = (bug.start, bug.solution)
        return _made(source, definition, patches, chance, ("invented", f"invent:{model}"), self.chinese)


@dataclass(frozen=True, slots=True)
class Combine:
    """Two mutations in one function, or in two of one file, that passing tests run; `count` of each source."""

    seed: int = 0
    count: int = 50
    chinese: float = 0.25

    name: ClassVar[str] = "combine"
    version: ClassVar[int] = 1
    reads: ClassVar[type] = Source
    writes: ClassVar[type] = Task
    whole: ClassVar[bool] = False

    def __call__(self, records: Iterable[Source], context: Context) -> Iterator[Task | Refused]:
        """The tasks of each source, in an order that the seed decides."""
        for source in records:
            context.watch(f"combined bugs in {source.name}")
            found = _chosen(source, context, self.seed, "combine", 0)
            if not found:
                yield _uncovered(source)
            made = (task for each in found if (task := self._pair(source, each, found)) is not None)
            yield from islice(made, self.count) if self.count else made

    def _pair(self, source: Source, definition: Definition, others: Sequence[Definition]) -> Task | None:
        chance = rng(self.seed, "combine", source.name, definition.module.path, definition.qualified)
        mine = self._changes(source, definition)
        near = [each for each in others if each.module is definition.module and each is not definition]
        if near and mine and chance.random() < _IN_FILE:
            theirs = self._changes(source, chance.choice(near))
            pairs = [(mine[0], change) for change in theirs]
        else:
            pairs = list(combinations(mine, 2))
        fit = [pair for pair in pairs if pair[0].apart(pair[1]) and pair[0].operator != pair[1].operator]
        if not fit:
            return None
        one, two = chance.choice(fit)
        path, before, after = definition.module.path, definition.module.text, changed(definition, one, two)
        if module_of(path, after) is None:
            return None
        patches = unified(path, before, after), unified(path, after, before)
        made_by = f"combine:{one.operator}+{two.operator}"
        return _made(source, definition, patches, chance, ("mutation", made_by), self.chinese)

    def _changes(self, source: Source, definition: Definition) -> list[Change]:
        seed = derived(self.seed, "combine", source.name, definition.module.path, definition.qualified)
        lines = source.lines.get(definition.module.path)
        return list(islice(changes(definition, seed=seed, lines=lines), _TRIED))


def _chosen(source: Source, context: Context, seed: int, purpose: str, count: int) -> list[Definition]:
    """Functions that passing tests run, in an order that the seed decides; `count` of them, or all for 0."""
    run = {(function.path, function.name) for function in source.functions if function.tests}
    found = [
        definition
        for module in modules_of(source, context.cache)
        for definition in functions(module)
        if (module.path, definition.qualified) in run
        if _LINES[0] <= definition.last - definition.first + 1 <= _LINES[1]
    ]
    found.sort(key=lambda each: derived(seed, purpose, source.name, each.module.path, each.qualified))
    return found[:count] if count else found


def _made(
    source: Source,
    definition: Definition,
    patches: tuple[str, str],
    chance: random.Random,
    kind: tuple[str, str],
    chinese: float,
) -> Task:
    start, solution = patches
    path, made_by = definition.module.path, kind[1]
    language = "zh" if chance.random() < chinese else "en"
    words = chance.choice(_SYMPTOMS[language]).format(f=definition.qualified, path=path)
    return Task(
        content_id(kind[0], source.name, source.revision, start),
        "invented" if kind[0] == "invented" else "mutation",
        words,
        Provenance(source.name, source.revision, source.released, path, definition.qualified, made_by),
        licence=source.licence,
        start=start,
        solution=solution,
        test=source.test,
        tags=Tags(language=language, measures={"hunks": float(hunks(solution))}),
    )


def _uncovered(source: Source) -> Refused:
    return Refused(source.id, "uncovered", "no function of it is known to be run by a passing test; profile it first")


def _name(source: Source, definition: Definition) -> str:
    return f"{source.name}:{definition.module.path}:{definition.qualified}"
