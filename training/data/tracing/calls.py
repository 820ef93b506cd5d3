"""Calls to follow: those that tests and docstrings make with plain arguments, and others much like them."""

from __future__ import annotations

import ast
import copy
import doctest
import os
import random
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from assistant.testing.paths import is_test_file
from training.data.repositories.modules import Module, module_of, text_of

LONGEST = 120
"""Characters of a call; our choice."""
_GIVEN_NAMES = """
abs all any bin bool bytes chr complex dict divmod enumerate filter float frozenset hex int
isinstance issubclass iter len list map max min oct ord pow range repr reversed round set sorted str
sum tuple type zip True False None ValueError TypeError KeyError IndexError
"""
_GIVEN = frozenset(_GIVEN_NAMES.split())
"""Names that may stand in a call without being told what they are."""
_NUMBERS = (0, 1, 2, 3, 5, 7, 10, 12, 31, 100)
_WORDS = ("", "a", "abc", "hello world", "Data Set", "kat_pilot", "x1, y2", "level", "a-b-c")
_KINDS: Mapping[str, tuple[str, ...]] = {
    "int": tuple(map(str, _NUMBERS)),
    "float": ("0.0", "0.5", "1.5", "2.0", "10.25", "100.0"),
    "str": tuple(map(repr, _WORDS)),
    "bool": ("True", "False"),
    "bytes": ("b''", "b'abc'", "b'1,2'"),
    "dict": ("{}", "{'a': 1}", "{'a': 1, 'b': 2}", "{1: 'x', 2: 'y', 3: 'x'}"),
    "list": ("[]", "[1, 2, 3]", "[3, 1, 2, 1]", "['a', 'b', 'c']", "[5, 4, 4, 0, 7]"),
    "tuple": ("()", "(1, 2)", "('a', 'b', 'c')"),
    "set": ("set()", "{1, 2, 3}"),
}
"""What parameters of a type are tried with, where no call is known; our choice."""
_GENERIC = {"Sequence": "list", "Iterable": "list", "Iterator": "list", "Collection": "list", "Mapping": "dict"}
_SYNONYM = {name.lower(): name for name in ("List", "Dict", "Tuple", "Set")}


def calls_seen(root: Path, names: Iterable[str], modules: Iterable[Module]) -> dict[str, list[str]]:
    """Calls of functions of these names, as tests and docstrings write them, each once and in order of their places."""
    wanted = frozenset(names)
    found: dict[str, dict[str, None]] = {name: {} for name in wanted}
    for module in modules:
        for tree in _examples(module.tree):
            _collect(tree, wanted, found)
    for module in _tests(root):
        _collect(module.tree, wanted, found)
    return {name: [*calls] for name, calls in found.items()}


def calls_like(call: str, rng: random.Random, count: int) -> Iterator[str]:
    """Up to so many calls that differ from it in one or two plain arguments."""
    for _ in range(count):
        tree = ast.parse(call, mode="eval")
        for _ in range(rng.choice((1, 1, 2))):
            _changed(tree, rng)
        text = ast.unparse(tree)
        if text != call and len(text) <= LONGEST:
            yield text


def calls_by_type(node: ast.FunctionDef, rng: random.Random, count: int) -> Iterator[str]:
    """Up to so many calls made from the annotations and defaults of the parameters; none where a type is unknown."""
    arguments = node.args
    plain = [*arguments.posonlyargs, *arguments.args]
    required = plain[: len(plain) - len(arguments.defaults)]
    kinds = [_kind(each.annotation) for each in required]
    if not plain or arguments.vararg or not all(kinds) or None in arguments.kw_defaults:
        return
    for _ in range(count):
        yield f"{node.name}({', '.join(rng.choice(_KINDS[kind]) for kind in kinds if kind)})"


def _kind(annotation: ast.expr | None) -> str | None:
    match annotation:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            name = _GENERIC.get(name, name).lower() if name in _GENERIC or name in _SYNONYM.values() else name
            return name if name in _KINDS else None
        case ast.Subscript(value=value):
            return _kind(value)
        case ast.BinOp(left=left, op=ast.BitOr()):
            return _kind(left)
        case ast.Constant(value=str(text)):
            return text if text in _KINDS else None
        case _:
            return None


def _tests(root: Path) -> Iterator[Module]:
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            place = Path(folder, name)
            wanted = name.endswith(".py") and is_test_file(place.relative_to(root).as_posix())
            text = text_of(place) if wanted else None
            if text is not None and (module := module_of(name, text)) is not None:
                yield module


def _examples(tree: ast.Module) -> Iterator[ast.Module]:
    """The code of the examples in docstrings."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            continue
        said = ast.get_docstring(node)
        if said and ">>>" in said:
            yield from _parsed(said)


def _parsed(said: str) -> Iterator[ast.Module]:
    try:
        code = "".join(example.source for example in doctest.DocTestParser().get_examples(said))
        yield ast.parse(code)
    except (ValueError, SyntaxError):
        return


def _collect(tree: ast.Module, wanted: frozenset[str], found: Mapping[str, dict[str, None]]) -> None:
    for scope in (tree, *(each for each in ast.walk(tree) if isinstance(each, ast.FunctionDef))):
        known = _closed_names(scope)
        for node in ast.walk(scope):
            if isinstance(node, ast.Call) and (name := _called(node)) in wanted:
                text = _closed_call(name, node, known)
                if text is not None:
                    found[name].setdefault(text)


def _called(node: ast.Call) -> str:
    match node.func:
        case ast.Name(id=name) | ast.Attribute(value=ast.Name(), attr=name):
            return name
        case _:
            return ""


def _closed_names(scope: ast.AST) -> dict[str, ast.expr]:
    """Names that a scope binds once, to something that needs no other names."""
    found: dict[str, ast.expr] = {}
    often: set[str] = set()
    for node in ast.walk(scope):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            often |= {node.id} & found.keys()
            found.setdefault(node.id, node)
    for node in ast.walk(scope):
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if name not in often and _closed(value):
                found[name] = value
    return {name: value for name, value in found.items() if name not in often and not isinstance(value, ast.Name)}


def _closed_call(name: str, node: ast.Call, known: Mapping[str, ast.expr]) -> str | None:
    """The call with nothing in it that the reader would not know, or None."""
    if any(isinstance(each, ast.Starred) for each in node.args) or any(each.arg is None for each in node.keywords):
        return None
    filled = _Filled(known).visit(copy.deepcopy(node)) if known else copy.deepcopy(node)
    filled.func = ast.Name(name, ast.Load())
    if not all(_closed(each) for each in (*filled.args, *(keyword.value for keyword in filled.keywords))):
        return None
    text = ast.unparse(filled)
    return text if len(text) <= LONGEST and text.isprintable() else None


class _Filled(ast.NodeTransformer):
    """Names replaced by what they stand for."""

    def __init__(self, known: Mapping[str, ast.expr]) -> None:
        self._known = known

    def visit_Name(self, node: ast.Name) -> ast.expr:
        """Its value, where that is known."""
        return copy.deepcopy(self._known.get(node.id, node))


def _closed(node: ast.expr) -> bool:
    """Whether an expression needs no names but its own and a few that everybody knows."""
    own = {each.arg for each in ast.walk(node) if isinstance(each, ast.arg)}
    own |= {each.id for each in ast.walk(node) if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store)}
    for each in ast.walk(node):
        if isinstance(each, ast.Name) and each.id not in own and each.id not in _GIVEN:
            return False
        if isinstance(each, ast.Await | ast.Yield | ast.NamedExpr | ast.JoinedStr):
            return False
    return True


def _changed(tree: ast.Expression, rng: random.Random) -> None:
    """Change one plain thing in the arguments."""
    places = [node for node in ast.walk(tree) if isinstance(node, ast.Constant | ast.List | ast.Tuple)]
    if not places:
        return
    match rng.choice(places):
        case ast.Constant(value=bool() | None):
            pass
        case ast.Constant(value=int(number)) as node:
            node.value = rng.choice((number + 1, max(number - 1, 0), number + 2, number * 2, *_NUMBERS[:5]))
        case ast.Constant(value=str(text)) as node:
            node.value = _word(text, rng)
        case ast.List(elts=items) | ast.Tuple(elts=items) if items:
            _items(items, rng)


def _word(text: str, rng: random.Random) -> str:
    at = rng.randrange(len(text)) if text else 0
    others = (
        text[::-1],
        text.upper(),
        text.capitalize(),
        text[:at] + text[at + 1 :],
        text[:at] + text[at:] * 2,
        text + "s",
    )
    return rng.choice(others)


def _items(items: list[ast.expr], rng: random.Random) -> None:
    at = rng.randrange(len(items))
    match rng.randrange(4):
        case 0 if len(items) > 1:
            del items[at]
        case 1:
            items.insert(at, copy.deepcopy(items[-1]))
        case 2:
            items.reverse()
        case _:
            items.append(copy.deepcopy(items[at]))
