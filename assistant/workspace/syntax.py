"""Whether a file still parses, by tree-sitter."""

from __future__ import annotations

from typing import TYPE_CHECKING

from assistant.apart import APART
from assistant.workspace.languages import language_of, parsed

if TYPE_CHECKING:
    from tree_sitter import Node

_LARGEST = 1_000_000
_SECONDS = 0.1


def broken_line(path: str, before: str | None, after: str) -> int | None:
    """The first line, from 1, at which `after` does not parse, though `before` (None: no file) did; else None.

    None too where the language is not known, or the text is over 1 MB or takes over 100 ms to parse.
    """
    line = first_error(path, after)
    if line is None or (before is not None and first_error(path, before) is not None):
        return None
    return line


def first_error(path: str, text: str) -> int | None:
    """The line, from 1, of the first error or missing token, or None where there is none or it cannot be told."""
    if language_of(path) is None or len(text) > _LARGEST:
        return None
    line: int | None = APART.call("syntax", path, text)
    return line


def first_error_here(path: str, text: str) -> int | None:
    """The same, in this very process: native code reads the text."""
    language, data = language_of(path), text.encode("utf-8", "replace")
    if language is None or len(data) > _LARGEST:
        return None
    tree = parsed(language, data, _SECONDS)
    if tree is None:
        return None
    error = _first(tree.root_node)
    return error.start_point.row + 1 if error else None


def _first(node: Node) -> Node | None:
    """The innermost error that comes first; only branches that hold one are walked."""
    found = None
    while node.has_error:
        if node.is_error or node.is_missing:
            found = node
        below = next((child for child in node.children if child.has_error or child.is_missing), None)
        if below is None:
            break
        node = below
    return node if node.is_error or node.is_missing else found
