"""The languages that tree-sitter parses here, by file name."""

from __future__ import annotations

import importlib
import threading
import time
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tree_sitter import Language, Parser, Tree

_GRAMMARS = {
    "bash": ("tree_sitter_bash", "language"),
    "c": ("tree_sitter_c", "language"),
    "c_sharp": ("tree_sitter_c_sharp", "language"),
    "cpp": ("tree_sitter_cpp", "language"),
    "go": ("tree_sitter_go", "language"),
    "java": ("tree_sitter_java", "language"),
    "javascript": ("tree_sitter_javascript", "language"),
    "json": ("tree_sitter_json", "language"),
    "kotlin": ("tree_sitter_kotlin", "language"),
    "php": ("tree_sitter_php", "language_php"),
    "python": ("tree_sitter_python", "language"),
    "ruby": ("tree_sitter_ruby", "language"),
    "rust": ("tree_sitter_rust", "language"),
    "swift": ("tree_sitter_swift", "language"),
    "toml": ("tree_sitter_toml", "language"),
    "tsx": ("tree_sitter_typescript", "language_tsx"),
    "typescript": ("tree_sitter_typescript", "language_typescript"),
    "yaml": ("tree_sitter_yaml", "language"),
}
_SUFFIXES = {
    ".bash": "bash",
    ".c": "c",
    ".cc": "cpp",
    ".cjs": "javascript",
    ".cpp": "cpp",
    ".cs": "c_sharp",
    ".cts": "typescript",
    ".cxx": "cpp",
    ".go": "go",
    ".h": "cpp",
    ".hh": "cpp",
    ".hpp": "cpp",
    ".java": "java",
    ".js": "javascript",
    ".json": "json",
    ".jsx": "javascript",
    ".kt": "kotlin",
    ".kts": "kotlin",
    ".mjs": "javascript",
    ".mts": "typescript",
    ".php": "php",
    ".py": "python",
    ".pyi": "python",
    ".rb": "ruby",
    ".rs": "rust",
    ".sh": "bash",
    ".swift": "swift",
    ".toml": "toml",
    ".ts": "typescript",
    ".tsx": "tsx",
    ".yaml": "yaml",
    ".yml": "yaml",
}

_PIECE = 65_536


def language_of(path: str) -> str | None:
    """The language of a file, by the end of its name, or None where it is not one of ours."""
    before, dot, suffix = path.rpartition(".")
    return _SUFFIXES.get(f".{suffix.lower()}") if dot and before and not before.endswith("/") else None


class _OfThread(threading.local):
    """Parsers of one thread: one that two threads use at once, as its callbacks allow, ends the interpreter."""

    def __init__(self) -> None:
        self.parsers: dict[str, Parser] = {}


_here = _OfThread()


def parser(language: str) -> Parser:
    """This thread's parser for one of the languages; made once, its grammar imported when first asked for."""
    from tree_sitter import Parser

    if language not in _here.parsers:
        _here.parsers[language] = Parser(grammar(language))
    return _here.parsers[language]


def parsed(language: str, data: bytes, seconds: float) -> Tree | None:
    """The tree of a text in UTF-8, in this very process: native code reads it. None if it takes longer."""
    reader = parser(language)
    try:
        return reader.parse(lambda offset, _: data[offset : offset + _PIECE], progress_callback=_clock(seconds))
    except ValueError:
        reader.reset()
        return None


def _clock(seconds: float) -> Callable[[int, bool], bool]:
    """Says when the time is over."""
    end = time.perf_counter() + seconds
    return lambda _offset, _error: time.perf_counter() > end


@cache
def grammar(language: str) -> Language:
    """One of the grammars, for its queries."""
    from tree_sitter import Language

    module, function = _GRAMMARS[language]
    return Language(getattr(importlib.import_module(module), function)())
