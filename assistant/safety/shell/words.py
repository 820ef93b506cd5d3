"""The words of a shell command line, as far as they are known before it runs."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tree_sitter import Node

UNKNOWN = "\0"
"""Stands in a word for a part that only the running shell knows: no command line can hold a NUL."""

_BRACE = "\1"
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_ESCAPED_IN_QUOTES = re.compile(r'\\([$`"\\\n])')
_GLOB = re.compile(r"[*?\[]")
_HIDDEN_IN_WORD = re.compile(r"(?<!\\)(?:\\\\)*(?:[\s;&|<>()`\"'\n]|\$[({'\"])")
_HIDDEN_IN_QUOTES = re.compile(r"(?<!\\)(?:\\\\)*(?:`|\$[({])")
_LITERAL = frozenset({"word", "number", "variable_name", "file_descriptor"})
_GAP = re.compile(rb"(?:[ \t\n]|\\\n)*")
_SPACED = frozenset({"string", "heredoc_body", "heredoc_redirect"})
_APART = frozenset({"file_redirect", "herestring_redirect", "heredoc_redirect"})
_VERBATIM = frozenset({"raw_string", "comment", "ansi_c_string", "heredoc_start", "heredoc_end", "heredoc_body"})


class Unclear(Exception):
    """What a line runs cannot be told; the message says why, to stand after "because"."""


def names(text: str) -> frozenset[str]:
    """The words of `text`, which white space divides, as a set."""
    return frozenset(text.split())


def unknown(text: str) -> bool:
    """Whether a part of the word is not known."""
    return UNKNOWN in text


def word(node: Node) -> str:
    """The word that a node stands for, its unknown parts as `UNKNOWN`."""
    text = _parts(node)
    return UNKNOWN if _BRACE in text else text


def suspicious(node: Node) -> str:
    """Why a leaf of the tree may hold more than the grammar saw in it; empty if it does not."""
    text = _text(node)
    if not node.is_named and not node.child_count and text != node.type and text.strip():
        return "its syntax is not what it seems"
    if node.type == "heredoc_redirect" and not _sound_heredoc(node):
        return "its here-document cannot be told apart"
    if node.type == "heredoc_body" and _unquoted_heredoc(node) and _HIDDEN_IN_QUOTES.search(_own_text(node)):
        return "its here-document may run commands"
    if node.named_child_count:
        return "" if node.type in _SPACED or _is_tiled(node) else "its words cannot be told apart"
    if node.type in _LITERAL and _HIDDEN_IN_WORD.search(text):
        return "a word holds what shells may read as syntax"
    if node.type not in _VERBATIM and node.is_named and _HIDDEN_IN_QUOTES.search(text):
        return "quoted text may run commands"
    return ""


def _parts(node: Node) -> str:
    match node.type:
        case "word" | "number":
            return _plain(_text(node))
        case "raw_string":
            return _text(node)[1:-1]
        case "string":
            return _double_quoted(node)
        case "concatenation" if _adjacent(node):
            return "".join(_parts(child) for child in node.children).replace(f"{_BRACE}}}", "{}")
        case "command_name" if node.child_count == 1:
            return _parts(node.children[0])
        case _:
            return UNKNOWN


def _plain(text: str) -> str:
    """An unquoted word: backslashes off, globs and a leading tilde unknown, and braces marked."""
    pieces = []
    for number, piece in enumerate(_ESCAPED.split(text)):
        if number % 2:
            pieces.append(piece)
            continue
        marked = _GLOB.sub(UNKNOWN, piece)
        pieces.append(re.sub(r"\{(?!\})", _BRACE, marked))
    whole = "".join(pieces)
    return UNKNOWN + whole[1:] if text.startswith("~") else whole


def _double_quoted(node: Node) -> str:
    """The text between the quotes; the grammar's pieces of text, and what lies between pieces, as it stands."""
    source, start = node.text or b"", node.start_byte
    pieces, at = [], 1
    for child in node.children[1:-1]:
        begin, end = child.start_byte - start, child.end_byte - start
        pieces.append(_unquoted(source[at:begin]))
        pieces.append(_unquoted(child.text or b"") if child.type == "string_content" else UNKNOWN)
        at = end
    pieces.append(_unquoted(source[at:-1]))
    return "".join(pieces)


def _unquoted(source: bytes) -> str:
    text = source.decode("utf-8", "replace")
    return _ESCAPED_IN_QUOTES.sub(lambda match: match[1].strip("\n"), text)


def _adjacent(node: Node) -> bool:
    children = node.children
    return all(left.end_byte == right.start_byte for left, right in pairwise(children))


def _is_tiled(node: Node) -> bool:
    """Whether only blanks stand between the parts of a node, and at least one between two words."""
    source, start = node.text or b"", node.start_byte
    for left, right in pairwise(node.children):
        gap = source[left.end_byte - start : right.start_byte - start]
        if not _GAP.fullmatch(gap) or (node.type == "command" and b"\n" in gap.replace(b"\\\n", b"")):
            return False
        if not gap and node.type == "command" and not {left.type, right.type} & _APART:
            return False
    return True


def _unquoted_heredoc(node: Node) -> bool:
    siblings = node.parent.children if node.parent is not None else []
    starts = [_text(child) for child in siblings if child.type == "heredoc_start"]
    return not any(mark in start for start in starts for mark in "'\"\\")


def _sound_heredoc(node: Node) -> bool:
    """Whether the grammar found a here-document's operator, its word and its end where they are."""
    found = {child.type: _text(child) for child in node.children}
    start = re.fullmatch(r"(['\"]?)\\?(\w+)\1", found.get("heredoc_start", ""))
    operator = found.get("<<", found.get("<<-", ""))
    return start is not None and operator in ("<<", "<<-") and found.get("heredoc_end", "").strip() == start[2]


def _own_text(node: Node) -> str:
    """The text of a here-document outside its expansions."""
    if not node.named_child_count:
        return _text(node)
    return "".join(_text(child) for child in node.children if child.type == "heredoc_content")


def _text(node: Node) -> str:
    return (node.text or b"").decode("utf-8", "replace")
