"""The Python files of a source that people wrote, parsed, and the functions and classes in them."""

from __future__ import annotations

import ast
import os
import stat
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from assistant.testing.paths import is_test_file
from assistant.workspace.scan import foreign, wanted, written_by_people
from training.data.repositories.checkouts import tree
from training.data.repositories.diffs import plain
from training.data.schema import Source

LARGEST = 400_000
"""Bytes of a file that is read; our choice."""
Callable_ = ast.FunctionDef | ast.AsyncFunctionDef
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
_SKIPPED = frozenset({"build", "docs", "doc", "examples", "benchmarks"})


@dataclass(frozen=True, slots=True)
class Module:
    """A file: its path in the source, its text, its lines without their ends, and its syntax tree."""

    path: str
    text: str
    tree: ast.Module
    lines: Sequence[str] = field(repr=False)

    def shown(self, first: int, last: int) -> str:
        """Lines `first` to `last`, 1-based."""
        return "\n".join(self.lines[first - 1 : last])

    def segment(self, node: ast.expr | ast.stmt) -> str:
        """The text of a node, its first line only."""
        line = self.lines[node.lineno - 1]
        whole = node.lineno == node.end_lineno
        if line.isascii():
            return line[node.col_offset : node.end_col_offset if whole else None]
        data = line.encode()
        return data[node.col_offset : node.end_col_offset if whole else None].decode("utf-8", "replace")


@dataclass(frozen=True, slots=True)
class Definition:
    """A function or class: `qualified` is its dotted name in the module, `owner` the class it stands in directly."""

    module: Module
    node: Callable_ | ast.ClassDef
    qualified: str
    owner: ast.ClassDef | None = None

    @property
    def first(self) -> int:
        """Its first line, decorators included."""
        return min([self.node.lineno, *(decorator.lineno for decorator in self.node.decorator_list)])

    @property
    def last(self) -> int:
        """Its last line."""
        return self.node.end_lineno or self.node.lineno

    @property
    def code(self) -> str:
        """Its lines."""
        return self.module.shown(self.first, self.last)


def modules_of(source: Source, cache: Path) -> Iterator[Module]:
    """The Python files of a source at its revision, as `modules` gives those of a folder.

    Raises:
        UserError: there is no such revision.
    """
    return modules(folder_of(source, cache))


def folder_of(source: Source, cache: Path) -> Path:
    """The folder with a source's files at its revision; where none is known, as they are.

    Raises:
        UserError: there is no such revision.
    """
    return tree(source, "", cache) if source.revision else Path(source.root)


def modules(root: Path) -> Iterator[Module]:
    """The Python files of a folder in the order of their paths; no tests, documentation, generated or vendored ones."""
    for path in sorted(_paths(root)):
        if (module := _module(root, path)) is not None:
            yield module


def module_of(path: str, text: str) -> Module | None:
    """A parsed file; None where it is no Python, or lines in it end in unusual ways."""
    if "\r" in text or "\f" in text:
        return None
    tree = parsed(text)
    return None if tree is None else Module(path, text, tree, text.split("\n"))


def parsed(text: str) -> ast.Module | None:
    """The syntax of a file of others, in silence; None where it is no Python."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes in strings that will be wrong one day
            return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def functions(module: Module) -> Iterator[Definition]:
    """Functions at the top of a module and methods of its classes, in the order of the text; none within functions."""
    return (each for each in definitions(module) if isinstance(each.node, Callable_))


def definitions(module: Module) -> Iterator[Definition]:
    """Functions and classes at the top of a module or in classes, in the order of the text."""
    return _definitions(module, module.tree.body, "", None)


def _definitions(
    module: Module, body: Iterable[ast.stmt], prefix: str, owner: ast.ClassDef | None
) -> Iterator[Definition]:
    for node in body:
        if isinstance(node, Callable_):
            yield Definition(module, node, prefix + node.name, owner)
        elif isinstance(node, ast.ClassDef):
            yield Definition(module, node, prefix + node.name, owner)
            yield from _definitions(module, node.body, f"{prefix}{node.name}.", node)


def own(node: ast.AST) -> Iterator[ast.AST]:
    """What stands within a node, in the order of the text, but not within functions or classes inside it."""
    for child in ast.iter_child_nodes(node):
        yield child
        if not isinstance(child, _SCOPES):
            yield from own(child)


def body_of(function: Callable_) -> list[ast.stmt]:
    """The statements of a function behind its docstring."""
    return function.body[1:] if ast.get_docstring(function, clean=False) is not None else function.body


def _paths(root: Path) -> Iterator[str]:
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".") and name not in _SKIPPED]
        relative = Path(folder).relative_to(root)
        for name in names:
            path = (relative / name).as_posix()
            if path.endswith(".py") and plain(path) and wanted(path) and not foreign(path) and not is_test_file(path):
                yield path


def text_of(place: Path) -> str | None:
    """What stands in a file; None where it is large, is no text, or is a link, which may lead anywhere."""
    try:
        info = place.lstat()
        if not stat.S_ISREG(info.st_mode) or info.st_size > LARGEST:
            return None
        return place.read_bytes().decode()
    except (OSError, UnicodeDecodeError):
        return None


def _module(root: Path, path: str) -> Module | None:
    text = text_of(root / path)
    return module_of(path, text) if text is not None and written_by_people(text) else None
