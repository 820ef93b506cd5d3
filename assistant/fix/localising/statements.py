"""The statements of Python files: a statement on several lines is one suspect, at its first line."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from assistant.apart import APART, Apart

_SILENT = re.compile(r"^\s*(?:(?://|#|/?\*|--|\"\"\"|<!--).*|[\W_]*|end|\W*else\W*|\W*try\W*|\W*finally\W*|do|begin)$")
_BRINGING = re.compile(r"^\s*(?:import|package|use|using|#include|from|require|module|namespace)\b")
_LARGEST = 1_000_000
"""Characters of the largest file that is read; our choice."""
_SECONDS = 10.0
_DEFINES, _STILL = 0, -1
_WORKING = (ast.BinOp, ast.BoolOp, ast.UnaryOp, ast.Compare, ast.Call, ast.Subscript, ast.IfExp, ast.comprehension)
_QUIET = (ast.Import, ast.ImportFrom, ast.Global, ast.Nonlocal)
_DECIDING = (ast.If, ast.While, ast.For, ast.AsyncFor, ast.ExceptHandler, ast.match_case)
_Place = ast.stmt | ast.excepthandler | ast.match_case
_PLACES = (ast.stmt, ast.excepthandler, ast.match_case)
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


@dataclass(frozen=True, slots=True)
class Statements:
    """`first` tells the first line of the statement that a line belongs to, `acts` how much that statement does:
    one and its operations, 0 for a definition with defaults or decorators, -1 for an import, a docstring and the like.
    `decided` leads from a statement to the one that decides whether it is run: the condition, the loop, the case.
    """

    first: Mapping[int, int] = field(default_factory=dict)
    acts: Mapping[int, int] = field(default_factory=dict)
    decided: Mapping[int, int] = field(default_factory=dict)

    def at(self, line: int) -> int | None:
        """The first line of the statement at a line; the line itself where nothing is known of the file."""
        return self.first.get(line) if self.first else line


def statements_of(texts: Mapping[str, str], apart: Apart = APART) -> dict[str, Statements]:
    """By path, the statements of files: of Python, read in a process apart; else each line that does something."""
    wanted = {path: text for path, text in texts.items() if path.endswith(".py") and len(text) <= _LARGEST}
    answers = apart.call("statements", [*wanted.values()], seconds=_SECONDS) if wanted else None
    parsed = {
        path: Statements(
            {line: first for line, first, *_ in rows},
            {first: acts for _, first, acts, _ in rows},
            {first: header for _, first, _, header in rows if header},
        )
        for path, rows in zip(wanted, answers or (), strict=False)
        if rows
    }
    return {path: parsed.get(path) or _line_by_line(text) for path, text in texts.items()}


def _line_by_line(text: str) -> Statements:
    """Each line as a statement of its own, those aside that only close or say something."""
    lines = {number: line for number, line in enumerate(text.split("\n"), 1) if not _SILENT.match(line)}
    return Statements(
        {number: number for number in lines}, {number: -1 if _BRINGING.match(lines[number]) else 1 for number in lines}
    )


def statements_here(texts: Iterable[str]) -> list[list[list[int]]]:
    """For each text, and each line in a statement: the line, the statement's first line, how much that does, and the
    first line of what decides whether it is run, or 0.
    """
    return [_rows(text) for text in texts]


def _rows(text: str) -> list[list[int]]:
    try:
        return [*_by_line(ast.parse(text)).values()]
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []


def _by_line(tree: ast.Module) -> dict[int, list[int]]:
    docstrings = {id(node) for node in _docstrings(tree)}
    rows: dict[int, list[int]] = {}
    for node, header in _walk(tree):
        acts = _STILL if id(node) in docstrings else _acts(node)
        top, first, last = _span(node)
        rows |= {line: [line, first, acts, header] for line in range(top, last + 1)}
    return rows


def _walk(tree: ast.Module) -> Iterator[tuple[_Place, int]]:
    """All statements, with the line of what decides whether each is run; outer ones before those in them."""
    waiting: list[tuple[ast.AST, int]] = [(tree, 0)]
    while waiting:
        node, header = waiting.pop()
        if isinstance(node, _PLACES):
            yield node, header
            header = _span(node)[1] if isinstance(node, _DECIDING) else header
        header = 0 if isinstance(node, _DEFINITIONS) else header
        waiting.extend((child, header) for child in ast.iter_child_nodes(node))


def _span(node: _Place) -> tuple[int, int, int]:
    """Its lines, decorators included and the statements in it left out: where it begins, its own line, its last."""
    own = node.pattern.lineno if isinstance(node, ast.match_case) else node.lineno
    body = getattr(node, "body", None)
    top = min([own, *(one.lineno for one in getattr(node, "decorator_list", ()))])
    last = body[0].lineno - 1 if isinstance(body, list) and body else getattr(node, "end_lineno", None) or own
    return top, own, max(own, last)


def _acts(node: ast.AST) -> int:
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            return _DEFINES if node.args.defaults or any(node.args.kw_defaults) or node.decorator_list else _STILL
        case ast.ClassDef() | ast.Try():
            return _STILL
        case _:
            return _STILL if isinstance(node, _QUIET) else 1 + _operations(node)


def _operations(node: ast.AST) -> int:
    """Those of a statement itself, not of the statements in it."""
    inner = (child for child in ast.iter_child_nodes(node) if not isinstance(child, _PLACES))
    return sum(isinstance(child, _WORKING) + _operations(child) for child in inner)


def _docstrings(tree: ast.AST) -> Iterator[ast.AST]:
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(node, (ast.Module, *_DEFINITIONS)) and isinstance(body, list) and body:
            match body[0]:
                case ast.Expr(value=ast.Constant(value=str())):
                    yield body[0]
                case _:
                    pass
