"""The KAT reply grammar, read while it streams and written back.

A reply of KAT-V1 has up to five parts::

    <judge>\\n{why}\\n</judge>\\n\\n<think_on>\\n<think>\\n{chain}\\n</think>\\n\\n<answer>\\n{final}\\n</answer>
    <judge>\\n{why}\\n</judge>\\n\\n<think_off>\\n<answer>\\n{final}\\n</answer>

The first ``<judge>`` belongs to the prompt, so a completion starts inside the judge. The report on KAT-V1
(arXiv 2507.08297) does not say where a tool call stands; this project puts it behind the answer, as
``<tool_call>\\n{json}\\n</tool_call>``.

Text that merely looks like a tag travels with a WORD JOINER behind its ``<`` (see `model.escape`); the parser takes the
joiner out.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from typing import Any, NamedTuple, Protocol, TypeAlias

from model.escape import ESCAPE
from model.markdown import CodeState


class Mode(StrEnum):
    """What a reply did."""

    ON = "on"
    OFF = "off"


class ThinkRequest(StrEnum):
    """What was asked of a reply."""

    AUTO = "auto"
    ON = "on"
    OFF = "off"


class Segment(StrEnum):
    """A part of a reply. `MODE` is the gap between the judge and its mark; it holds no text."""

    JUDGE = "judge"
    MODE = "mode"
    THINK = "think"
    ANSWER = "answer"
    TOOL = "tool"


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call as the model wrote it. `error` says why it cannot be run, or is None."""

    name: str
    arguments: dict[str, Any] = field(default_factory=dict)
    raw: str = ""
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole reply. `mode` is None when the model stopped before it chose; `closed` says it ended properly."""

    judge: str = ""
    mode: Mode | None = None
    think: str = ""
    answer: str = ""
    calls: tuple[ToolCall, ...] = ()
    closed: bool = False


class TextDelta(NamedTuple):
    """Text that a segment grew by."""

    segment: Segment
    text: str


class ModeChosen(NamedTuple):
    """The mode became known."""

    mode: Mode


class CallReady(NamedTuple):
    """A tool call is whole."""

    call: ToolCall


ReplyDelta: TypeAlias = TextDelta | ModeChosen | CallReady


class CallReader(Protocol):
    """How a dialect writes the body of a tool call."""

    def feed(self, chunk: str) -> None:
        """Take the next piece of the body."""

    def inside_value(self) -> bool:
        """Whether the body stands inside a value, where ``</tool_call>`` is text."""

    def finish(self) -> ToolCall:
        """The call, whole or broken; afterwards the reader is empty again."""


_QUOTES = frozenset("'\"")
_SEGMENT_TAGS = ("judge", "think", "answer", "tool_call")
_MARKS = ("think_on", "think_off")
_END_TAGS = frozenset({"<|im_end|>", "<|endoftext|>"})
_TAGS = frozenset({f"<{s}{t}>" for t in _SEGMENT_TAGS for s in ("", "/")} | {f"<{m}>" for m in _MARKS}) | _END_TAGS


@dataclass(frozen=True, slots=True)
class ReplyGrammar:
    """Where a completion starts, which tags mean something, and how calls are written."""

    start: Segment
    tags: frozenset[str]
    call_reader: Callable[[], CallReader]


class ReplyParser:
    """Reads a reply in pieces of any size. `feed` and `close` return what is new; `reply` is what is known so far.

    `segment` is open now; `held` is the end of what was fed where it may yet become a tag.
    Tolerant by intent: tags and newlines may be missing, a call may stand in the answer, nothing need be closed.
    Feeding is linear in the length of the text.
    """

    def __init__(self, grammar: ReplyGrammar | None = None) -> None:
        grammar = grammar or kat_grammar()
        self._tags = grammar.tags
        self._pattern = _pattern(grammar.tags)
        self._reader = grammar.call_reader()
        self.segment = grammar.start
        self.held = ""
        self._space = ""
        self._blank: list[str] = []
        self._code = CodeState()
        self._last = "\n"
        self._parts: dict[Segment, list[str]] = {s: [] for s in Segment}
        self._mode: Mode | None = None
        self._calls: list[ToolCall] = []
        self._after = False
        self._ended = False
        self._closed = False
        self._out: list[ReplyDelta] = []

    @property
    def reply(self) -> Reply:
        """The reply so far."""
        text = {s: "".join(self._parts[s]) for s in (Segment.JUDGE, Segment.THINK, Segment.ANSWER)}
        return Reply(
            judge=text[Segment.JUDGE],
            mode=self._mode,
            think=text[Segment.THINK],
            answer=text[Segment.ANSWER],
            calls=tuple(self._calls),
            closed=self._closed,
        )

    def feed(self, text: str) -> list[ReplyDelta]:
        """Take the next piece of the reply; return what became known by it."""
        self._scan(self.held + text if self.held else text)
        return self._drain()

    def close(self) -> list[ReplyDelta]:
        """The reply is over, whether or not it says so."""
        held, self.held = self.held, ""
        if held:
            self._text(held)
        if self.segment is Segment.TOOL:
            self._finish_call()
        elif self.segment is Segment.THINK and self._mode is None:
            self._settle(Mode.OFF)
        return self._drain()

    def _drain(self) -> list[ReplyDelta]:
        out, self._out = self._out, []
        return out

    def _scan(self, buffer: str) -> None:
        self.held = ""
        start = 0
        for found in self._pattern.finditer(buffer):
            if start < found.start():
                self._text(buffer[start : found.start()])
            start = found.end()
            self._token(found[0])
        if start < len(buffer):
            self._text(buffer[start:])

    def _token(self, token: str) -> None:
        """Act on a tag, on an escape, or on what may become one with the next piece."""
        if token == ESCAPE:
            self._text("<")
        elif token not in self._tags:
            self.held = token
        elif not self._ended and not self._tag(token):
            self._text(token)

    def _text(self, text: str) -> None:
        if self._ended:
            return
        segment = self.segment
        if segment is Segment.TOOL:
            self._reader.feed(text)
        elif self._after or segment is Segment.MODE:
            text = text.lstrip()
            if not text:
                return
            self._reopen()
            segment = self.segment
        self._emit(segment, text)

    def _emit(self, segment: Segment, text: str) -> None:
        self._code.feed(text)
        self._last = text[-1]
        body = text.rstrip()
        if not body:
            self._blank.append(text)
            return
        parts = self._parts[segment]
        if self._blank:
            self._space += "".join(self._blank)
            self._blank = []
        if parts:
            whole = self._space + body
        else:
            whole = body.lstrip()
            self._first_text(segment)
        self._space = text[len(body) :]
        parts.append(whole)
        self._out.append(TextDelta(segment, whole))

    def _first_text(self, segment: Segment) -> None:
        if segment is Segment.THINK and self._mode is not Mode.ON:
            self._settle(Mode.ON)
        elif segment is Segment.ANSWER and self._mode is None:
            self._settle(Mode.OFF)

    def _reopen(self) -> None:
        """Text where only a mark or a call was due: it is (more of) the answer."""
        self._enter(Segment.ANSWER)
        self._after = False
        if self._parts[Segment.ANSWER]:
            self._space = "\n\n"

    def _enter(self, segment: Segment) -> None:
        self.segment = segment
        self._space = ""
        self._blank = []
        self._last = "\n"
        self._code = CodeState()

    def _settle(self, mode: Mode) -> None:
        if self._mode is not mode:
            self._mode = mode
            self._out.append(ModeChosen(mode))

    def _tag(self, tag: str) -> bool:
        """Act on a tag; False if it is plain text where it stands."""
        if tag in _END_TAGS:
            return self._end()
        if self._after:
            return self._tag_after(tag)
        match self.segment:
            case Segment.JUDGE | Segment.MODE:
                return self._tag_in_judge(tag)
            case Segment.THINK:
                return self._tag_in_think(tag)
            case Segment.ANSWER:
                return self._tag_in_answer(tag)
            case Segment.TOOL:
                return self._tag_in_call(tag)

    def _tag_after(self, tag: str) -> bool:
        if tag == "<tool_call>":
            self._open_call()
            return True
        return tag in ("</answer>", "</tool_call>", "</think>")

    def _tag_in_judge(self, tag: str) -> bool:
        due = self.segment is Segment.MODE or (self._code.line_start and not self._code.code)
        match tag:
            case "<judge>":
                return not self._parts[Segment.JUDGE]
            case "</judge>" if not self._code.span:
                self._enter(Segment.MODE)
            case "<think_on>" if not self._code.code:
                self._settle(Mode.ON)
                self._enter(Segment.THINK)
            case "<think_off>" if not self._code.code:
                self._settle(Mode.OFF)
                self._enter(Segment.ANSWER)
            case "<think>" if due:
                self._settle(Mode.ON)
                self._enter(Segment.THINK)
            case "<answer>" if due:
                self._settle(Mode.OFF)
                self._enter(Segment.ANSWER)
            case "<tool_call>" if due:
                self._settle(Mode.OFF)
                self._open_call()
            case _:
                return False
        return True

    def _tag_in_think(self, tag: str) -> bool:
        due = self._code.line_start and not self._code.code
        match tag:
            case "<think>":
                return not self._parts[Segment.THINK]
            case "</think>" if self._ends_here():
                if self._mode is None:
                    self._settle(Mode.OFF)
                self._enter(Segment.ANSWER)
            case "<answer>" if due:
                self._enter(Segment.ANSWER)
            case "<tool_call>" if due:
                self._open_call()
            case _:
                return False
        return True

    def _tag_in_answer(self, tag: str) -> bool:
        empty = not self._parts[Segment.ANSWER]
        match tag:
            case "<answer>" | "<think_off>" | "</think>" if empty:
                return True
            case "<think_on>" | "<think>" if empty:
                self._enter(Segment.THINK)
            case "</answer>" if self._ends_here():
                self._enter(Segment.ANSWER)
                self._after = self._closed = True
            case "<tool_call>" if not self._code.code and self._last not in _QUOTES:
                self._open_call()
            case _:
                return False
        return True

    def _ends_here(self) -> bool:
        """Whether a closing tag closes: not in code or quotes, but at the start of a line even in a fence."""
        if self._code.line_start:
            return True
        return not self._code.code and self._last not in _QUOTES

    def _tag_in_call(self, tag: str) -> bool:
        if tag != "</tool_call>" or self._reader.inside_value():
            return False
        self._finish_call()
        self._closed = True
        return True

    def _open_call(self) -> None:
        self._enter(Segment.TOOL)
        self._parts[Segment.TOOL] = []
        self._after = False

    def _finish_call(self) -> None:
        if self._mode is None:
            self._settle(Mode.OFF)
        call = self._reader.finish()
        self._calls.append(call)
        self._out.append(CallReady(call))
        self._enter(Segment.ANSWER)
        self._after = True

    def _end(self) -> bool:
        if self.segment is Segment.TOOL:
            self._finish_call()
        self._ended = self._closed = True
        return True


@cache
def _pattern(tags: frozenset[str]) -> re.Pattern[str]:
    """Whole tags, escapes, and at the end of a piece whatever may become one of them."""
    whole = [ESCAPE, *sorted(tags)]
    begun = {text[:length] for text in whole for length in range(1, len(text))}
    return re.compile(f"{'|'.join(map(re.escape, whole))}|(?:{'|'.join(map(re.escape, sorted(begun)))})\\Z")


def kat_grammar() -> ReplyGrammar:
    """The grammar of KAT-V1."""
    from model.calls import JsonCallReader

    return ReplyGrammar(start=Segment.JUDGE, tags=_TAGS, call_reader=JsonCallReader)


def think_tag_grammar(call_reader: Callable[[], CallReader]) -> ReplyGrammar:
    """The grammar of models that know only ``<think>``."""
    tags = frozenset({"<think>", "</think>", "<tool_call>", "</tool_call>"}) | _END_TAGS
    return ReplyGrammar(start=Segment.ANSWER, tags=tags, call_reader=call_reader)
