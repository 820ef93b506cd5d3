"""Qwen3 and other models that know only ``<think>``: the mode is whether a thought stands before the answer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from model.calls import JsonCallReader, write_json_call
from model.dialects.chatml import ChatMLDialect, end_of_thought, hermes_tools, written_calls
from model.escape import escape
from model.format import Mode, Reply, ReplyParser, Segment, ThinkRequest, think_tag_grammar
from model.prompt import Message, Opening, PieceList, Prompt, ToolSpec


class Qwen3Dialect(ChatMLDialect):
    """Renders as Qwen3's chat template does; ``enable_thinking=False`` there is an empty thought here."""

    name = "qwen3"
    _write_call = staticmethod(write_json_call)

    def render(self, messages: Iterable[Message], tools: Iterable[ToolSpec], think: ThinkRequest, why: str) -> Prompt:
        """The prompt for the next reply; `why` is not shown, these models have no judge."""
        all_messages, all_tools = tuple(messages), tuple(tools)
        out = self._conversation(all_messages, all_tools)
        opening = _opening(think)
        out.markup("<|im_start|>assistant\n" + opening.text)
        return self._prompt(out, all_messages, all_tools, think, opening)

    def cut(self, written: str, segment: Segment) -> Opening:
        """End an open thought; the answer follows."""
        return end_of_thought(written, segment)

    def answer(self, written: str, segment: Segment) -> Opening:
        """As `cut`: there is no judge."""
        return end_of_thought(written, segment)

    def parser(self) -> ReplyParser:
        """A parser that starts where an answer or a ``<think>`` may come."""
        return ReplyParser(think_tag_grammar(JsonCallReader))

    def write(self, reply: Reply) -> str:
        """The reply with its thought, empty where thinking was off."""
        think = escape(reply.think) if reply.mode is Mode.ON else ""
        text = f"<think>\n{think}\n</think>\n\n{escape(reply.answer)}"
        return "\n".join([text, *written_calls(reply, write_json_call)])

    def _head(self, out: PieceList, system: Message | None, tools: Sequence[ToolSpec]) -> None:
        if not system and not tools:
            return
        out.markup("<|im_start|>system\n")
        out.text(system.content if system else "")
        if tools:
            hermes_tools(out, tools) if system else _tools_alone(out, tools)
        out.markup("<|im_end|>\n")


def _tools_alone(out: PieceList, tools: Sequence[ToolSpec]) -> None:
    """Qwen3 starts a system turn that holds nothing but tools without the blank lines."""
    inner = PieceList()
    hermes_tools(inner, tools)
    first, *rest = inner.pieces()
    out.markup(first.text.lstrip("\n"))
    for piece in rest:
        (out.markup if piece.trusted else out.text)(piece.text)


def _opening(think: ThinkRequest) -> Opening:
    match think:
        case ThinkRequest.AUTO:
            return Opening("", Segment.ANSWER)
        case ThinkRequest.ON:
            return Opening("<think>\n", Segment.THINK)
        case ThinkRequest.OFF:
            return Opening("<think>\n\n</think>\n\n", Segment.ANSWER)
