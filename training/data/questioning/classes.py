"""Questions on a class, answered from its syntax tree."""

from __future__ import annotations

import ast
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence

from training.data.questioning.asked import LONGEST, MOST, Asked, code, listed, seen, shown, signature, so, steps
from training.data.questioning.words import Both
from training.data.repositories.modules import Callable_, Definition, Module, definitions, own

_FEW_NO = 0.08
"""Share of the classes without such a thing that are asked for it all the same; our choice."""
_HEAD = 12
"""Lines of a class that are shown where its head is asked for; our choice."""
_PLAIN = (ast.Expr, ast.Assign, ast.AnnAssign, ast.Pass, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
_SIMPLE = frozenset({"staticmethod", "classmethod", "abstractmethod", "abc.abstractmethod", "override"})


def about_classes(module: Module, chance: random.Random) -> Iterator[Asked]:
    """Every question on the classes of a module."""
    classes = [each for each in definitions(module) if isinstance(each.node, ast.ClassDef)]
    by_name = {each.qualified: each for each in classes}
    for each in classes:
        for kind in (_bases, _methods, _attributes):
            yield from kind(each, chance)
        yield from _overrides(each, by_name)


def _node(definition: Definition) -> ast.ClassDef:
    assert isinstance(definition.node, ast.ClassDef)
    return definition.node


def _asked(kind: str, definition: Definition, context: str, answer: Both, thought: Both | None = None) -> Asked:
    return Asked(kind, definition.module.path, definition.qualified, context, answer, thought or Both("", ""))


def _bases(definition: Definition, chance: random.Random) -> Iterator[Asked]:
    bases = _node(definition).bases
    if any(base.lineno != base.end_lineno for base in bases) or (not bases and chance.random() > _FEW_NO):
        return
    last = min(definition.last, definition.node.lineno + _HEAD)
    names = [definition.module.segment(base) for base in bases]
    yield _asked("bases", definition, definition.module.shown(definition.first, last), listed(names))


def _methods(definition: Definition, _: random.Random) -> Iterator[Asked]:
    methods, context = _own_methods(definition), _whole_or_outline(definition)
    if methods is None or context is None or not _all_simple(methods.values()):
        return
    names = [name for name in methods if not name.startswith("_")]
    if 0 < len(names) <= MOST:
        yield _asked("methods", definition, context, listed(names))


def _all_simple(methods: Iterable[Callable_]) -> bool:
    """Whether all are methods plainly, and no properties or what else a decorator makes."""
    return all(ast.unparse(decorator) in _SIMPLE for node in methods for decorator in node.decorator_list)


def _own_methods(definition: Definition) -> Mapping[str, Callable_] | None:
    """The methods by name; None where some may be defined in branches or twice."""
    body = _node(definition).body
    methods = [node for node in body if isinstance(node, Callable_)]
    found = {node.name: node for node in methods}
    return found if len(found) == len(methods) and all(isinstance(node, _PLAIN) for node in body) else None


def _whole_or_outline(definition: Definition) -> str | None:
    if (text := shown(definition)) is not None:
        return text
    rows = "\n\n".join(_outline(definition))
    return rows if rows.count("\n") < LONGEST else None


def _outline(definition: Definition) -> Iterator[str]:
    """The head of the class, then those of its methods."""
    module, node = definition.module, _node(definition)
    yield signature(definition).removesuffix("...").rstrip()
    for each in node.body:
        if isinstance(each, Callable_):
            yield signature(Definition(module, each, each.name, node))


def _attributes(definition: Definition, _: random.Random) -> Iterator[Asked]:
    node = _node(definition)
    maker = next((each for each in node.body if isinstance(each, ast.FunctionDef) and each.name == "__init__"), None)
    if maker is None or not maker.args.args or maker.decorator_list:
        return
    inner = Definition(definition.module, maker, f"{definition.qualified}.__init__", node)
    found = _stored(maker, maker.args.args[0].arg)
    first = {each.attr: each.lineno for each in reversed(found)}
    where = [(first[name], name) for name in dict.fromkeys(each.attr for each in found)]
    context, answer = shown(inner), listed(name for _, name in where)
    if context is not None and 1 < len(where) <= MOST:
        yield _asked("attributes", definition, context, answer, seen(definition.module, where, answer))


def _stored(maker: ast.FunctionDef, instance: str) -> list[ast.Attribute]:
    declared = {id(each.target) for each in own(maker) if isinstance(each, ast.AnnAssign) and each.value is None}
    found = [
        each
        for each in own(maker)
        if isinstance(each, ast.Attribute) and isinstance(each.ctx, ast.Store) and id(each) not in declared
        if isinstance(each.value, ast.Name) and each.value.id == instance
    ]
    return sorted(found, key=lambda each: (each.lineno, each.col_offset))


def _overrides(definition: Definition, by_name: Mapping[str, Definition]) -> Iterator[Asked]:
    for node in _node(definition).bases:
        base = by_name.get(node.id) if isinstance(node, ast.Name) else None
        if base is None or base is definition or base.first > definition.first:
            continue
        theirs, mine = _own_methods(base), _own_methods(definition)
        if not theirs or not mine or not 0 < len({*theirs} & {*mine}) <= MOST:
            continue
        context = "\n\n".join([*_outline(base), *_outline(definition)])
        if context.count("\n") < LONGEST:
            yield _overriding(definition, base, [*theirs], [*mine], context)


def _overriding(
    definition: Definition, base: Definition, theirs: Sequence[str], mine: Sequence[str], context: str
) -> Asked:
    one, two = code(base.qualified), code(definition.qualified)
    there, here = listed(theirs), listed(mine)
    parts = [
        Both(f"{one} defines {there.en}.", f"{one} 定义了 {there.zh}。"),
        Both(f"{two} defines {here.en}.", f"{two} 定义了 {here.zh}。"),
    ]
    answer = listed(name for name in mine if name in theirs)
    slots = {"base": base.qualified}
    thought = steps(parts, so(answer))
    return Asked("overrides", definition.module.path, definition.qualified, context, answer, thought, slots)
