"""Turns parts of a reply that arrive apart (thought, answer, calls) into text of a dialect, so one parser reads all."""

from __future__ import annotations

import json
import re

from model.calls import write_xml_call
from model.escape import escape
from model.format import Segment
from model.prompt import Opening, PieceList

_KAT_ON = "<think_on>\n<think>\n"
_KAT_OFF = "<think_off>\n<answer>\n"
_OPEN_TAG = re.compile(r"<[^<>\s=]{0,70}\Z")


class StreamEscape:
    """`escape` for text that comes in pieces: what may be the start of a tag waits for its end."""

    def __init__(self) -> None:
        self._held = ""

    def feed(self, text: str) -> str:
        """The next piece, escaped as far as it is certain."""
        text = self._held + text
        found = _OPEN_TAG.search(text, max(0, len(text) - 72))
        end = found.start() if found else len(text)
        self._held = text[end:]
        return escape(text[:end])

    def flush(self) -> str:
        """What was held; no more text comes."""
        text, self._held = self._held, ""
        return escape(text)


class ReplyWriter:
    """Writes the parts in the order they come, beginning right behind an opening.

    Each method returns the text to add. A thought that comes after the answer began is left out: no dialect has a
    place for it.
    """

    def __init__(self, dialect: str, opening: Opening) -> None:
        self._dialect = dialect
        self._segment = opening.segment
        self._answered = False
        self._escape = StreamEscape()

    def judge(self, text: str) -> str:
        """Judge text; only KAT has a judge, and only where it stands open."""
        return self._escape.feed(text) if self._segment is Segment.JUDGE else ""

    def think(self, text: str) -> str:
        """A piece of the thought."""
        if not text or self._answered:
            return ""
        return self._enter(Segment.THINK) + self._escape.feed(text)

    def answer(self, text: str) -> str:
        """A piece of the answer."""
        if not text:
            return ""
        markup = self._enter(Segment.ANSWER)
        self._answered = True
        return markup + self._escape.feed(text)

    def call(self, name: str, arguments: str) -> str:
        """A whole tool call; `arguments` is JSON as the server sent it, right or wrong."""
        before = self._enter(Segment.ANSWER) if self._segment is not Segment.TOOL else ""
        if self._dialect == "kat" and self._segment is Segment.ANSWER:
            before += self._escape.flush() + "\n</answer>"
        before += self._escape.flush()
        self._segment, self._answered = Segment.TOOL, True
        return f"{before}\n<tool_call>\n{self._body(name, arguments)}\n</tool_call>"

    def close(self, *, done: bool) -> str:
        """What is still held, and what a finished reply ends with."""
        if not done or self._dialect != "kat" or self._segment is Segment.TOOL:
            return self._escape.flush()
        return self._enter(Segment.ANSWER) + self._escape.flush() + "\n</answer>"

    def _enter(self, segment: Segment) -> str:
        before, self._segment = self._segment, segment
        if before is segment:
            return ""
        if before is Segment.TOOL:
            return "\n"
        markup = _kat_tags if self._dialect == "kat" else _think_tags
        return self._escape.flush() + markup(before, segment)

    def _body(self, name: str, arguments: str) -> str:
        if self._dialect != "qwen3_coder":
            return escape(f'{{"name": {json.dumps(name)}, "arguments": {arguments.strip() or "{}"}}}')
        try:
            values = json.loads(arguments or "{}", strict=False)
        except (ValueError, RecursionError):
            values = None
        if not isinstance(values, dict):
            return escape(arguments)
        out = PieceList()
        write_xml_call(out, name, values)
        return out.inert()


def _kat_tags(before: Segment, segment: Segment) -> str:
    match before, segment:
        case (Segment.JUDGE, _):
            return "\n</judge>\n\n" + (_KAT_ON if segment is Segment.THINK else _KAT_OFF)
        case (Segment.MODE, _):
            return _KAT_ON if segment is Segment.THINK else _KAT_OFF
        case (Segment.THINK, _):
            return "\n</think>\n\n<answer>\n"
        case _:
            return "<think>\n"


def _think_tags(before: Segment, segment: Segment) -> str:
    if segment is Segment.THINK:
        return "<think>\n"
    return "\n</think>\n\n" if before is Segment.THINK else ""
