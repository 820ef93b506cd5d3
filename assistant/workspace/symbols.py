"""Definitions by their names, and a definition replaced by another text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from assistant.workspace.errors import EditError
from assistant.workspace.indent import indent_of
from assistant.workspace.tags import Definition

_SEPARATORS = re.compile(r"\.|::|#|->|/")
_CLOSING = ("}", ")", "]", "end", "fi", "esac")
_SHOWN = 20


def name_parts(symbol: str) -> list[str]:
    """``Class.method``, ``Class::method`` or ``Class#method`` as its parts; parentheses behind it do not count."""
    bare = symbol.strip().removesuffix("()")
    return [part for part in _SEPARATORS.split(bare) if part] or [bare]


def matches(definition: Definition, parts: Sequence[str]) -> bool:
    """Whether the definition's dotted name ends with these parts."""
    return definition.qualified.split(".")[-len(parts) :] == [*parts]


def one_definition(definitions: Iterable[Definition], symbol: str, line: int | None, path: str) -> Definition:
    """The one that `symbol` means, or the one of them at `line`. Raises `EditError` that names the candidates."""
    known = list(definitions)
    parts = name_parts(symbol)
    found = [one for one in known if matches(one, parts)]
    whole = [one for one in found if one.qualified == ".".join(parts)]
    found = whole or found
    if line is not None:
        found = [one for one in found if one.first <= line <= one.last] or found
    match found:
        case [one]:
            return one
        case []:
            raise EditError(_none(known, symbol, path))
    raise EditError(f"{symbol} is defined more than once in {path}: {_listed(found)}; give the line of the one meant.")


def replaced(text: str, definition: Definition, new: str) -> tuple[str, str]:
    """The text with the definition replaced, and a note. Raises `EditError` where it shares its lines with others,
    or does not parse.
    """
    if definition.broken:
        raise EditError(
            f"{definition.qualified} does not parse as it is, so where it ends cannot be told; use edit_file."
        )
    data = text.encode("utf-8", "surrogatepass")
    before, after = data[: definition.start], data[definition.end :]
    margin = before[before.rfind(b"\n") + 1 :].decode("utf-8", "surrogatepass")
    rest = after.partition(b"\n")[0].decode("utf-8", "surrogatepass").strip()
    if margin.strip() or rest not in ("", ";", ","):
        raise EditError(f"{definition.qualified} shares its lines with other code; use edit_file.")
    body = new.replace("\r\n", "\n").strip("\n")
    if not body.strip():
        raise EditError("The new text is empty; to take a definition out, use edit_file.")
    written = indented(body.rstrip(), margin)
    note = "" if written == body.rstrip() else "the new text was indented to fit"
    whole = before[: len(before) - len(margin.encode())] + written.encode("utf-8", "surrogatepass") + after
    return whole.decode("utf-8", "surrogatepass"), note


def indented(new: str, margin: str) -> str:
    """`new` with `margin` before its first line, and the others moved as that one is."""
    first, *rest = new.split("\n")
    own = indent_of(first)
    if own == margin:
        return new
    if not own and _only_first(rest, margin):
        return "\n".join([margin + first, *rest])
    moved = (margin + line[len(own) :] if line.strip() and line.startswith(own) else line for line in rest)
    return "\n".join([margin + first[len(own) :], *moved])


def _only_first(rest: Sequence[str], margin: str) -> bool:
    """Whether the white space is missing before the first line only: the others stand where they would in the file."""
    filled = [line for line in rest if line.strip()]
    if not filled:
        return False
    least = min((indent_of(line) for line in filled), key=len)
    closes = filled[-1].lstrip().startswith(_CLOSING)
    return least.startswith(margin) and (len(least) > len(margin) or closes)


def _none(known: Sequence[Definition], symbol: str, path: str) -> str:
    if not known:
        return f"No definitions are found in {path}; use edit_file."
    last = name_parts(symbol)[-1]
    near = [one for one in known if one.name == last] or known
    return f"{symbol} is not defined in {path}; defined are {_listed(near)}."


def _listed(definitions: Sequence[Definition]) -> str:
    shown = ", ".join(f"{one.qualified} (line {one.line})" for one in definitions[:_SHOWN])
    more = len(definitions) - _SHOWN
    return f"{shown} and {more} more" if more > 0 else shown
