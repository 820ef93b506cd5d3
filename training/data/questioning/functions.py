"""Questions on a single function, answered from its syntax tree."""

from __future__ import annotations

import ast
import random
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import chain

from training.data.questioning.asked import (
    LONGEST,
    MOST,
    SHORT,
    Asked,
    code,
    listed,
    quoted,
    seen,
    shown,
    signature,
    so,
    steps,
    without_docstring,
)
from training.data.questioning.words import FORMS, NO, YES, Both, same
from training.data.repositories.modules import Callable_, Definition, Module, body_of, own

_FEW_NO = 0.08
"""Share of the functions without such a thing that are asked for it all the same, so that "none" is an answer too."""
_PER_FUNCTION = 2
"""Parameters of one function that are asked for in one kind of question; our choices."""
_KNOWN = {"property": "property", "staticmethod": "static", "classmethod": "class"}
_CONTEXTS = frozenset({"contextmanager", "contextlib.contextmanager"})
_ASYNC_CONTEXTS = frozenset({"asynccontextmanager", "contextlib.asynccontextmanager"})
_SENTENCE = re.compile(r"(.{20,180}?[.!])(?=\s|$)", re.DOTALL)
_BINDING = (ast.Global, ast.Nonlocal, ast.Import, ast.ImportFrom, ast.Match, ast.NamedExpr, ast.ClassDef, Callable_)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_Kind = Callable[[Definition, random.Random], Iterator[Asked]]


def about_function(definition: Definition, chance: random.Random) -> Iterator[Asked]:
    """Every question that can be asked on it."""
    for kind in KINDS:
        yield from kind(definition, chance)


def node_of(definition: Definition) -> Callable_:
    """The function's node."""
    assert isinstance(definition.node, Callable_)
    return definition.node


def parameters(node: Callable_) -> list[tuple[ast.arg, ast.expr | None]]:
    """Parameters with names of their own and their defaults; ``*args`` and ``**kwargs`` are none."""
    given = node.args
    plain = [*given.posonlyargs, *given.args]
    defaults = [None] * (len(plain) - len(given.defaults)) + [*given.defaults]
    return [*zip(plain, defaults, strict=True), *zip(given.kwonlyargs, given.kw_defaults, strict=True)]


def passed(definition: Definition) -> list[tuple[ast.arg, ast.expr | None]]:
    """The parameters that a caller passes: not the instance or class of a method."""
    node = node_of(definition)
    static = any(name == "staticmethod" for name in decorators(definition))
    return parameters(node)[1:] if definition.owner and not static else parameters(node)


def decorators(definition: Definition) -> list[str]:
    """The decorators, as dotted names, calls without what they are given."""
    calls = (d.func if isinstance(d, ast.Call) else d for d in definition.node.decorator_list)
    return [ast.unparse(call) for call in calls]


def short(module: Module, node: ast.expr) -> str | None:
    """The text of an expression, if it is short and stands in one line."""
    text = module.segment(node) if node.lineno == node.end_lineno else ""
    return text if 0 < len(text) <= SHORT else None


def _asked(kind: str, definition: Definition, context: str, answer: Both, thought: Both | None = None) -> Asked:
    return Asked(kind, definition.module.path, definition.qualified, context, answer, thought or same(""))


def _returns(definition: Definition, _: random.Random) -> Iterator[Asked]:
    annotation = node_of(definition).returns
    if annotation is not None and (text := short(definition.module, annotation)):
        yield _asked("returns", definition, signature(definition), same(code(text)))


def _raises(definition: Definition, chance: random.Random) -> Iterator[Asked]:
    raised = [node for node in own(node_of(definition)) if isinstance(node, ast.Raise)]
    names = [_raised(node.exc) for node in raised]
    context = shown(definition)
    if context is None or None in names or (not raised and chance.random() > _FEW_NO) or len(names) > MOST:
        return
    found = [name for name in names if name]
    parts = [
        Both(f"{text} raises {code(name)}.", f"{text} 抛出 {code(name)}。")
        for node, name in zip(raised, found, strict=True)
        for text in [quoted(definition.module.segment(node))]
    ]
    nothing = Both("No raise statement stands in it.", "其中没有 raise 语句。")
    yield _asked("raises", definition, context, listed(found), steps(parts or [nothing], so(listed(found))))


def _raised(node: ast.expr | None) -> str | None:
    """The class that is raised; None where a name does not tell it."""
    called = node.func if isinstance(node, ast.Call) else node
    if not isinstance(called, ast.Name | ast.Attribute):
        return None
    name = ast.unparse(called)
    return name if name.rpartition(".")[2][:1].isupper() and len(name) <= SHORT else None


def _catches(definition: Definition, chance: random.Random) -> Iterator[Asked]:
    handlers = [node.type for node in own(node_of(definition)) if isinstance(node, ast.ExceptHandler)]
    context = shown(definition)
    if context is None or None in handlers or (not handlers and chance.random() > _FEW_NO):
        return
    named = [each for handler in handlers if handler for each in _alternatives(handler)]
    if all(isinstance(each, ast.Name | ast.Attribute) for each in named) and len(named) <= MOST:
        found = [(each.lineno, ast.unparse(each)) for each in named]
        yield from _listed("catches", definition, context, found)


def _alternatives(handler: ast.expr) -> Sequence[ast.expr]:
    return handler.elts if isinstance(handler, ast.Tuple) else [handler]


def _default(definition: Definition, chance: random.Random) -> Iterator[Asked]:
    having = [
        (argument.arg, text)
        for argument, value in parameters(node_of(definition))
        if value is not None and (text := short(definition.module, value))
    ]
    for name, text in chance.sample(having, min(len(having), _PER_FUNCTION)):
        yield Asked(
            "default",
            definition.module.path,
            definition.qualified,
            signature(definition),
            same(code(text)),
            slots={"p": name},
        )


def _parameter_type(definition: Definition, chance: random.Random) -> Iterator[Asked]:
    having = [
        (argument.arg, text)
        for argument, _ in parameters(node_of(definition))
        if argument.annotation is not None and (text := short(definition.module, argument.annotation))
    ]
    for name, text in chance.sample(having, min(len(having), _PER_FUNCTION)):
        yield Asked(
            "parameter_type",
            definition.module.path,
            definition.qualified,
            signature(definition),
            same(code(text)),
            slots={"p": name},
        )


def _optional(definition: Definition, chance: random.Random) -> Iterator[Asked]:
    yield from _with_or_without("optional", definition, chance, default=True)


def _required(definition: Definition, chance: random.Random) -> Iterator[Asked]:
    yield from _with_or_without("required", definition, chance, default=False)


def _with_or_without(kind: str, definition: Definition, chance: random.Random, *, default: bool) -> Iterator[Asked]:
    given = passed(definition)
    names = [argument.arg for argument, value in given if (value is not None) is default]
    if len(given) < 2 or len(given) > MOST or (not names and chance.random() > _FEW_NO):
        return
    parts = [_has_default(definition.module, argument.arg, value) for argument, value in given]
    yield _asked(kind, definition, signature(definition), listed(names), steps(parts, so(listed(names))))


def _has_default(module: Module, name: str, value: ast.expr | None) -> Both:
    if value is None:
        return Both(f"{code(name)} has no default, so it must be passed.", f"{code(name)} 没有默认值，必须传入。")
    text = quoted(module.segment(value))
    return Both(
        f"{code(name)} has the default {text}, so it may be left out.", f"{code(name)} 默认为 {text}，可以省略。"
    )


def _keyword_only(definition: Definition, chance: random.Random) -> Iterator[Asked]:
    names = [argument.arg for argument in node_of(definition).args.kwonlyargs]
    if len(names) > MOST or not passed(definition) or (not names and chance.random() > _FEW_NO / 2):
        return
    star = Both(
        "What stands behind `*` or `*args` in the signature can only be passed by keyword.",
        "签名里 `*` 或 `*args` 之后的参数只能用关键字传递。",
    )
    bare = Both("No parameter stands behind a `*` in the signature.", "签名里没有参数写在 `*` 之后。")
    yield _asked(
        "keyword_only",
        definition,
        signature(definition),
        listed(names),
        steps([star if names else bare], so(listed(names))),
    )


def _generator(definition: Definition, chance: random.Random) -> Iterator[Asked]:
    node, context = node_of(definition), shown(definition)
    if context is None or isinstance(node, ast.AsyncFunctionDef):
        return
    yields = next((each for each in own(node) if isinstance(each, ast.Yield | ast.YieldFrom)), None)
    if yields is None and chance.random() > _FEW_NO:
        return
    if yields is None:
        why = Both("No `yield` stands in its own body.", "它自己的函数体里没有 `yield`。")
        yield _asked("generator", definition, context, NO, steps([why], so(NO)))
        return
    text = quoted(definition.module.segment(yields))
    why = Both(
        f"Its body holds {text}, which makes it a generator function.", f"函数体里有 {text}，因此它是生成器函数。"
    )
    yield _asked("generator", definition, context, YES, steps([why], so(YES)))


def _form(definition: Definition, chance: random.Random) -> Iterator[Asked]:
    context, form = shown(definition), _form_of(definition)
    usual = form in ("function", "method")
    if context is not None and form is not None and (not usual or chance.random() <= _FEW_NO):
        yield _asked("form", definition, context, FORMS[form])


def _form_of(definition: Definition) -> str | None:
    """A key of `FORMS`; None where a decorator may make anything of it."""
    node, names = node_of(definition), decorators(definition)
    yields = any(isinstance(each, ast.Yield | ast.YieldFrom) for each in own(node))
    match names:
        case []:
            return _undecorated(isinstance(node, ast.AsyncFunctionDef), yields, definition.owner is not None)
        case [name] if name in _CONTEXTS and yields:
            return "context"
        case [name] if name in _ASYNC_CONTEXTS and yields:
            return "async context"
        case [name] if not yields and isinstance(node, ast.FunctionDef):
            return _KNOWN.get(name)
        case _:
            return None


def _undecorated(is_async: bool, yields: bool, is_method: bool) -> str:
    match is_async, yields:
        case True, True:
            return "async generator"
        case True, False:
            return "coroutine"
        case False, True:
            return "generator"
        case _:
            return "method" if is_method else "function"


def _decorators(definition: Definition, chance: random.Random) -> Iterator[Asked]:
    texts = [short(definition.module, node) for node in definition.node.decorator_list]
    if None in texts or (not texts and chance.random() > _FEW_NO / 4):
        return
    names = [f"@{text}" for text in texts if text]
    yield _asked("decorators", definition, signature(definition), listed(names))


def _calls(definition: Definition, _: random.Random) -> Iterator[Asked]:
    node, context = node_of(definition), shown(definition)
    inside = [each for statement in node.body for each in ast.walk(statement)]
    if context is None or any(isinstance(each, ast.Lambda | Callable_ | ast.ClassDef) for each in inside):
        return
    calls = [each for each in inside if isinstance(each, ast.Call) and isinstance(each.func, ast.Name)]
    calls.sort(key=lambda call: (call.func.lineno, call.func.col_offset))
    found = [(call.lineno, call.func.id) for call in calls if isinstance(call.func, ast.Name)]
    if found:
        yield from _listed("calls", definition, context, found)


def _count_returns(definition: Definition, _: random.Random) -> Iterator[Asked]:
    found = [each for each in own(node_of(definition)) if isinstance(each, ast.Return)]
    yield from _counted("count_returns", definition, found, len(found) > 1)


def _count_loops(definition: Definition, chance: random.Random) -> Iterator[Asked]:
    found = [each for each in own(node_of(definition)) if isinstance(each, ast.For | ast.AsyncFor | ast.While)]
    asked = len(found) > 1 or (len(found) == 1 and chance.random() < 0.2) or chance.random() < _FEW_NO / 4
    yield from _counted("count_loops", definition, found, asked)


def _counted(kind: str, definition: Definition, found: Sequence[ast.stmt], asked: bool) -> Iterator[Asked]:
    context = shown(definition)
    if context is None or not asked or len(found) > MOST:
        return
    ordered = sorted(found, key=lambda each: (each.lineno, each.col_offset))
    rows = [quoted(definition.module.segment(each)) for each in ordered]
    parts = [Both(f"{number}. {row}", f"{number}. {row}") for number, row in enumerate(rows, 1)]
    nothing = Both("None stands in it.", "其中没有这样的语句。")
    answer = same(str(len(found)))
    yield _asked(kind, definition, context, answer, steps(parts or [nothing], so(answer)))


def _purpose(definition: Definition, _: random.Random) -> Iterator[Asked]:
    words, context = ast.get_docstring(node_of(definition)), without_docstring(definition)
    match = _SENTENCE.match(words.split("\n\n")[0]) if words and words.isascii() else None
    if context is None or match is None or not 4 <= context.count("\n") + 1 <= LONGEST:
        return
    sentence = " ".join(match[1].split())
    if ">>>" not in sentence and not sentence.startswith((":", "@")):
        yield Asked("purpose", definition.module.path, definition.qualified, context, same(sentence), english=True)


def _assigned(definition: Definition, _: random.Random) -> Iterator[Asked]:
    node, context = node_of(definition), shown(definition)
    inside = [each for statement in body_of(node) for each in (statement, *own(statement))]
    unclear = any(isinstance(each, _BINDING) or getattr(each, "name", None) or _declares(each) for each in inside)
    if context is None or unclear:
        return
    hidden = {id(each) for part in inside if isinstance(part, _COMPREHENSIONS) for each in ast.walk(part)}
    stores = [each for each in inside if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store)]
    stores = sorted((each for each in stores if id(each) not in hidden), key=lambda n: (n.lineno, n.col_offset))
    mine = {argument.arg for argument in _all_arguments(node.args)}
    found = [(each.lineno, each.id) for each in stores if each.id not in mine]
    if len(found) > 1:
        yield from _listed("assigned", definition, context, found)


def _listed(kind: str, definition: Definition, context: str, found: Sequence[tuple[int, str]]) -> Iterator[Asked]:
    """A question for names that are found in lines of the function, each counted once."""
    once = {name: line for line, name in reversed(found)}
    if len(once) <= MOST:
        answer = listed(name for _, name in found)
        where = [(once[name], name) for name in dict.fromkeys(name for _, name in found)]
        yield _asked(kind, definition, context, answer, seen(definition.module, where, answer))


def _declares(node: ast.AST) -> bool:
    """Whether it only says of a name what it will be."""
    return isinstance(node, ast.AnnAssign) and node.value is None


def _all_arguments(given: ast.arguments) -> Iterator[ast.arg]:
    starred = (star for star in (given.vararg, given.kwarg) if star)
    yield from chain(given.posonlyargs, given.args, given.kwonlyargs, starred)


KINDS: Sequence[_Kind] = (
    _returns,
    _raises,
    _catches,
    _default,
    _parameter_type,
    _optional,
    _required,
    _keyword_only,
    _generator,
    _form,
    _decorators,
    _calls,
    _count_returns,
    _count_loops,
    _purpose,
    _assigned,
)
