"""What a file defines and which names it uses, by tree-sitter; the queries lie in `queries/`, one a language."""

from __future__ import annotations

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
_SECONDS = 1.0
_LONGEST_NAME = 200
_DEEPEST = 20
_LONGEST_SIGNATURE = 160
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


@dataclass(frozen=True, slots=True)
class Definition:
    """A definition. Lines count from 1; `first` and `start` are those of its decorators, `line` that of its name.

    `start` and `end` are offsets into the text as UTF-8. `enclosing` is the dotted name of what it stands in.
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
    definitions, names, references = answer
    used = {name: (count, line) for name, count, line in zip(*references, strict=True)}
    return FileTags(tuple(Definition(*one) for one in definitions), tuple(names), used)


def tags_here(files: Iterable[tuple[str, str]]) -> list[list[Any]]:
    """For each language and text: definitions, names, and references as three lists; in this very process."""
    return [_tags(language, text.encode("utf-8", "surrogatepass")) for language, text in files]


def _tags(language: str, data: bytes) -> list[Any]:
    tree = parsed(language, data, _SECONDS)
    if tree is None:
        return [[], [], [[], [], []]]
    found = list(_nested(_definitions(language, tree.root_node), data))
    dotted = "member" in _captured(language)
    names = sorted({_as_used(one, dotted) for one, local in found if not local})
    return [[one for one, _ in found], names, _references(language, tree.root_node, data)]


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
    above: list[tuple[int, str, str, bool]] = []
    for found in definitions:
        while above and above[-1][0] <= found.name.start_byte:
            above.pop()
        name, kind = _text(found.name, data)[:_LONGEST_NAME], found.kind
        if kind == "function" and above and above[-1][1] not in _CALLABLE and above[-1][1] != "module":
            kind = "method"
        enclosing = _text(found.owner, data) if found.owner else ".".join(one[2] for one in above[-_DEEPEST:])
        local = bool(above) and (above[-1][3] or above[-1][1] in _CALLABLE)
        if kind != "container":
            yield _fields(found, name, kind, enclosing, data), local
        above.append((found.whole.end_byte, kind, name, local))


def _fields(found: _Found, name: str, kind: str, enclosing: str, data: bytes) -> list[Any]:
    start, end = found.prefix.start_byte, found.whole.end_byte
    while end > start and data[end - 1 : end].isspace():
        end -= 1
    first, line = found.prefix.start_point.row + 1, found.name.start_point.row + 1
    last = first + data.count(b"\n", start, end)
    return [name, kind, enclosing[:_LONGEST_NAME], first, line, last, start, end, _signature(found, data)]


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
    while before is not None and before.type == "comment":
        before = before.prev_sibling
    return before.end_byte if before else body.start_byte


def _references(language: str, root: Node, data: bytes) -> list[list[Any]]:
    """Names, how often each is used, and the line where it is first."""
    from tree_sitter import QueryCursor

    counts: dict[str, int] = {}
    lines: dict[str, int] = {}
    for kind, nodes in QueryCursor(_queries(language)[1]).captures(root).items():
        dot = "." if kind == "member" else ""
        for node in nodes:
            name = dot + data[node.start_byte : node.end_byte].decode("utf-8", "replace")
            if name not in counts:
                counts[name], lines[name] = 0, node.start_point.row + 1
            counts[name] += 1
    return [[name[:_LONGEST_NAME] for name in counts], list(counts.values()), list(lines.values())]


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
