"""What a file's bytes mean, so far as that can be told: equal for two ways of writing the same."""

from __future__ import annotations

import ast
import hashlib
import io
import tokenize
import warnings
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from assistant.apart import APART
from assistant.workspace.languages import language_of, parsed

if TYPE_CHECKING:
    from tree_sitter import Node, Tree

_PYTHON = (".py", ".pyi", ".pyw")
_LARGEST = 400_000
"""Bytes of a file of which more is told than its lines (our choice)."""
_SECONDS = 0.5
_BOM = b"\xef\xbb\xbf"
_BRACKETS = frozenset("()[]{},;")
_VERBATIM = ("string", "template", "doc", "comment", "text", "char", "regex", "raw", "scalar", "content")
"""Parts of the names of nodes in which white space means something."""


def meaning(path: str, data: bytes) -> str:
    """A digest of what the content of a file means; only digests for the same path can be compared.

    Python: its syntax tree with the places of its comments; the order of imports that stand together and are bound to
    different names does not count. Other languages that have a grammar: the syntax tree and the tokens. Everything else
    and what does not parse: the bytes, apart from line endings, byte order mark and line breaks at the end.
    """
    if data.startswith(b"#!") and data.partition(b"\n")[0].endswith(b"\r"):
        return f"text {_digest([data])}"  # no system finds that interpreter
    return _told(path, data) or "text " + _digest([_plain(data).rstrip(b"\n")])


def means(path: str, data: bytes, wanted: str) -> bool:
    """Whether `wanted` is the `meaning` of this; much quicker than that where it is not."""
    if is_python(path) and wanted.startswith("python") and not wanted.startswith(_told(path, data, brief=True) or "-"):
        return False
    return meaning(path, data) == wanted


def _told(path: str, data: bytes, *, brief: bool = False) -> str | None:
    if len(data) > _LARGEST:
        return None
    return _python(data, brief=brief) if is_python(path) else _grammatical(path, data)


def is_python(path: str) -> bool:
    """Whether a file is Python, by its name."""
    return path.endswith(_PYTHON)


def parses(path: str, data: bytes) -> bool:
    """Whether this is sound Python; true for everything else."""
    return not is_python(path) or _tree(data) is not None


def _plain(data: bytes) -> bytes:
    return data.removeprefix(_BOM).replace(b"\r\n", b"\n")


def _python(data: bytes, *, brief: bool) -> str | None:
    """The tree's digest, and that of the comments unless it is to be brief."""
    if (tree := _tree(data)) is None:
        return None
    try:
        for node in ast.walk(tree):
            for field in ("body", "orelse", "finalbody"):
                if isinstance(block := getattr(node, field, None), list):
                    setattr(node, field, _ordered(block))
        told = "python " + _digest([ast.dump(tree).encode("utf-8", "surrogatepass")])
        return told if brief else f"{told} {_digest(_comments(data))}"
    except (tokenize.TokenError, SyntaxError, ValueError, RecursionError):
        return None


def _tree(data: bytes) -> ast.Module | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes in strings that will be wrong one day
            return ast.parse(data)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _ordered(block: list[ast.stmt]) -> list[ast.stmt]:
    """The statements with imports that stand together in one order, whatever it was."""
    ordered: list[ast.stmt] = []
    for _, run in groupby(block, key=lambda statement: isinstance(statement, ast.Import | ast.ImportFrom)):
        statements = list(run)
        imports = [each for each in statements if isinstance(each, ast.Import | ast.ImportFrom)]
        ordered += _sorted(imports) if imports and _independent(imports) else statements
    return ordered


def _sorted(imports: list[ast.Import | ast.ImportFrom]) -> Iterator[ast.stmt]:
    for statement in imports:
        statement.names.sort(key=lambda name: (name.name, name.asname or ""))
    yield from sorted(imports, key=ast.dump)


def _independent(imports: Sequence[ast.Import | ast.ImportFrom]) -> bool:
    """Whether no name is bound twice, so that the last one would count."""
    names = [(isinstance(each, ast.Import), name) for each in imports for name in each.names]
    packages = {name.name.partition(".")[0] for whole, name in names if whole and not name.asname}
    others = [name.asname or name.name for whole, name in names if not whole or name.asname]
    return "*" not in others and len({*others, *packages}) == len(others) + len(packages)


def _comments(data: bytes) -> list[bytes]:
    """Each comment with what stands before it: a token, or the line's beginning."""
    found, before = [], ""
    for token in tokenize.tokenize(io.BytesIO(data).readline):
        if token.type == tokenize.COMMENT:
            alone = token.line[: token.start[1]].isspace() or not token.start[1]
            found.append(f"{before}\0{alone}\0{token.string.rstrip()}".encode("utf-8", "surrogatepass"))
        elif token.type in (tokenize.NAME, tokenize.NUMBER) or (
            token.type == tokenize.OP and token.string not in _BRACKETS
        ):
            before = token.string
        elif token.type == tokenize.STRING:
            before = '"'
    return sorted(found)


def _grammatical(path: str, data: bytes) -> str | None:
    if (language := language_of(path)) is None:
        return None
    try:
        text = (data if language == "bash" else _plain(data)).decode()
    except UnicodeDecodeError:
        return None
    shape = APART.call("shape", path, text)
    return f"shape {shape}" if shape else None


def shape_here(path: str, text: str) -> str | None:
    """A digest of a text's syntax tree, None where it does not parse; native code reads it in this very process."""
    language, data = language_of(path), text.encode("utf-8", "replace")
    tree = parsed(language, data, _SECONDS) if language else None
    if tree is None or tree.root_node.has_error:
        return None
    return _digest(_pieces(tree, data))


def _pieces(tree: Tree, data: bytes) -> Iterator[bytes]:
    """What the tree is made of, depth first; where white space counts, the text as it is."""
    cursor = tree.walk()
    while (node := cursor.node) is not None:
        whole = not node.child_count or any(word in node.type for word in _VERBATIM)
        yield f"{cursor.depth} {node.type}".encode()
        if whole:
            yield _written(node, data)
        if not whole and cursor.goto_first_child():
            continue
        while not cursor.goto_next_sibling():
            if not cursor.goto_parent():
                return


def _written(node: Node, data: bytes) -> bytes:
    text = data[node.start_byte : node.end_byte]
    return b" ".join(text.split()) if "comment" in node.type and b"\r" not in text else text


def _digest(pieces: Sequence[bytes] | Iterator[bytes]) -> str:
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(len(piece).to_bytes(8, "big") + piece)
    return digest.hexdigest()
