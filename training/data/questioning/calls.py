"""Questions on calls: who calls a function, and which value a parameter gets in a call that is made up."""

from __future__ import annotations

import ast
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from training.data.questioning.asked import LONGEST, MOST, Asked, code, listed, quoted, signature, so, steps
from training.data.questioning.functions import node_of, parameters, short
from training.data.questioning.words import PARAMETERS_BY_POSITION, Both, same
from training.data.repositories.modules import Callable_, Definition, Module, functions

_SNIPPET = 24
"""Lines of a function that is shown beside others; our choice."""
_CALL = 100
"""Characters of a call that is made up; our choice."""
_NO_CALLER = 0.1
"""Share of the functions without callers that are asked for; our choice."""
_VALUES = ("0", "1", "2", "3", "5", "7", "10", "42", "-1", "0.5", "True", "False", "None", "'a'", "'x'", "'spam'", "''")
_VALUES_MORE = ("[]", "[1, 2]", "(1, 2)", "{}", "{'a': 1}", "b'x'", "'zürich'", "range(3)", "100", "1_000", "'name'")


@dataclass(frozen=True, slots=True)
class _Call:
    """A call: what is passed by position, by keyword, and not at all, each a parameter with its value's text."""

    text: str
    positional: Sequence[tuple[str, str]]
    keywords: Mapping[str, str]
    defaults: Mapping[str, str]


def about_call(definition: Definition, chance: random.Random) -> Iterator[Asked]:
    """What a parameter stands for in a call; for functions and methods that no decorator changes."""
    node = node_of(definition)
    if node.decorator_list or (definition.owner and not node.args.args):
        return
    call = _made_up(definition, chance)
    names = [*dict(call.positional), *call.keywords, *call.defaults] if call else []
    if call is None or len(names) < 2 or len(call.text) > _CALL:
        return
    for name in chance.sample(names, min(2, len(names))):
        values = {**dict(call.positional), **call.keywords, **call.defaults}
        thought = steps(list(_binding(call, name)), so(same(code(values[name]))))
        yield Asked(
            "bound",
            definition.module.path,
            definition.qualified,
            signature(definition),
            same(code(values[name])),
            thought,
            {"p": name, "call": call.text},
        )


def _made_up(definition: Definition, chance: random.Random) -> _Call | None:
    node = node_of(definition)
    given = parameters(node)[1:] if definition.owner else parameters(node)
    by_keyword = {argument.arg for argument in node.args.kwonlyargs}
    only_position = {argument.arg for argument in node.args.posonlyargs}
    positional = [pair for pair in given if pair[0].arg not in by_keyword]
    count = chance.randint(sum(argument.arg in only_position for argument, _ in positional), len(positional))
    values = iter(chance.sample([*_VALUES, *_VALUES_MORE], len(_VALUES) + len(_VALUES_MORE)))
    if len(given) > MOST:
        return None
    first = [(argument.arg, next(values)) for argument, _ in positional[:count]]
    rest = [pair for pair in given if pair[0].arg not in dict(first)]
    keywords: dict[str, str] = {}
    defaults: dict[str, str] = {}
    for argument, value in chance.sample(rest, len(rest)):
        text = short(definition.module, value) if value is not None else None
        if value is not None and text is None:
            return None
        if text is not None and chance.random() < 0.5:
            defaults[argument.arg] = text
        else:
            keywords[argument.arg] = next(values)
    words = [*(value for _, value in first), *(f"{name}={value}" for name, value in keywords.items())]
    return _Call(f"{_callee(definition)}({', '.join(words)})", first, keywords, defaults)


def _callee(definition: Definition) -> str:
    name = node_of(definition).name
    if definition.owner is None:
        return name
    return definition.owner.name if name == "__init__" else f"{definition.owner.name.lower().strip('_')}.{name}"


def _binding(call: _Call, name: str) -> Iterator[Both]:
    if call.positional:
        pairs = ", ".join(f"{code(parameter)} = {code(value)}" for parameter, value in call.positional)
        yield Both(*(text.format(all=pairs) for text in PARAMETERS_BY_POSITION))
    for parameter, value in call.keywords.items():
        yield Both(
            f"{code(parameter)} is passed by keyword: {code(value)}.",
            f"{code(parameter)} 用关键字传入：{code(value)}。",
        )
    if name in call.defaults:
        value = code(call.defaults[name])
        yield Both(
            f"{code(name)} is not passed, so its default {value} holds.", f"没有传 {code(name)}，所以用默认值 {value}。"
        )


def about_callers(module: Module, chance: random.Random) -> Iterator[Asked]:
    """Who calls a function, in an excerpt of its module."""
    every = [each for each in functions(module) if each.last - each.first < _SNIPPET]
    names = [each.qualified for each in every]
    every = [each for each in every if names.count(each.qualified) == 1] if len(names) < 400 else []
    calls = {each.qualified: {*_called(each)} for each in every}
    for target in every:
        callers = [each for each in every if _key(target) in calls[each.qualified] and _sees(each, target)]
        if target in callers or len(callers) > MOST or (not callers and chance.random() > _NO_CALLER):
            continue
        if asked := _excerpt(module, target, callers, every, chance):
            yield asked


def _key(definition: Definition) -> str:
    """How a call of it reads: `name`, or `self.name` for a method."""
    name = node_of(definition).name
    return f"self.{name}" if definition.owner else name


def _sees(caller: Definition, target: Definition) -> bool:
    return target.owner is None or caller.owner is target.owner


def _called(definition: Definition) -> Iterator[str]:
    """Names, and methods of `self`, that are called in a function; names that it binds itself are left out."""
    inside = [*ast.walk(node_of(definition))]
    bound = {each.id for each in inside if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store)}
    bound |= {each.arg for each in inside if isinstance(each, ast.arg)} - {"self"}
    bound |= {each.name for each in inside[1:] if isinstance(each, Callable_ | ast.ClassDef)}
    for node in inside:
        match node:
            case ast.Call(func=ast.Name(id=name)) if name not in bound:
                yield name
            case ast.Call(func=ast.Attribute(value=ast.Name(id="self"), attr=name)):
                yield f"self.{name}"


def _excerpt(
    module: Module,
    target: Definition,
    callers: Sequence[Definition],
    every: Sequence[Definition],
    chance: random.Random,
) -> Asked | None:
    """The target, its callers and others that do not call it, in their order in the file, as far as there is room."""
    others = [each for each in every if each not in callers and each is not target and _may_stand_by(each, target)]
    chosen, room = [*callers], LONGEST - _room(target) - sum(map(_room, callers))
    for each in chance.sample(others, len(others)):
        if _room(each) <= room and len(chosen) < len(callers) + 4:
            chosen.append(each)
            room -= _room(each)
    if room < 0 or len(chosen) < 2:
        return None
    chosen.sort(key=lambda each: each.first)
    around = sorted([*chosen, target], key=lambda each: each.first)
    parts = [_verdict(module, each, target, each in callers) for each in chosen]
    answer = listed(each.qualified for each in chosen if each in callers)
    thought = steps(parts, so(answer))
    return Asked("callers", module.path, target.qualified, _together(module, around), answer, thought)


def _may_stand_by(other: Definition, target: Definition) -> bool:
    """Whether it is plain of this one that it does not call the target: the name does not stand in it."""
    return node_of(target).name not in other.code and (target.owner is None or other.owner is target.owner)


def _room(definition: Definition) -> int:
    return definition.last - definition.first + 3


def _together(module: Module, chosen: Sequence[Definition]) -> str:
    parts: list[str] = []
    owner: ast.ClassDef | None = None
    for each in chosen:
        if each.owner is not owner and each.owner is not None:
            parts.append(module.segment(each.owner) if each.owner.lineno else "")
        owner = each.owner
        parts.append(each.code)
    return "\n\n".join(parts)


def _verdict(module: Module, each: Definition, target: Definition, calls: bool) -> Both:
    name = code(each.qualified)
    if not calls:
        return Both(f"{name} does not mention it.", f"{name} 没有提到它。")
    row = quoted(next(line for line in each.code.split("\n")[1:] if f"{node_of(target).name}(" in line))
    return Both(f"{name} calls it: {row}.", f"{name} 调用了它：{row}。")
