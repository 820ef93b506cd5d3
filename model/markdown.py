"""Whether streamed Markdown stands inside code, so that a tag there is text."""

from __future__ import annotations

import re
from collections.abc import Callable

_RUN = re.compile("`+")
_FENCE = 3
_FENCES = re.compile(r"^[^\S\n]*`{3}", re.MULTILINE)


class CodeState:
    """Follows fences and inline spans over text in pieces of any size.

    An inline span ends with its line (our choice). Text is only looked at when somebody asks, once; to ask in the
    middle of a run of backticks ends the run.
    """

    __slots__ = ("_fence", "_line_start", "_new", "_span", "feed")

    def __init__(self) -> None:
        self._new: list[str] = []
        self._fence = False
        self._line_start = True
        self._span = 0
        self.feed: Callable[[str], None] = self._new.append
        """Take the next piece."""

    @property
    def line_start(self) -> bool:
        """Whether nothing but white space stands before this on its line."""
        self._catch_up()
        return self._line_start

    @property
    def span(self) -> bool:
        """Whether an inline span is open here."""
        self._catch_up()
        return self._span > 0

    @property
    def code(self) -> bool:
        """Whether this is inside a span or a fence."""
        return self.span or self._fence

    def _catch_up(self) -> None:
        if not self._new:
            return
        text = "".join(self._new)
        self._new.clear()
        line, newline, rest = text.partition("\n")
        self._inline(line)
        if newline:
            whole, _, line = rest.rpartition("\n")
            self._fence ^= len(_FENCES.findall(whole)) % 2 == 1
            self._line_start, self._span = True, 0
            self._inline(line)

    def _inline(self, text: str) -> None:
        """Text without a newline."""
        end = 0
        for run in _RUN.finditer(text):
            self._words(text[end : run.start()])
            end = run.end()
            self._backticks(end - run.start())
        self._words(text[end:])

    def _words(self, text: str) -> None:
        if text and self._line_start:
            self._line_start = text.isspace()

    def _backticks(self, length: int) -> None:
        """A run of backticks opens or closes a fence at the start of a line, a span elsewhere."""
        if self._line_start and length >= _FENCE:
            self._fence = not self._fence
        elif not self._fence:
            if not self._span:
                self._span = length
            elif self._span == length:
                self._span = 0
        self._line_start = False
