"""Functions to be written from their docstrings: the body is taken out, and has to be there again."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

from training.data.questioning.asked import without_docstring
from training.data.repositories.diffs import unified
from training.data.repositories.modules import Callable_, Definition, Module, body_of, functions, modules_of
from training.data.schema import Function, Provenance, Refused, Source, Tags, Task, content_id
from training.data.stage import Context
from training.seeds import rng

_WORDS = 8
_SENTENCE = 40
"""Words and characters that a docstring has at least; our choices."""
_BODY = (2, 50)
"""Lines of a body at least and at most; our choices."""
_NO_BODY = frozenset({"overload", "abstractmethod", "typing.overload", "abc.abstractmethod"})
_ENGLISH = (
    "Implement `{f}` in `{path}`. So far it only raises NotImplementedError; its docstring says what it has to do:",
    "Please write the body of `{f}` ({path}) so that it does what it promises here:",
    "`{f}` in `{path}` is still a stub. Fill it in, following its signature and description:",
    "I need `{f}` in `{path}` to work. This is what I expect of it:",
    "Write the function `{f}`; the file is `{path}`, and this is its specification:",
)
_CHINESE = (
    "请实现 `{path}` 中的 `{f}`。它目前只会抛出 NotImplementedError，要做的事写在文档字符串里：",
    "请补全 `{f}`({path})的函数体，使它做到下面所说的：",
    "`{path}` 里的 `{f}` 还是个空壳，请按照签名和说明把它写完：",
    "我需要 `{path}` 中的 `{f}` 能用，期望如下：",
)


@dataclass(frozen=True, slots=True)
class Writing:
    """Functions with a docstring of substance that passing tests run; `covered` false takes those that none runs too.

    `count` is how many of one source are taken (0: all); `chinese` is the share that is asked in Chinese.
    """

    seed: int = 0
    count: int = 0
    covered: bool = True
    chinese: float = 0.25

    name: ClassVar[str] = "writing"
    version: ClassVar[int] = 1
    reads: ClassVar[type] = Source
    writes: ClassVar[type] = Task
    whole: ClassVar[bool] = False

    def __call__(self, records: Iterable[Source], context: Context) -> Iterator[Task | Refused]:
        """The tasks of each source."""
        for source in records:
            context.watch(f"functions of {source.name} to be written")
            found = list(self._fit(source, context))
            if not found:
                detail = "no function of it has a docstring of substance and a test that runs it"
                yield Refused(source.id, "undescribed", detail)
            if self.count and len(found) > self.count:
                chosen = {*rng(self.seed, "writing", source.name).sample(range(len(found)), self.count)}
                found = [each for number, each in enumerate(found) if number in chosen]
            for definition in found:
                yield self._task(source, definition)

    def _fit(self, source: Source, context: Context) -> Iterator[Definition]:
        run = {(function.path, function.name): function for function in source.functions if function.tests}
        for module in modules_of(source, context.cache):
            for definition in functions(module):
                if stub(definition) is not None and (not self.covered or _covered(run, definition)):
                    yield definition

    def _task(self, source: Source, definition: Definition) -> Task:
        chance = rng(self.seed, "writing", source.name, definition.module.path, definition.qualified)
        language = "zh" if chance.random() < self.chinese else "en"
        asking = chance.choice(_CHINESE if language == "zh" else _ENGLISH)
        path, shown = definition.module.path, stub(definition)
        assert shown is not None
        before, after = definition.module.text, _with(definition.module, definition, shown)
        words = asking.format(f=definition.qualified, path=path)
        code = definition.code
        return Task(
            content_id("writing", source.name, source.revision, path, definition.qualified, words, code),
            "writing",
            f"{words}\n\n```python\n{shown}\n```",
            Provenance(source.name, source.revision, source.released, path, definition.qualified, "writing"),
            licence=source.licence,
            start=unified(path, before, after),
            solution=unified(path, after, before),
            test=source.test,
            context=shown,
            answer=code,
            tags=Tags(language=language, measures={"lines": code.count("\n") + 1.0}),
        )


def stub(definition: Definition) -> str | None:
    """A function with its docstring and no body; None where it has none of substance, or is not to be written."""
    node = definition.node
    words = ast.get_docstring(node) if isinstance(node, Callable_) else None
    if not isinstance(node, Callable_) or not words or len(words) < _SENTENCE or len(words.split()) < _WORDS:
        return None
    rest = body_of(node)
    if not rest or without_docstring(definition) is None or _bodiless(node):
        return None
    last = node.body[0].end_lineno or node.body[0].lineno
    if not _BODY[0] <= definition.last - last <= _BODY[1]:
        return None
    pad = " " * node.body[0].col_offset
    return f"{definition.module.shown(definition.first, last)}\n{pad}raise NotImplementedError"


def _bodiless(node: Callable_) -> bool:
    """Whether the function is meant to have no body."""
    names = {ast.unparse(decorator) for decorator in node.decorator_list}
    (first, *others) = body_of(node)
    raises = isinstance(first, ast.Raise) and "NotImplementedError" in ast.unparse(first)
    return bool(names & _NO_BODY) or (not others and (raises or isinstance(first, ast.Pass)))


def _with(module: Module, definition: Definition, code: str) -> str:
    lines = [*module.lines[: definition.first - 1], *code.split("\n"), *module.lines[definition.last :]]
    return "\n".join(lines)


def _covered(run: Mapping[tuple[str, str], Function], definition: Definition) -> bool:
    function = run.get((definition.module.path, definition.qualified))
    return function is not None and function.first <= definition.last and definition.first <= function.last
