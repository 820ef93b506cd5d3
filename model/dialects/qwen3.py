"""Qwen3 and other models that know only ``<think>``: the mode is whether a thought stands before the answer."""

from __future__ import annotations

from collections.abc import Iterable

from model.calls import JsonCallReader, write_json_call
from model.dialects.chatml import ChatMLDialect, hermes_tools, turns, written_calls
from model.escape import escape
from model.format import Mode, Reply, ReplyParser, Segment, ThinkRequest, think_tag_grammar
from model.prompt import Message, Opening, PieceList, Prompt, ToolSpec


class Qwen3Dialect(ChatMLDialect):
    """Renders as Qwen3's chat template does; ``enable_thinking=False`` there is an empty thought here."""

    name = "qwen3"

    def render(self, messages: Iterable[Message], tools: Iterable[ToolSpec], think: ThinkRequest, why: str) -> Prompt:
        """The prompt for the next reply; `why` is not shown, these models have no judge."""
        all_messages, all_tools = tuple(messages), tuple(tools)
        out = PieceList()
        system = all_messages[0] if all_messages and all_messages[0].role == "system" else None
        if system or all_tools:
            out.markup("<|im_start|>system\n")
            out.text(system.content if system else "")
            if all_tools:
                hermes_tools(out, all_tools) if system else _tools_alone(out, all_tools)
            out.markup("<|im_end|>\n")
        turns(out, all_messages[1:] if system else all_messages, write_json_call)
        opening = _opening(think)
        out.markup("<|im_start|>assistant\n" + opening.text)
        return self._prompt(out, all_messages, all_tools, think, opening)

    def cut(self, written: str, segment: Segment) -> Opening:
        """End an open thought; the answer follows."""
        if segment is not Segment.THINK:
            return Opening(written, segment)
        return Opening(f"{written.rstrip()}\n</think>\n\n", Segment.ANSWER)

    def parser(self) -> ReplyParser:
        """A parser that starts where an answer or a ``<think>`` may come."""
        return ReplyParser(think_tag_grammar(JsonCallReader))

    def write(self, reply: Reply) -> str:
        """The reply with its thought, empty where thinking was off."""
        think = escape(reply.think) if reply.mode is Mode.ON else ""
        text = f"<think>\n{think}\n</think>\n\n{escape(reply.answer)}"
        return "\n".join([text, *written_calls(reply, write_json_call)])


def _tools_alone(out: PieceList, tools: tuple[ToolSpec, ...]) -> None:
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
