"""Takes terminal control out of text that others wrote, and makes invisible characters visible."""

from __future__ import annotations

import re
from enum import Enum, auto

_LONGEST = 4096
"""Characters after which an unfinished sequence counts as over, so that it cannot swallow what follows."""

_INVISIBLE = (
    "\u00ad\u061c\u115f\u1160\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff9-\ufffb"
    "\U000e0000-\U000e0fff"
)
_SPECIAL = re.compile(f"[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\ud800-\udfff{_INVISIBLE}]")
_STRING_END = re.compile(r"[\x07\x18\x1a\x1b\x9c\n\r]")
_NO_PARAMETER = re.compile(r"[^\x20-\x3f]")
_STRINGS = frozenset("PX]^_")
_STRINGS_8BIT = frozenset("\x90\x98\x9d\x9e\x9f")


class _State(Enum):
    TEXT = auto()
    ESCAPE = auto()
    CONTROL = auto()
    STRING = auto()
    STRING_ESCAPE = auto()


class Sanitizer:
    """Removes escape sequences and control characters from a stream, whatever its chunks.

    Newline and tab stay, a lone carriage return becomes a newline, and bidirectional controls, zero-width characters
    and their kind are shown as ``⟨U+202E⟩``. Keeps no text, so memory is bounded; time is linear.
    """

    def __init__(self) -> None:
        self._state = _State.TEXT
        self._length = 0
        self._after_return = False

    def feed(self, text: str) -> str:
        """The safe part of the next chunk; nothing of it is held back."""
        out: list[str] = []
        at = 0
        while at < len(text):
            at = self._step(text, at, out)
        return "".join(out)

    def close(self) -> str:
        """End the stream; an unfinished sequence is dropped."""
        self._state, self._length, self._after_return = _State.TEXT, 0, False
        return ""

    def _step(self, text: str, at: int, out: list[str]) -> int:
        match self._state:
            case _State.TEXT:
                return self._text(text, at, out)
            case _State.ESCAPE:
                return self._escape(text, at)
            case _State.CONTROL:
                return self._until(_NO_PARAMETER, text, at)
            case _State.STRING:
                return self._until(_STRING_END, text, at)
            case _State.STRING_ESCAPE:
                self._enter(_State.TEXT if text[at] == "\\" else _State.ESCAPE)
                return at + (text[at] == "\\")

    def _text(self, text: str, at: int, out: list[str]) -> int:
        if self._after_return and text[at] == "\n":
            at += 1
        self._after_return = False
        found = _SPECIAL.search(text, at)
        out.append(text[at : found.start() if found else len(text)])
        if found is None:
            return len(text)
        out.append(self._special(found[0]))
        return found.end()

    def _special(self, char: str) -> str:
        if char == "\r":
            self._after_return = True
            return "\n"
        if char == "\x1b":
            self._enter(_State.ESCAPE)
        elif char == "\x9b":
            self._enter(_State.CONTROL)
        elif char in _STRINGS_8BIT:
            self._enter(_State.STRING)
        elif "\ud800" <= char <= "\udfff":
            return "\ufffd"
        elif char >= "\xa0":
            return f"⟨U+{ord(char):04X}⟩"
        return ""

    def _escape(self, text: str, at: int) -> int:
        char = text[at]
        if char == "[":
            self._enter(_State.CONTROL)
        elif char in _STRINGS:
            self._enter(_State.STRING)
        elif not "\x20" <= char <= "\x2f":
            self._enter(_State.TEXT)
            return at + ("\x30" <= char <= "\x7e")
        return at + 1

    def _until(self, end: re.Pattern[str], text: str, at: int) -> int:
        found = end.search(text, at, at + _LONGEST - self._length)
        stop = found.start() if found else min(len(text), at + _LONGEST - self._length)
        self._length += stop - at
        if found is None:
            if self._length >= _LONGEST:
                self._enter(_State.TEXT)
            return stop
        return stop + self._ended(found[0])

    def _ended(self, char: str) -> int:
        """Leave a sequence at `char`; returns 1 where the character belongs to it, else 0."""
        if self._state is _State.STRING and char == "\x1b":
            self._enter(_State.STRING_ESCAPE)
            return 1
        string = self._state is _State.STRING
        self._enter(_State.TEXT)
        return int(char in "\x07\x18\x1a\x9c" if string else "\x40" <= char <= "\x7e")

    def _enter(self, state: _State) -> None:
        self._state, self._length = state, 0


def sanitize(text: str) -> str:
    """`text` without terminal control, its invisible characters made visible."""
    return Sanitizer().feed(text)
