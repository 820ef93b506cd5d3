"""KAT's parsers in the form that vLLM takes them. Run with vLLM 0.32; the source of 0.26 has the same borders.

Both only carry text to `model.format` and fields back. vLLM makes a reasoning parser and a tool parser for each
request and tells them of each other nowhere. The first would have to hand its text over in the middle of an answer, so
the second takes the first one's `Turn` instead: vLLM makes them in one call, one right after the other.

Without `--tool-call-parser kat`, calls are content, as in any vLLM without a tool parser.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from contextvars import ContextVar
from typing import Any
from uuid import uuid4

from vllm.reasoning import ReasoningParser
from vllm.tool_parsers.abstract_tool_parser import ToolParser

from model.format import ReplyDelta, ToolCall
from model.serving.plugin_turn import BEGUN, OPENING, Fields, FieldWriter, Turn, is_past_reasoning

try:
    from vllm.entrypoints.generate.base import protocol
except ImportError:  # vLLM up to 0.26
    from vllm.entrypoints.openai.engine import protocol

_MADE: ContextVar[tuple[object, Turn] | None] = ContextVar("_MADE", default=None)
"""The tokenizer and the turn of the reasoning parser that this request was given last."""
_WINDOW = 24
"""Tokens in which a tag that ends the reasoning must show; it has at most 13 characters. Our choice."""
_ENDS = ("answer>", "think>", "judge>", "think_off>", "tool_call>")
_JUDGED = "</judge>"
_HOLDS_ALL = ("_grammar_from_parser", "_grammar_from_tool_parser")
"""Marks of a request whose grammar holds the reasoning, too: the name in vLLM 0.32, and that up to 0.26."""
_FIRST_LOOK = 64
"""Tokens of a prompt that are looked through for the reply it begins; twice as many each time it is not there."""


class KatReasoningParser(ReasoningParser):  # type: ignore[misc]
    """Judge and thought are the reasoning, the answer is the content."""

    engine_based_streaming = True

    def __init__(self, tokenizer: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(tokenizer, *args, **kwargs)
        self._turn = Turn()
        # The engine's process makes one, too, only to learn where the reasoning ends; it names no model_config, and no
        # chat_template_kwargs where the request is no chat.
        self._reads_text = "model_config" in kwargs
        self._chats = self._reads_text or "chat_template_kwargs" in kwargs
        self._reasoning_tokens: int | None = None
        if self._reads_text:
            _MADE.set((tokenizer, self._turn))

    @property
    def reasoning_start_str(self) -> str | None:
        """Where a budget of thinking begins to count: never the judge, which every reply has."""
        return "<think>"

    @property
    def reasoning_end_str(self) -> str | None:
        """What vLLM forces when that budget is spent."""
        return "</think>"

    def adjust_request(self, request: Any) -> Any:
        """Tags come as text, whether or not they are special tokens.

        A grammar, or a regular expression, that writes the end of the judge holds the reply from its first token on;
        any other, and every schema, holds the answer alone.
        """
        request.skip_special_tokens = False
        held = getattr(request, "structured_outputs", None)
        if any(_JUDGED in (getattr(held, form, None) or "") for form in ("grammar", "regex")):
            for name in _HOLDS_ALL:
                if hasattr(request, name):
                    setattr(request, name, True)
        return request

    def is_reasoning_end(self, input_ids: Sequence[int]) -> bool:
        """Whether a prompt leaves the answer open; asked of every one, so here the reply is taken up.

        Where no tool parser reads the answer, this parser does, and says no. A prompt of /v1/completions is always
        past it: who writes the prompt means a grammar to hold from the first token on.
        """
        if not self._chats:
            return True
        begun = self._begun(input_ids)
        if not self._reads_text:
            return is_past_reasoning(begun)
        self._turn.begin(begun)
        return self._turn.shared and is_past_reasoning(begun)

    def is_reasoning_end_streaming(self, input_ids: Sequence[int], delta_ids: Iterable[int]) -> bool:
        """Whether the answer stands open in a reply that grows; only read where the new tokens may have opened it."""
        if self._turn.fed:
            return self.has_engine_confirmed_reasoning_end()
        recent = self._decode(input_ids[-len(list(delta_ids)) - _WINDOW :])
        return any(end in recent for end in _ENDS) and is_past_reasoning(self._begun(input_ids))

    def has_engine_confirmed_reasoning_end(self) -> bool:
        """Whether the tool parser takes over."""
        return self._turn.shared and self._turn.answering

    def extract_content_ids(self, input_ids: list[int]) -> list[int]:
        """The tokens of a reply behind its reasoning."""
        return input_ids[self._length(input_ids) :]

    def count_reasoning_tokens(self, token_ids: Sequence[int]) -> int:
        """The tokens of a reply up to the begin of its answer."""
        if not self._turn.answering:
            return len(token_ids)
        if self._reasoning_tokens is None:
            self._reasoning_tokens = self._length(token_ids)
        return self._reasoning_tokens

    def extract_reasoning(self, model_output: str, request: Any) -> tuple[str | None, str | None]:
        """Reasoning and content of a whole reply; a tool parser then asks for the rest."""
        self._reasoning_tokens = None
        deltas = self._turn.read(model_output)
        if self._turn.shared:
            self._turn.leave(deltas)
        fields = FieldWriter(plain=not self._turn.shared or _is_plain(request)).write(deltas)
        return fields.reasoning or None, fields.content or None

    def extract_reasoning_streaming(
        self, previous_text: str, current_text: str, delta_text: str,
        previous_token_ids: Sequence[int], current_token_ids: Sequence[int], delta_token_ids: Sequence[int],
    ) -> Any:  # fmt: skip
        """The fields that a piece adds; from the answer on, only what is not the tool parser's."""
        deltas = self._turn.feed(delta_text)
        if self.has_engine_confirmed_reasoning_end():
            deltas = self._turn.leave(deltas)
        return _message(self._turn.writer.write(deltas), [])

    def finish_streaming(self) -> Any:
        """What was held back at the end of a reply that has no answer; called, too, when the tool parser takes over."""
        if self.has_engine_confirmed_reasoning_end():
            return None
        return _message(self._turn.writer.write(self._turn.close()), [])

    def _decode(self, ids: Sequence[int]) -> str:
        return str(self.model_tokenizer.decode(list(ids), skip_special_tokens=False))

    def _begun(self, ids: Sequence[int]) -> str:
        """What a prompt holds of the reply; of tokens that are no prompt of KAT's, nothing but the open judge."""
        size = _FIRST_LOOK
        while True:
            _, found, begun = self._decode(ids[-size:]).rpartition(OPENING)
            if found:
                return begun
            if size >= len(ids):
                return BEGUN
            size *= 2

    def _length(self, ids: Sequence[int]) -> int:
        def is_past(length: int) -> bool:
            return is_past_reasoning(self._turn.begun + self._decode(ids[:length]))

        return bisect_left(range(len(ids)), True, key=is_past)


class KatToolParser(ToolParser):  # type: ignore[misc]
    """The answer is the content, the calls are the tool calls, each whole and at once."""

    engine_based_streaming = True
    structural_tag_model = "hermes"
    supports_required_and_named = False

    def __init__(self, tokenizer: Any, tools: Any = None) -> None:
        super().__init__(tokenizer, tools)
        made = _MADE.get()
        _MADE.set(None)
        self._turn = made[1] if made and made[0] is tokenizer and not made[1].fed else Turn()
        self._turn.shared = True
        self._turn.restart()

    def adjust_request(self, request: Any) -> Any:
        """As vLLM does for Hermes, whose calls these are."""
        request = super().adjust_request(request)
        request.skip_special_tokens = False
        return request

    def extract_tool_calls(self, model_output: str, request: Any) -> Any:
        """Content and calls of a reply. Without a reasoning parser, which has read it, `model_output` is the whole."""
        left = self._turn.take()
        deltas = self._turn.read(model_output) if left is None else left
        fields = FieldWriter(plain=_is_plain(request)).write(deltas)
        calls = [protocol.ToolCall(function=protocol.FunctionCall(**_function(call))) for call in fields.calls]
        content = fields.content or None
        return protocol.ExtractedToolCallInformation(tools_called=bool(calls), tool_calls=calls, content=content)

    def extract_tool_calls_streaming(
        self, previous_text: str, current_text: str, delta_text: str,
        previous_token_ids: Sequence[int], current_token_ids: Sequence[int], delta_token_ids: Sequence[int],
        request: Any,
    ) -> Any:  # fmt: skip
        """The fields that a piece adds; the first time, also what the reasoning parser left."""
        self._turn.writer.plain = _is_plain(request)
        return self._write([*(self._turn.take() or ()), *self._turn.feed(delta_text)])

    def finish_streaming(self) -> Any:
        """What was held back, and a call that was not closed."""
        return self._write([*(self._turn.take() or ()), *self._turn.close()])

    def _write(self, deltas: list[ReplyDelta]) -> Any:
        fields = self._turn.writer.write(deltas)
        first = len(self.prev_tool_call_arr)
        for call in fields.calls:
            function = _function(call)
            self.prev_tool_call_arr.append(function)
            self.streamed_args_for_tool.append(function["arguments"])
        return _message(fields, [_delta(first + n, call) for n, call in enumerate(fields.calls)])


def _is_plain(request: Any) -> bool:
    """Whether the client wants no calls."""
    return not request.tools or request.tool_choice == "none"


def _function(call: ToolCall) -> dict[str, str]:
    return {"name": call.name, "arguments": json.dumps(call.arguments, ensure_ascii=False)}


def _delta(index: int, call: ToolCall) -> Any:
    function = protocol.DeltaFunctionCall(**_function(call))
    return protocol.DeltaToolCall(id=f"chatcmpl-tool-{uuid4().hex}", type="function", index=index, function=function)


def _message(fields: Fields, calls: list[Any]) -> Any:
    """The delta with what is there, or None; fields that are not set do not reach the client."""
    found = {"reasoning": fields.reasoning, "content": fields.content, "tool_calls": calls}
    given = {name: value for name, value in found.items() if value}
    return protocol.DeltaMessage(**given) if given else None
