"""Tokens to text while they come: a character that takes several tokens is held until it is whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence

_CONTEXT = 6
"""Tokens of the prompt decoded again before the first, since some tokenizers drop a space there; our choice."""
_BROKEN = "\ufffd"


class Detokenizer:
    """The text of tokens behind `before`, exact for tokens that hold parts of characters.

    `decode` turns token ids into text, with U+FFFD for bytes that are no UTF-8. All pieces together are the text that
    it makes of all tokens at once.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str], before: Sequence[int] = ()) -> None:
        self._decode = decode
        self._ids = list(before[-_CONTEXT:])
        while self._ids and decode(self._ids).startswith(_BROKEN):  # begins inside a character
            del self._ids[0]
        self._known = len(self._ids)

    def feed(self, token: int) -> str:
        """The text that became certain."""
        self._ids.append(token)
        text = self._new()
        if not text or text.endswith(_BROKEN):
            return ""
        self._forget()
        return text

    def flush(self) -> str:
        """What was held, with U+FFFD for what is no character; no more tokens come."""
        text = self._new()
        self._forget()
        return text

    def _new(self) -> str:
        old, new = self._decode(self._ids[: self._known]), self._decode(self._ids)
        return new[len(old) :]

    def _forget(self) -> None:
        """Keep only what came last: it begins with a character, as bytes decoded from the middle of one would not."""
        self._ids = self._ids[self._known :]
        self._known = len(self._ids)
