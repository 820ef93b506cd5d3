"""What a reader must see of a module to follow a call of one of its functions, with the numbers of its lines."""

from __future__ import annotations

import ast
import builtins
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from training.data.repositories.modules import Definition, Module, body_of

MOST = 40
"""Lines of the function; our choice."""
ALL = 70
"""Lines with what it uses; our choice."""
_CONSTANT = 6
"""Lines of a constant that is shown; our choice."""
_BUILT_IN = frozenset(dir(builtins)) - {"open", "input", "print", "id", "exec", "eval", "globals", "locals", "vars"}
_STANDARD = frozenset(sys.stdlib_module_names)
_Function = ast.FunctionDef


@dataclass(frozen=True, slots=True)
class Line:
    """A line as it is shown: its own number there, its number in the file, and its text."""

    number: int
    row: int
    text: str


@dataclass(frozen=True, slots=True)
class Shown:
    """A function and what it uses. `helpers` are the functions among that; `rows` are its own first and last line."""

    module: Module
    node: ast.FunctionDef
    lines: tuple[Line, ...]
    helpers: tuple[str, ...]

    @property
    def rows(self) -> tuple[int, int]:
        """Its first and last line in the file, decorators included."""
        return _span(self.node)

    @property
    def text(self) -> str:
        """The lines with their numbers."""
        return "\n".join(f"{line.number}: {line.text}".rstrip() for line in self.lines)

    @property
    def numbers(self) -> Mapping[int, int]:
        """The numbers by rows of the file."""
        return {line.row: line.number for line in self.lines}


def shown(definition: Definition) -> Shown | str:
    """The function as it is shown, without its docstring; or why it cannot be, in a few words."""
    node, module = definition.node, definition.module
    if not isinstance(node, _Function) or definition.owner is not None or not body_of(node):
        return "it is no plain function"
    known = _bound(module.tree)
    needed = _needed(node, known)
    if isinstance(needed, str):
        return needed
    ordered = sorted([*needed, node], key=lambda each: each.lineno)
    rows = [row for each in ordered for row in _rows(module, each)]
    own_rows = sum(1 for _ in _rows(module, node))
    if own_rows > MOST or len(rows) > ALL:
        return "it is too long"
    lines = (Line(number, row, module.lines[row - 1]) for number, row in enumerate(rows, 1))
    helpers = tuple(each.name for each in ordered if isinstance(each, _Function))
    return Shown(module, node, tuple(lines), helpers)


def _needed(node: ast.FunctionDef, known: Mapping[str, ast.stmt]) -> list[ast.stmt] | str:
    """The statements of the module that a function relies on, or what of it nobody could see."""
    found: dict[ast.stmt, None] = {}
    waiting: list[ast.stmt] = [node]
    while waiting:
        for name in sorted(_free(waiting.pop())):
            if name in known:
                statement = known[name]
                if statement is not node and statement not in found:
                    if not _showable(statement):
                        return f"it uses {name}, which cannot be shown"
                    found[statement] = None
                    waiting.append(statement)
            elif name not in _BUILT_IN:
                return f"it uses {name}, which is not to be seen"
    return [*found]


def _showable(statement: ast.stmt) -> bool:
    match statement:
        case ast.Import(names=names):
            return all(name.name.split(".")[0] in _STANDARD for name in names)
        case ast.ImportFrom(module=module, level=0):
            return (module or "").split(".")[0] in _STANDARD
        case ast.Assign() | ast.AnnAssign():
            return (statement.end_lineno or statement.lineno) - statement.lineno < _CONSTANT
        case ast.FunctionDef():
            return bool(body_of(statement))
        case _:
            return False


def _bound(tree: ast.Module) -> dict[str, ast.stmt]:
    """The statements at the top of a module by the names that they bind; none that is bound twice."""
    found: dict[str, ast.stmt] = {}
    twice: set[str] = set()
    for statement in tree.body:
        for name in _names(statement):
            if name in found:
                twice.add(name)
            found[name] = statement
    hidden = {name for statement in tree.body for name in _within(statement)}
    return {name: statement if name not in twice | hidden else ast.Pass() for name, statement in found.items()}


def _within(statement: ast.stmt) -> Iterator[str]:
    """Names that are bound in blocks at the top, where it depends, or by functions that say `global`."""
    if isinstance(statement, ast.If | ast.Try | ast.With | ast.For | ast.While):
        for each in ast.walk(statement):
            if isinstance(each, ast.stmt):
                yield from _names(each)
    for each in ast.walk(statement):
        if isinstance(each, ast.Global):
            yield from each.names


def _names(statement: ast.stmt) -> Iterator[str]:
    match statement:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            yield statement.name
        case ast.Import(names=names) | ast.ImportFrom(names=names):
            yield from (name.asname or name.name.split(".")[0] for name in names)
        case ast.Assign() | ast.AnnAssign() | ast.AugAssign() | ast.Delete():
            yield from _targets(statement)


def _targets(statement: ast.stmt) -> Iterator[str]:
    for each in ast.walk(statement):
        if isinstance(each, ast.Name) and not isinstance(each.ctx, ast.Load):
            yield each.id


def _free(statement: ast.stmt) -> set[str]:
    """The names that a statement reads and does not bind itself; annotations do not count."""
    if not isinstance(statement, _Function):
        nodes: list[ast.AST] = [statement]
    else:
        arguments = statement.args
        nodes = [*statement.body, *statement.decorator_list, *arguments.defaults, *filter(None, arguments.kw_defaults)]
    return _read(nodes) - _bound_inside(statement)


def _read(nodes: Iterable[ast.AST]) -> set[str]:
    return {
        each.id
        for node in nodes
        for each in ast.walk(node)
        if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Load)
    }


def _bound_inside(statement: ast.stmt) -> set[str]:
    names: set[str] = set()
    for each in ast.walk(statement):
        match each:
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()) | ast.arg(arg=name):
                names.add(name)
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name) if each is not statement:
                names.add(name)
            case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                names.add(name)
            case ast.Import(names=aliases) | ast.ImportFrom(names=aliases) if each is not statement:
                names.update(alias.asname or alias.name.split(".")[0] for alias in aliases)
    return names


def _span(node: ast.FunctionDef) -> tuple[int, int]:
    first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
    return first, node.end_lineno or node.lineno


def _rows(module: Module, statement: ast.stmt) -> Iterator[int]:
    """The rows of a statement that are shown: no docstring, and no blank ones around it."""
    if not isinstance(statement, _Function):
        yield from range(statement.lineno, (statement.end_lineno or statement.lineno) + 1)
        return
    first, last = _span(statement)
    body = body_of(statement)
    hidden = range(0)
    if len(body) < len(statement.body):
        said = statement.body[0]
        hidden = range(said.lineno, (said.end_lineno or said.lineno) + 1)
        while hidden.stop < body[0].lineno and not module.lines[hidden.stop - 1].strip():
            hidden = range(hidden.start, hidden.stop + 1)
    yield from (row for row in range(first, last + 1) if row not in hidden)
