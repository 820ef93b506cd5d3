"""A reply of KAT as the fields of the chat protocol: reasoning, content and tool calls. Imports nothing of vLLM."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from model.format import CallReady, ReplyDelta, ReplyParser, Segment, TextDelta, ToolCall

OPENING = "<|im_start|>assistant\n"
"""What KAT's chat template begins a reply with."""
BEGUN = "<judge>\n"
"""What it writes behind that, so that a reply begins inside the judge."""


@dataclass(frozen=True, slots=True)
class Fields:
    """What some deltas add to each field."""

    reasoning: str = ""
    content: str = ""
    calls: tuple[ToolCall, ...] = ()


class FieldWriter:
    """Writes deltas as fields, in pieces of any size.

    The reasoning is the judge's text and, behind an empty line, the thought: our choice, as the protocol has one field
    for both. A call that cannot be read, and any call while `plain` is set, becomes content as it was written.
    """

    def __init__(self, *, plain: bool) -> None:
        self.plain = plain
        self._judged = False
        self._thought = False
        self._answered = False
        self._called = False

    def write(self, deltas: Iterable[ReplyDelta]) -> Fields:
        """The fields that `deltas` add to."""
        reasoning: list[str] = []
        content: list[str] = []
        calls: list[ToolCall] = []
        for delta in deltas:
            match delta:
                case TextDelta(Segment.JUDGE | Segment.THINK as segment, text):
                    reasoning.append(self._reasoned(segment, text))
                case TextDelta(Segment.ANSWER, text):
                    content.append(self._content(text))
                case CallReady(call) if self.plain or call.error:
                    content.append(self._call(call))
                case CallReady(call):
                    calls.append(call)
                case _:
                    pass
        return Fields("".join(reasoning), "".join(content), tuple(calls))

    def _reasoned(self, segment: Segment, text: str) -> str:
        first_thought = segment is Segment.THINK and not self._thought
        gap = "\n\n" if first_thought and self._judged else ""
        self._judged = self._judged or segment is Segment.JUDGE
        self._thought = self._thought or segment is Segment.THINK
        return gap + text

    def _content(self, text: str) -> str:
        gap = "\n" if self._called and not text.startswith("\n") else ""
        self._answered, self._called = True, False
        return gap + text

    def _call(self, call: ToolCall) -> str:
        gap = "\n" if self._answered or self._called else ""
        self._called = True
        return f"{gap}<tool_call>\n{call.raw}\n</tool_call>"


class Turn:
    """One reply while it is read. A reasoning parser and a tool parser of one request hold the same turn.

    `shared` says that there are two: the first then leaves the answer and the calls to the second, which knows the
    request. `answering` says that they have begun; no reasoning follows.
    """

    def __init__(self) -> None:
        self.shared = False
        self.begun = BEGUN
        self.restart()

    def restart(self) -> None:
        """Forget what was read of the reply, but not what the prompt holds of it."""
        self.answering = False
        self.fed = False
        self.writer = FieldWriter(plain=not self.shared)
        self._left: list[ReplyDelta] | None = None
        self._parser = ReplyParser()
        self._parser.feed(self.begun)

    def begin(self, text: str) -> None:
        """The prompt ends with `text` of the reply. Counts only before anything was read."""
        if not self.fed:
            self.begun = text
            self.restart()

    def feed(self, text: str) -> list[ReplyDelta]:
        """Read the next piece."""
        self.fed = True
        return self._seen(self._parser.feed(text))

    def close(self) -> list[ReplyDelta]:
        """The reply is over; to close it again adds nothing."""
        return self._seen(self._parser.close())

    def read(self, text: str) -> list[ReplyDelta]:
        """Read a whole reply, whatever was read before."""
        self.restart()
        return [*self.feed(text), *self.close()]

    def leave(self, deltas: list[ReplyDelta]) -> list[ReplyDelta]:
        """Set what belongs to the answer aside for `take`; the rest comes back."""
        self._left = [*(self._left or ()), *(delta for delta in deltas if not _is_reasoning(delta))]
        return [delta for delta in deltas if _is_reasoning(delta)]

    def take(self) -> list[ReplyDelta] | None:
        """What was left; None where nothing was."""
        left, self._left = self._left, None
        return left

    def _seen(self, deltas: list[ReplyDelta]) -> list[ReplyDelta]:
        self.answering = self.answering or is_answer(self._parser.segment, deltas)
        return deltas


def is_answer(segment: Segment, deltas: Iterable[ReplyDelta]) -> bool:
    """Whether the answer, or a call, has begun."""
    return segment is Segment.TOOL or any(not _is_reasoning(delta) for delta in deltas)


def _is_reasoning(delta: ReplyDelta) -> bool:
    match delta:
        case TextDelta(Segment.ANSWER | Segment.TOOL, _) | CallReady():
            return False
        case _:
            return True


def is_past_reasoning(text: str) -> bool:
    """Whether the answer stands open at the end of `text`, a reply from its ``<judge>`` on.

    Behind ``</think>`` alone it does not yet: a grammar that holds the answer must leave room for ``<answer>``.
    """
    parser = ReplyParser()
    deltas = parser.feed(text)
    opened = parser.segment is Segment.ANSWER and text.rstrip().endswith("<answer>")
    return opened or is_answer(parser.segment, deltas)
