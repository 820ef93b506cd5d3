"""Experts that put back what the source really has and what was taken away before: a docstring, a return type."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from functools import partial

from training.data.experts.editing import CHANGING, editing, is_short, narrowed
from training.data.experts.expert import Episode, Library, Part, shuffled
from training.data.experts.playing import Script
from training.data.experts.words import asked, in_words
from training.data.repositories.modules import Callable_, Definition, Module, body_of, definitions, module_of


def docstrings(library: Library, part: Part) -> Iterator[Episode]:
    """A docstring that the source has, put back."""
    for one in shuffled(part.rng, library.functions):
        if (without := _undocumented(one)) is None:
            continue
        gone, place = without
        text = " ".join((ast.get_docstring(one.node) or "").split())
        words = asked(part.rng, "docstring", part.language, name=one.node.name, path=one.module.path, text=text)
        start = {one.module.path: gone.text.encode()}
        yield Episode("docstring", words, partial(_document, part, place, one), one.module.path, one.qualified, start)


def _document(part: Part, place: Definition, one: Definition) -> Script:
    edited = narrowed(place.module, one.module.text)
    name, path = one.node.name, one.module.path
    what = in_words(
        part.language,
        f"The docstring belongs right below the def line of {name}, indented as its body.",
        f"文档字符串应放在 {name} 的 def 行之下，与函数体对齐。",
    )
    message = in_words(
        part.language,
        f"`{name}` in {path} has the docstring now; no code was changed.",
        f"已为 {path} 中的 `{name}` 加上文档字符串，代码未改动。",
    )
    return editing(part, place, edited, what, message)


def _undocumented(one: Definition) -> tuple[Module, Definition] | None:
    """The module without this function's docstring of one line, and the function there."""
    node = one.node
    if not isinstance(node, Callable_) or not ast.get_docstring(node) or not body_of(node) or not is_short(one):
        return None
    first = node.body[0]
    if first.lineno != first.end_lineno or first.lineno == node.lineno or body_of(node)[0].lineno == first.lineno:
        return None
    return _without(one, [*one.module.lines[: first.lineno - 1], *one.module.lines[first.lineno :]])


def hints(library: Library, part: Part) -> Iterator[Episode]:
    """A return type that the source has, put back."""
    for one in shuffled(part.rng, library.functions):
        node = one.node
        if not isinstance(node, Callable_) or node.returns is None or not is_short(one):
            continue
        hint = ast.unparse(node.returns)
        if (found := _unhinted(one, hint)) is not None:
            words = asked(part.rng, "hint", part.language, name=node.name, path=one.module.path, hint=hint)
            start = {one.module.path: found[0].text.encode()}
            yield Episode(
                "hint", words, partial(_annotate, part, found[1], one, hint), one.module.path, one.qualified, start
            )


def _annotate(part: Part, place: Definition, one: Definition, hint: str) -> Script:
    edited = narrowed(place.module, one.module.text)
    name, path = one.node.name, one.module.path
    what = in_words(
        part.language,
        f"The annotation `-> {hint}` stands between the parameters of {name} and the colon.",
        f"注解 `-> {hint}` 写在 {name} 的参数列表和冒号之间。",
    )
    message = in_words(
        part.language,
        f"`{name}` in {path} is annotated with `-> {hint}` now.",
        f"已为 {path} 中的 `{name}` 加上返回类型 `{hint}`。",
    )
    return editing(part, place, edited, what, message)


def _unhinted(one: Definition, hint: str) -> tuple[Module, Definition] | None:
    node = one.node
    assert isinstance(node, Callable_)
    assert node.returns is not None
    row, line = node.returns.lineno - 1, one.module.lines[node.returns.lineno - 1]
    bare = line.replace(f" -> {hint}:", ":")
    if bare == line:
        return None
    return _without(one, [*one.module.lines[:row], bare, *one.module.lines[row + 1 :]])


def _without(one: Definition, lines: Sequence[str]) -> tuple[Module, Definition] | None:
    module = module_of(one.module.path, "\n".join(lines))
    found = [each for each in definitions(module) if each.qualified == one.qualified] if module else []
    return (module, found[0]) if module and len(found) == 1 else None


EDITING = (*CHANGING, docstrings, hints)
"""All experts that edit."""
