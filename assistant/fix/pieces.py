"""A changed file cut into pieces, each of which can be had as it was or as it is to be."""

from __future__ import annotations

import difflib
import io
import re
import tokenize
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass
from itertools import groupby, pairwise

_LINE = re.compile(rb"[^\n]*\n|[^\n]+")
_EXACT = 1_000
"""Lines up to which every line may be matched with every other (our choice)."""
_MOST = 20_000
"""Lines of the differing middle of a file that are matched with each other (our choice); more are one piece."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Lines as they were and as they are to be, with their line endings."""

    old: bytes
    new: bytes

    @property
    def changed(self) -> bool:
        """Whether the two differ."""
        return self.old != self.new

    @property
    def only_layout(self) -> bool:
        """Whether they differ in nothing but what formatters change: probably noise."""
        return _ink(self.old) == _ink(self.new)


def pieces(old: bytes, new: bytes, cut: Callable[[bytes], list[bytes]] | None = None) -> tuple[Piece, ...]:
    """The file in pieces. Lines, or what `cut` makes, are matched whatever their white space, quotes, commas, brackets.

    Matched lines that are not equal are pieces of their own; `joined` brings `old` and `new` back.
    """
    cut = cut or lines
    return tuple(_merged(_cut(cut(old), cut(new))))


def lines(data: bytes) -> list[bytes]:
    """The lines with their ends; a carriage return alone ends none."""
    return _LINE.findall(data)


def statements(data: bytes) -> list[bytes]:
    """Lines of Python, each with those that go on with it; single lines where that cannot be told."""
    rows, parts, start = lines(data), list[bytes](), 0
    try:
        ends = [*_ends(data)]
    except (tokenize.TokenError, SyntaxError, ValueError):
        return rows
    for end in [*ends, len(rows)]:
        parts.append(b"".join(rows[start:end]))
        start = max(start, end)
    return [part for part in parts if part]


def _ends(data: bytes) -> Iterator[int]:
    """The numbers of the rows, from 1, in which lines of Python end."""
    depth = 0
    for token in tokenize.tokenize(io.BytesIO(data).readline):
        if token.type == tokenize.OP:
            depth += (token.string in "([{") - (token.string in ")]}")
        elif token.type == tokenize.NEWLINE or (token.type == tokenize.NL and not depth):
            yield token.start[0]


def joined(parts: tuple[Piece, ...], restored: Container[int]) -> bytes:
    """The file with the pieces of these numbers as they were and the others as they are to be."""
    return b"".join(_chosen(parts, restored))


def fits(parts: tuple[Piece, ...], restored: Container[int]) -> bool:
    """Whether `joined` keeps lines apart: what had no line break at its end is the end still."""
    chosen = [part for part in _chosen(parts, restored) if part]
    return all(part.endswith(b"\n") for part in chosen[:-1])


def _chosen(parts: tuple[Piece, ...], restored: Container[int]) -> Iterator[bytes]:
    return (part.old if number in restored else part.new for number, part in enumerate(parts))


def _cut(before: list[bytes], after: list[bytes]) -> Iterator[Piece]:
    head = _common(before, after)
    tail = _common(before[head:][::-1], after[head:][::-1])
    yield from (Piece(line, line) for line in before[:head])
    yield from _matched(before[head : len(before) - tail], after[head : len(after) - tail])
    yield from (Piece(line, line) for line in before[len(before) - tail :])


def _common(one: list[bytes], other: list[bytes]) -> int:
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _matched(before: list[bytes], after: list[bytes]) -> Iterator[Piece]:
    if max(len(before), len(after)) > _MOST:
        yield Piece(b"".join(before), b"".join(after))
        return
    matcher = difflib.SequenceMatcher(None, [*map(_ink, before)], [*map(_ink, after)], autojunk=len(before) > _EXACT)
    for tag, i, end, j, to in matcher.get_opcodes():
        if tag == "equal":
            yield from map(Piece, before[i:end], after[j:to])
        else:
            yield from _parted(before[i:end], after[j:to])


def _parted(before: list[bytes], after: list[bytes]) -> Iterator[Piece]:
    """Lines at both ends that are only laid out in another way, as pieces of their own, and what is between them."""
    one, other = [*map(_ink, before)], [*map(_ink, after)]
    cuts = [(0, 0), *_laid_out(one, other)]
    i, j = cuts[-1]
    backwards = _laid_out([ink[::-1] for ink in reversed(one[i:])], [ink[::-1] for ink in reversed(other[j:])])
    ends = [(len(before), len(after)), *((len(before) - i, len(after) - j) for i, j in backwards)]
    for (i, j), (end, to) in pairwise([*cuts, *reversed(ends)]):
        yield Piece(b"".join(before[i:end]), b"".join(after[j:to]))


def _laid_out(one: list[bytes], other: list[bytes]) -> Iterator[tuple[int, int]]:
    """After how many lines of each the same was written in both, from the start on and as long as that holds."""
    i, j, behind, ahead = 0, 0, b"", b""
    while i < len(one) or j < len(other):
        blank = not behind and not ahead and j < len(other) and not other[j]
        if i < len(one) and not blank and (not behind or j == len(other)):
            behind, i = behind + one[i], i + 1
        else:
            ahead, j = ahead + other[j], j + 1
        common = min(len(behind), len(ahead))
        if behind[:common] != ahead[:common]:
            return
        behind, ahead = behind[common:], ahead[common:]
        if not behind and not ahead:
            yield i, j


def _merged(parts: Iterator[Piece]) -> Iterator[Piece]:
    """Unchanged lines that follow each other as one piece."""
    for changed, run in groupby(parts, key=lambda part: part.changed):
        if changed:
            yield from run
        else:
            same = b"".join(part.old for part in run)
            yield Piece(same, same)


def _ink(line: bytes) -> bytes:
    """What of a line no formatter changes."""
    return b"".join(line.split()).replace(b"'", b'"').translate(None, b",()")
