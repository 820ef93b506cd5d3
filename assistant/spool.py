"""Output that may grow without end: kept to a size, its lines numbered as they came."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

_KEPT = 4_000_000
"""Characters of a job's output that are kept; our choice."""
_JOINED = 65_536
"""Pieces of the tail grow up to this size, so that many tiny ones cost no more than a few."""
_LONGEST_LINE = 2_000
_OVERLONG = re.compile(rf"[^\n]{{{_LONGEST_LINE}}}(?=[^\n])")


def wrapped(text: str) -> str:
    """`text` with a line break behind every 2,000 characters of a line, so that a page can hold any line."""
    return _OVERLONG.sub("\\g<0>\n", text)


def numbered_lines(text: str, first: int = 1) -> list[tuple[int, str]]:
    """The lines of a text and their numbers; what stands behind the last line break counts unless it is empty."""
    lines = text.split("\n")
    return list(enumerate(lines if lines[-1] else lines[:-1], first))


@dataclass(slots=True)
class _Piece:
    line: int
    text: str


class Spool:
    """Keeps the first and the last half of `limit` characters, by the piece, and the number of every line."""

    def __init__(self, limit: int = _KEPT) -> None:
        self._head_room = limit // 2
        self._tail_room = limit - limit // 2
        self._head: list[str] = []
        self._tail: deque[_Piece] = deque()
        self._held = 0
        self._line = 1
        self._open = 0
        self._dropped = False

    def add(self, text: str) -> None:
        """Take the next piece."""
        text = self._wrapped(text)
        head, tail = text[: self._head_room], text[self._head_room :]
        self._head_room -= len(head)
        if head:
            self._head.append(head)
            self._line += head.count("\n")
        if tail:
            self._add_to_tail(tail)

    def lines(self) -> list[tuple[int, str]]:
        """What is kept, each line with its number; numbers jump where lines fell out."""
        head, tail = "".join(self._head), "".join(piece.text for piece in self._tail)
        if not self._dropped:
            return numbered_lines(head + tail)
        return [*numbered_lines(head), *numbered_lines(tail, self._tail[0].line)]

    @property
    def count(self) -> int:
        """How many lines there were, the open one too."""
        last = self._tail[-1].text if self._tail else "".join(self._head[-1:])
        return self._line - (last == "" or last.endswith("\n"))

    def _wrapped(self, text: str) -> str:
        """The piece with its lines wrapped, the one too that goes on from the piece before."""
        text = wrapped("x" * self._open + text)[self._open :]
        last = text.rfind("\n")
        self._open = len(text) - last - 1 if last >= 0 else self._open + len(text)
        return text

    def _add_to_tail(self, text: str) -> None:
        if self._tail and len(self._tail[-1].text) + len(text) <= _JOINED:
            self._tail[-1].text += text
        else:
            self._tail.append(_Piece(self._line, text))
        self._line += text.count("\n")
        self._held += len(text)
        while self._held > self._tail_room and len(self._tail) > 1:
            self._held -= len(self._tail.popleft().text)
            self._dropped = True


def gaps(lines: list[tuple[int, str]]) -> Iterator[str]:
    """The lines, and a remark where some fell out between them."""
    yield from (text for _, text in lines[:1])
    for (before, _), (number, text) in pairwise(lines):
        if number > before + 1:
            yield f"… lines {before + 1:,} to {number - 1:,} were not kept …"
        yield text
