"""What a file defines and which names it uses, by tree-sitter; the queries lie in `queries/`, one a language."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assistant.apart import APART, Apart
from assistant.workspace.languages import grammar, language_of, parsed

if TYPE_CHECKING:
    from tree_sitter import Node, Query

QUERIES = Path(__file__).with_name("queries")
LARGEST = 1_000_000
"""Characters of the largest file that is read; our choice."""
_SECONDS = 2.0
"""How long a file may take; each query may take as long as the parsing."""
_LONGEST_NAME = 200
_DEEPEST = 20
_LONGEST_SIGNATURE = 160
_MOST_COMMENTS = 20
_MARK = ";; references"
_CALLABLE = frozenset({"function", "method"})
_MEMBERS = frozenset({"method", "property", "field"})
_WRAPPERS = frozenset({"decorated_definition", "export_statement", "template_declaration"})
"""Nodes around a definition that belong to it."""
_LISTS = frozenset(
    {"const_declaration", "expression_statement", "lexical_declaration", "type_declaration", "var_declaration"}
    | {"variable_declaration"}
)
"""Nodes around a definition that belong to it if it is alone in them."""
_PREFIXES = frozenset({"attribute_item", "decorator"})
_COMPOSED = frozenset({"nested_identifier", "nested_namespace_specifier", "qualified_identifier", "scope_resolution"})
"""Names that tell what the definition stands in."""
_FLAT = frozenset({"declaration", "macro", "type"})
"""What nothing else stands in, whatever the text looks like."""
_ARGUMENTS = re.compile(r"<[^<>]*>")


@dataclass(frozen=True, slots=True)
class Definition:
    """A definition. Lines count from 1; `first` and `start` are those of its decorators, `line` that of its name.

    `start` and `end` are offsets into the text as UTF-8. `enclosing` is the dotted name of what it stands in. `broken`
    says that it does not parse, so that its end is a guess: it may hold all that follows.
    """

    name: str
    kind: str
    enclosing: str
    first: int
    line: int
    last: int
    start: int
    end: int
    signature: str
    broken: bool = False

    @property
    def qualified(self) -> str:
        """The dotted name: ``Class.method``."""
        return f"{self.enclosing}.{self.name}" if self.enclosing else self.name


@dataclass(frozen=True, slots=True)
class FileTags:
    """Definitions in their order, the names that other files may use, and the names used: how often, first line.

    Where a language tells them apart, what belongs to an object has a dot before it, in both.
    """

    definitions: tuple[Definition, ...] = ()
    names: tuple[str, ...] = ()
    references: Mapping[str, tuple[int, int]] = field(default_factory=dict)


def tagged(path: str) -> str | None:
    """The language of a file whose definitions can be found, or None."""
    language = language_of(path)
    return language if language is not None and language in _queried() else None


def tags_of(path: str, text: str, apart: Apart = APART) -> FileTags:
    """Those of one file, found in a process apart; none where the language is not known or the text is hostile."""
    language = tagged(path)
    if language is None or len(text) > LARGEST:
        return FileTags()
    answer = apart.call("tags", [[language, text]])
    return from_wire(answer[0]) if answer else FileTags()


def from_wire(answer: Sequence[Any]) -> FileTags:
    """As `tags_here` gives it."""
    names, counts, lines, definitions = answer
    used = {name: (count, line) for (name, count), line in zip(counts.items(), lines, strict=True)}
    return FileTags(tuple(Definition(*one) for one in definitions), tuple(names), used)


def tags_here(files: Iterable[tuple[str, str]]) -> list[list[Any]]:
    """For each language and text, in this very process: names, by used name how often, the first line of each of these,
    and definitions.
    """
    return [_tags(language, text.encode("utf-8", "surrogatepass")) for language, text in files]


def _tags(language: str, data: bytes) -> list[Any]:
    tree = parsed(language, data, _SECONDS)
    if tree is None:
        return [[], {}, [], []]
    found = list(_nested(_definitions(language, tree.root_node), data))
    dotted = "member" in _captured(language)
    names = sorted({_as_used(one, dotted) for one, local in found if not local})
    return [names, *_references(language, tree.root_node, data), [one for one, _ in found]]


def _as_used(definition: Sequence[Any], dotted: bool) -> str:
    name, kind = definition[:2]
    return f".{name}" if dotted and kind in _MEMBERS else name


@dataclass(slots=True)
class _Found:
    """As the query gives it: the node, all that belongs to it, its first decorator, its name, and its owner's."""

    kind: str
    node: Node
    whole: Node
    prefix: Node
    name: Node
    owner: Node | None


def _definitions(language: str, root: Node) -> list[_Found]:
    """In their order; where two patterns give the same name, the first pattern has it."""
    from tree_sitter import QueryCursor

    best: dict[int, tuple[int, _Found]] = {}
    for pattern, captures in QueryCursor(_queries(language)[0]).matches(root):
        name = captures.pop("name")[0]
        owner = captures.pop("owner", [None])[0]
        known = best.get(name.start_byte)
        if known is None or pattern < known[0]:
            kind, (node, *_) = captures.popitem()
            best[name.start_byte] = pattern, _found(kind, node, name, owner)
    return sorted((found for _, found in best.values()), key=_place)


def _place(found: _Found) -> tuple[int, int]:
    return found.prefix.start_byte, -found.whole.end_byte


def _found(kind: str, node: Node, name: Node, owner: Node | None) -> _Found:
    whole, parent = node, node.parent
    while parent is not None and _belongs(parent):
        whole, parent = parent, parent.parent
    first, before = whole, whole.prev_named_sibling
    while before is not None and before.type in _PREFIXES:
        first, before = before, before.prev_named_sibling
    return _Found(kind, node, whole, first, name, owner)


def _belongs(parent: Node) -> bool:
    return parent.type in _WRAPPERS or (parent.type in _LISTS and parent.named_child_count == 1)


def _nested(definitions: Iterable[_Found], data: bytes) -> Iterator[tuple[list[Any], bool]]:
    """Each as the fields of `Definition`, and whether it is local to a function."""
    above: list[_Above] = []
    for found in definitions:
        while above and not above[-1].holds(found):
            above.pop()
        (owner, name), kind = _named(found, data), found.kind
        if kind == "function" and above and above[-1].kind not in _CALLABLE and above[-1].kind != "module":
            kind = "method"
        around = [] if found.owner else [one.name for one in above[-_DEEPEST:]]
        local = bool(above) and (above[-1].local or above[-1].kind in _CALLABLE)
        if kind != "container" and not (local and kind == "declaration"):
            yield _fields(found, name, kind, ".".join(filter(None, [*around, owner])), data), local
        above.append(_Above(found.whole, kind, ".".join(filter(None, (owner, name))), local))


@dataclass(frozen=True, slots=True)
class _Above:
    """A definition that others may stand in."""

    whole: Node
    kind: str
    name: str
    local: bool

    def holds(self, found: _Found) -> bool:
        """Whether the other one stands in it, and not merely beside it in one statement."""
        if self.kind in _FLAT or self.whole == found.whole:
            return False
        return found.name.start_byte < self.whole.end_byte


def _named(found: _Found, data: bytes) -> tuple[str, str]:
    """What a definition's own name, or another that the query found, says that it stands in; and its last part."""
    text = _text(found.name, data)[:_LONGEST_NAME]
    if found.name.type not in _COMPOSED:
        return (_text(found.owner, data) if found.owner else ""), text
    owner, _, name = text.rpartition(".")
    return _ARGUMENTS.sub("", owner), name


def _fields(found: _Found, name: str, kind: str, enclosing: str, data: bytes) -> list[Any]:
    start, end = found.prefix.start_byte, found.whole.end_byte
    while end > start and data[end - 1 : end].isspace():
        end -= 1
    first, line = found.prefix.start_point.row + 1, found.name.start_point.row + 1
    last = first + data.count(b"\n", start, end)
    broken = [True] if found.whole.has_error else []  # left out else: there are many definitions
    return [name, kind, enclosing[:_LONGEST_NAME], first, line, last, start, end, _signature(found, data), *broken]


def _signature(found: _Found, data: bytes) -> str:
    """From the line of the name to the body, on one line, indented as it is."""
    start = data.rfind(b"\n", 0, found.name.start_byte) + 1
    body = found.node.child_by_field_name("body")
    end = _before(body) if body else data.find(b"\n", found.name.start_byte) % (len(data) + 1)
    text = data[start : min(end, start + 4 * _LONGEST_SIGNATURE)].decode("utf-8", "replace")
    indent = text[: len(text) - len(text.lstrip())]
    shown = " ".join(text.split()).replace("( ", "(")
    room = _LONGEST_SIGNATURE - len(indent)
    return indent + (shown if len(shown) <= room else f"{shown[: max(room - 1, 0)]}…")


def _before(body: Node) -> int:
    """Where that ends which stands before a body, comments aside."""
    before = body.prev_sibling
    for _ in range(_MOST_COMMENTS):  # each step takes longer, the more siblings there are
        if before is None or before.type != "comment":
            break
        before = before.prev_sibling
    return before.end_byte if before else body.start_byte


def _references(language: str, root: Node, data: bytes) -> tuple[dict[str, int], list[int]]:
    """By name how often it is used, and the line where each is first."""
    from tree_sitter import QueryCursor

    counts: dict[str, int] = {}
    lines: dict[str, int] = {}
    for kind, nodes in QueryCursor(_queries(language)[1]).captures(root).items():
        dot = "." if kind == "member" else ""
        for node in nodes:
            name = (dot + data[node.start_byte : node.end_byte].decode("utf-8", "replace"))[:_LONGEST_NAME]
            line = node.start_point.row + 1
            counts[name] = counts.get(name, 0) + 1
            lines[name] = min(line, lines.get(name, line))  # nodes come in no order
    return counts, [*lines.values()]


def _text(node: Node, data: bytes) -> str:
    """Its text on one line. `node.text` is slow: it calls back for the whole of the data."""
    return " ".join(data[node.start_byte : node.end_byte].decode("utf-8", "replace").split()).replace("::", ".")


@cache
def _queries(language: str) -> tuple[Query, Query]:
    from tree_sitter import Query

    text = (QUERIES / f"{language}.scm").read_text()
    return tuple(Query(grammar(language), part) for part in text.split(_MARK))  # type: ignore[return-value]


@cache
def _captured(language: str) -> frozenset[str]:
    query = _queries(language)[1]
    return frozenset(query.capture_name(number) for number in range(query.capture_count))


@cache
def _queried() -> frozenset[str]:
    return frozenset(path.stem for path in QUERIES.glob("*.scm"))
