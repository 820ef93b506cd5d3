"""KAT-V1: a judge, a mark, perhaps a thought, an answer. Tools as in Qwen2.5."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from model.calls import write_json_call
from model.dialects.chatml import ChatMLDialect, hermes_tools, written_calls
from model.escape import escape
from model.format import Mode, Reply, ReplyParser, Segment, ThinkRequest, kat_grammar
from model.prompt import Message, Opening, PieceList, Prompt, ToolSpec

GENERATION_PROMPT = "<|im_start|>assistant\n<judge>\n"
_ON = "\n</judge>\n\n<think_on>\n<think>\n"
_OFF = "\n</judge>\n\n<think_off>\n<answer>\n"


class KatDialect(ChatMLDialect):
    """Renders byte for byte as KAT-V1's chat template does, with history already stripped to answers."""

    name = "kat"
    _write_call = staticmethod(write_json_call)

    def render(self, messages: Iterable[Message], tools: Iterable[ToolSpec], think: ThinkRequest, why: str) -> Prompt:
        """The prompt for the next reply; a forced mode is prefilled behind the judge text `why`."""
        all_messages, all_tools = tuple(messages), tuple(tools)
        out = self._conversation(all_messages, all_tools)
        opening = _opening(think, why)
        out.markup(GENERATION_PROMPT + opening.text)
        return self._prompt(out, all_messages, all_tools, think, opening)

    def cut(self, written: str, segment: Segment) -> Opening:
        """End an open judge (the model still chooses its mode) or an open thought (the answer follows)."""
        match segment:
            case Segment.JUDGE:
                return Opening(f"{written.rstrip()}\n</judge>\n\n", Segment.MODE)
            case Segment.THINK:
                return Opening(f"{written.rstrip()}\n</think>\n\n<answer>\n", Segment.ANSWER)
            case _:
                return Opening(written, segment)

    def answer(self, written: str, segment: Segment) -> Opening:
        """As `cut`, but an open judge ends with thinking off."""
        match segment:
            case Segment.JUDGE:
                return Opening(written.rstrip() + _OFF, Segment.ANSWER)
            case Segment.MODE:
                return Opening(written.rstrip() + _OFF.removeprefix("\n</judge>"), Segment.ANSWER)
            case _:
                return self.cut(written, segment)

    def parser(self) -> ReplyParser:
        """A parser that starts inside the judge."""
        return ReplyParser(kat_grammar())

    def write(self, reply: Reply) -> str:
        """The reply from inside the judge on, tool calls behind the answer."""
        on = f"{_ON}{escape(reply.think)}\n</think>\n\n<answer>\n"
        text = f"{escape(reply.judge)}{on if reply.mode is Mode.ON else _OFF}{escape(reply.answer)}\n</answer>"
        return "\n".join([text, *written_calls(reply, write_json_call)])

    def _head(self, out: PieceList, system: Message | None, tools: Sequence[ToolSpec]) -> None:
        out.markup("<|im_start|>system\n")
        if system:
            out.text(system.content)
        elif not tools:
            out.markup("You are a helpful assistant.")
        if tools:
            hermes_tools(out, tools)
        out.markup("<|im_end|>\n")


def _opening(think: ThinkRequest, why: str) -> Opening:
    match think:
        case ThinkRequest.AUTO:
            return Opening("", Segment.JUDGE)
        case ThinkRequest.ON:
            return Opening(why + _ON, Segment.THINK)
        case ThinkRequest.OFF:
            return Opening(why + _OFF, Segment.ANSWER)
