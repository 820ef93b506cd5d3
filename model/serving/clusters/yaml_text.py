"""YAML, written: mappings, lists, scalars and comment lines. What a scalar holds can never become structure.

The subset is that in which YAML 1.1 and 1.2 agree: a word that both read as itself is plain, text of several lines is a
literal block where that keeps it, and everything else stands in quotes, odd characters escaped.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

Scalar: TypeAlias = "str | int | bool"
Value: TypeAlias = "Scalar | Noted | Mapping[str, Value] | Sequence[Value]"

_PLAIN = re.compile(r"(?:--?)?[A-Za-z_/][\w./=-]*(?::[\w./=-]+)*", re.ASCII)
_WORDS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r"}
_SAFE = re.compile(r"[ -~\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True)
class Noted:
    """A value with comment lines above it, one for each line of `note`."""

    value: Value
    note: str


def document(value: Mapping[str, Value], heading: Sequence[str] = ()) -> str:
    """A document with `heading` as comment lines above it.

    Raises:
        ValueError: there is half a surrogate pair in it, which no encoding has.
    """
    return "\n".join([*(comment(line) for line in heading), *_mapping(value)]) + "\n"


def comment(line: str) -> str:
    """A comment of one line, whatever `line` holds; YAML and shells write them alike."""
    return f"# {''.join(c if c.isprintable() else ' ' for c in line)}".rstrip()


def scalar(value: Scalar) -> str:
    """A value in one line."""
    if isinstance(value, bool | int):
        return str(value).lower()
    if _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
        return value
    if '"' in value and "'" not in value and all(_SAFE.fullmatch(c) for c in value):
        return f"'{value}'"
    return f'"{"".join(_escaped(c) for c in value)}"'


def _escaped(char: str) -> str:
    if char in _ESCAPES:
        return _ESCAPES[char]
    if _SAFE.fullmatch(char):
        return char
    code = ord(char)
    if 0xD800 <= code <= 0xDFFF:
        raise ValueError("a word of the command has bytes that are no text; leave it out")
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _mapping(value: Mapping[str, Value]) -> Iterator[str]:
    for key, item in value.items():
        if isinstance(item, Noted):
            yield from (comment(line) for line in item.note.splitlines())
            item = item.value
        yield from _under(f"{scalar(key)}:", item)


def _list(items: Sequence[Value]) -> Iterator[str]:
    for item in items:
        if isinstance(item, Noted):
            yield from (comment(line) for line in item.note.splitlines())
            item = item.value
        if isinstance(item, Mapping) and item:
            first, *rest = _mapping(item)
            yield f"- {first}"
            yield from (f"  {line}" for line in rest)
        else:
            yield from _under("-", item)


def _under(start: str, item: Value) -> Iterator[str]:
    """`item` behind its key or dash: in the same line if it can be, else below."""
    match item:
        case str() if _literal(item):
            yield f"{start} |{'' if item.endswith(chr(10)) else '-'}"
            yield from (f"  {line}" if line else "" for line in item.removesuffix("\n").split("\n"))
        case str() | int():
            yield f"{start} {scalar(item)}"
        case Mapping() if item:
            yield start
            yield from (f"  {line}" for line in _mapping(item))
        case Mapping():
            yield f"{start} {{}}"
        case Noted():
            raise TypeError("a note stands on an entry of a mapping or a list")
        case _ if not item:
            yield f"{start} []"
        case _:
            yield start
            yield from (f"  {line}" for line in _list(item))


def _literal(text: str) -> bool:
    """Whether a literal block gives back exactly this text: several plain lines, the first not indented."""
    lines = text.removesuffix("\n").split("\n")
    plain = all(_SAFE.fullmatch(c) for line in lines for c in line)
    return "\n" in text and plain and bool(lines[0]) and lines[0][0] != " " and bool(lines[-1].strip())
