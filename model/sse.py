"""Server-sent events, decoded as the bytes arrive."""

from __future__ import annotations

import codecs


class SseDecoder:
    """Turns bytes in pieces of any size into the `data` of whole events.

    Characters may be split between pieces; bytes that are no UTF-8 become U+FFFD. Comments and unknown fields are
    skipped. A field named ``error`` counts as data, since llama-server once sent its errors that way.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._tail: list[str] = []
        self._data: list[str] = []

    def feed(self, chunk: bytes) -> list[str]:
        """Take the next bytes; return the data of the events that they complete."""
        return self._take(self._decoder.decode(chunk))

    def close(self) -> list[str]:
        """The stream is over; return what an event without its blank line holds."""
        return self._take(self._decoder.decode(b"", final=True) + "\n\n")

    def _take(self, text: str) -> list[str]:
        head, *rest = text.split("\n")
        self._tail.append(head)
        events: list[str] = []
        for part in rest:
            self._line("".join(self._tail).removesuffix("\r"), events)
            self._tail = [part]
        return events

    def _line(self, line: str, events: list[str]) -> None:
        if not line:
            if self._data:
                events.append("\n".join(self._data))
                self._data = []
            return
        name, _, value = line.partition(":")
        if name in ("data", "error"):
            self._data.append(value.removeprefix(" "))
