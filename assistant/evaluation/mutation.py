"""Mutants of Python source: the same text with one small mistake in one function."""

from __future__ import annotations

import ast
import random
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import TypeVar

import libcst as cst
from libcst.metadata import (
    CodeRange,
    ExpressionContext,
    ExpressionContextProvider,
    MetadataWrapper,
    PositionProvider,
    WhitespaceInclusivePositionProvider,
)

from assistant.evaluation.operators import OPERATORS, Operator, Scope

_T = TypeVar("_T")
_LINE = re.compile(r"[^\r\n]*(?:\r\n?|\n|\Z)")
_OWN_SCOPE = (cst.FunctionDef, cst.ClassDef, cst.Lambda, cst.BaseComp)
_NO_VARIABLE = frozenset({"self", "cls", "_"})


@dataclass(frozen=True, slots=True)
class Mutant:
    """A whole source text with one mistake: `line` to `end_line` (1-based) differ from the `original` lines.

    `function` is the qualified name of the function that it is in, `operator` the kind of mistake.
    """

    text: str
    operator: str
    function: str
    line: int
    end_line: int
    original: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Spot:
    """A mistake that can be made: `new` in the place of `old`, in the function of the lines `first` to `last`.

    `top` is the statement of the module that it is in.
    """

    operator: str
    function: str
    first: int
    last: int
    top: cst.CSTNode
    old: cst.CSTNode
    new: cst.CSTNode


def mutants(
    source: str, *, seed: int, lines: Collection[int] | None = None, operators: Sequence[Operator] = OPERATORS
) -> Iterator[Mutant]:
    """Every mutant of `source` whose text is still Python, in an order that `seed` decides; none if `source` is none.

    Kinds of mistakes take turns, so that no kind crowds out the others. With `lines` only statements that have one of
    these lines are changed, in functions of which one was run.
    """
    try:
        finder = _Finder(source, operators, None if lines is None else frozenset(lines))
        spots = _in_turns(finder.spots(), seed)
    except (cst.ParserSyntaxError, SyntaxError, RecursionError):
        return
    seen: dict[int, set[str | None]] = {}
    for spot in spots:
        text = finder.text(spot)
        old, new = finder.function(spot, source), finder.function(spot, text)
        known = seen.setdefault(spot.first, {None, _meaning(old)})
        meaning = _meaning(new)
        if meaning not in known:
            known.add(meaning)
            yield _mutant(old, new, text, spot)


def lines_of(text: str) -> list[str]:
    """The lines with their ends, as Python counts them: a form feed or a line separator ends none."""
    return [line for line in _LINE.findall(text) if line]


class _Finder:
    """Walks through a source text and asks every operator at every node."""

    def __init__(self, source: str, operators: Sequence[Operator], lines: frozenset[int] | None) -> None:
        self._source, self._operators, self._lines = source, operators, lines
        self._module = cst.parse_module(source)
        wrapper = MetadataWrapper(self._module, unsafe_skip_copy=True)
        self._place = wrapper.resolve(PositionProvider)
        self._span = wrapper.resolve(WhitespaceInclusivePositionProvider)
        self._context = wrapper.resolve(ExpressionContextProvider)
        self._starts = [0]
        for line in lines_of(source):
            self._starts.append(self._starts[-1] + len(line))

    def spots(self) -> list[_Spot]:
        """All of them, in the order of the text."""
        found = ((top, *each) for top in self._module.body for each in self._functions(top, ""))
        return [spot for top, name, function in found for spot in self._in(top, name, function)]

    def text(self, spot: _Spot) -> str:
        """The source with this mistake: the node's own text exchanged, which is quick, or else that of what it is in.

        The text of a node that goes on in another line depends on the indentation around it.
        """
        if (text := self._exchanged(spot.old, spot.new)) is not None:
            return text
        text = self._exchanged(spot.top, spot.top.deep_replace(spot.old, spot.new))
        return self._code(self._module.deep_replace(spot.old, spot.new)) if text is None else text

    def _exchanged(self, old: cst.CSTNode, new: object) -> str | None:
        """The source with another node's text; None where a node's own is another by itself than in its place."""
        start, end = self._offsets(self._span[old])
        if self._module.code_for_node(old) != self._source[start:end]:
            return None
        return f"{self._source[:start]}{self._code(new)}{self._source[end:]}"

    def function(self, spot: _Spot, text: str) -> str:
        """The lines of the spot's function in `text`, which is the source or a mutant of it.

        What is said of them is said of the whole text, and a hundred times as quickly in a long one.
        """
        end = self._starts[min(spot.last, len(self._starts) - 1)] + len(text) - len(self._source)
        return text[self._starts[spot.first - 1] : end]

    def _code(self, node: object) -> str:
        return self._module.code_for_node(node) if isinstance(node, cst.CSTNode) else ""

    def _functions(self, node: cst.CSTNode, prefix: str) -> Iterator[tuple[str, cst.FunctionDef]]:
        own = node.name.value if isinstance(node, cst.FunctionDef | cst.ClassDef) else ""
        if isinstance(node, cst.FunctionDef) and self._was_run(self._rows(node.body)):
            yield prefix + own, node
        for child in node.children:
            yield from self._functions(child, f"{prefix}{own}." if own else prefix)

    def _in(self, top: cst.CSTNode, name: str, function: cst.FunctionDef) -> Iterator[_Spot]:
        known, place = self._variables(function), self._place[function]
        for node, first in self._nodes(function, place.start.line):
            rows = range(first, self._place[node].end.line + 1) if node in self._place else range(first, first + 1)
            scope = Scope(name, self._readable(node, known))
            for operator in self._operators:
                for old, new in operator.mistakes(node, scope) if self._was_run(rows) else ():
                    yield _Spot(operator.name, name, place.start.line, place.end.line, top, old, new)

    def _nodes(self, node: cst.CSTNode, first: int) -> Iterator[tuple[cst.CSTNode, int]]:
        """What can be changed within a function, each with the first line of its statement; no function inside it."""
        for child in _children(node):
            if isinstance(child, cst.BaseCompoundStatement | cst.SimpleStatementLine):
                first = self._place[child].start.line
            yield child, first
            yield from self._nodes(child, first)

    def _variables(self, function: cst.FunctionDef) -> dict[str, int]:
        """The parameters and the names that are assigned, each with the first line below which it is known."""
        known = {name.value: 0 for name in _parameters(function.params)}
        for name in self._stores(function.body):
            known.setdefault(name.value, self._place[name].start.line)
        return {name: line for name, line in known.items() if name not in _NO_VARIABLE}

    def _stores(self, node: cst.CSTNode) -> Iterator[cst.Name]:
        if isinstance(node, cst.Name) and self._context.get(node) is ExpressionContext.STORE:
            yield node
        for child in node.children:
            if not isinstance(child, _OWN_SCOPE):
                yield from self._stores(child)

    def _readable(self, node: cst.CSTNode, known: dict[str, int]) -> tuple[str, ...]:
        if not isinstance(node, cst.Name) or self._context.get(node) is not ExpressionContext.LOAD:
            return ()
        line = self._place[node].start.line
        return tuple(sorted(name for name, first in known.items() if first < line))

    def _offsets(self, span: CodeRange) -> tuple[int, int]:
        start, end = (self._starts[place.line - 1] + place.column for place in (span.start, span.end))
        return start, end

    def _rows(self, node: cst.CSTNode) -> range:
        span = self._span[node]
        return range(span.start.line, span.end.line + 1)

    def _was_run(self, rows: Iterable[int]) -> bool:
        return self._lines is None or not self._lines.isdisjoint(rows)


def _children(node: cst.CSTNode) -> Iterator[cst.CSTNode]:
    """What is run of a node: no annotations, decorators, names of keywords, inner functions and classes."""
    for child in node.children:
        if isinstance(child, cst.Annotation | cst.Decorator | cst.FunctionDef | cst.ClassDef | cst.Lambda):
            continue
        if isinstance(node, cst.Arg) and child is node.keyword:
            continue
        if isinstance(node, cst.Attribute) and child is node.attr:
            continue
        yield child


def _parameters(parameters: cst.Parameters) -> Iterator[cst.Name]:
    starred = (star for star in (parameters.star_arg, parameters.star_kwarg) if isinstance(star, cst.Param))
    for parameter in chain(parameters.posonly_params, parameters.params, parameters.kwonly_params, starred):
        yield parameter.name


def _in_turns(spots: Sequence[_Spot], seed: int) -> list[_Spot]:
    """Shuffled by `seed` within each kind, then one of each kind in turn."""
    order = random.Random(seed)  # noqa: S311 - a seeded order, no secret
    kinds: dict[str, list[_Spot]] = {}
    for spot in spots:
        kinds.setdefault(spot.operator, []).append(spot)
    piles = [_shuffled(pile, order.random()) for pile in kinds.values()]
    return [spot for row in zip_longest(*piles) for spot in _shuffled([s for s in row if s], order.random())]


def _shuffled(items: Sequence[_T], seed: float) -> list[_T]:
    return random.Random(seed).sample(items, len(items))  # noqa: S311


def _meaning(function: str) -> str | None:
    """The syntax tree, which white space and comments do not change; None for a syntax error."""
    try:
        return ast.dump(ast.parse(f"if 1:\n{function}" if function[:1] in (" ", "\t") else function))
    except (SyntaxError, ValueError, RecursionError):
        return None


def _mutant(function: str, changed: str, text: str, spot: _Spot) -> Mutant:
    old, new = lines_of(function), lines_of(changed)
    above = _common(old, new)
    below = min(_common(old[::-1], new[::-1]), min(len(old), len(new)) - above)
    start, end = spot.first + above, spot.first - 1 + max(above + 1, len(new) - below)
    return Mutant(text, spot.operator, spot.function, start, end, tuple(old[above : len(old) - below]))


def _common(one: Sequence[str], two: Sequence[str]) -> int:
    """How many items at the beginning are the same."""
    for count, (a, b) in enumerate(zip(one, two, strict=False)):
        if a != b:
            return count
    return min(len(one), len(two))
