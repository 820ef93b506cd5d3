"""Qwen3-Coder, and with it KAT-Dev and KAT-Coder: XML tool calls and no thinking switch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from model.calls import XmlCallReader, write_xml_call
from model.dialects.chatml import ChatMLDialect, Layout, end_of_thought, written_calls
from model.escape import escape
from model.format import Reply, ReplyParser, Segment, ThinkRequest, think_tag_grammar
from model.prompt import Message, Opening, PieceList, Prompt, ToolSpec

_LAYOUT = Layout(before_call="\n\n", before_results="\n", before_result="", after_result="\n")
_DEFAULT_SYSTEM = "You are Qwen, a helpful AI assistant that can interact with a computer to solve tasks."
_HEAD = "\n\n# Tools\n\nYou have access to the following functions:\n\n<tools>"
_TAIL = (
    "\n</tools>\n\nIf you choose to call a function ONLY reply in the following format with NO suffix:\n\n"
    "<tool_call>\n<function=example_function_name>\n<parameter=example_parameter_1>\nvalue_1\n</parameter>\n"
    "<parameter=example_parameter_2>\nThis is the value for the second parameter\nthat can span\nmultiple lines\n"
    "</parameter>\n</function>\n</tool_call>\n\n<IMPORTANT>\nReminder:\n"
    "- Function calls MUST follow the specified format: an inner <function=...></function> block must be nested "
    "within <tool_call></tool_call> XML tags\n"
    "- Required parameters MUST be specified\n"
    "- You may provide optional reasoning for your function call in natural language BEFORE the function call, "
    "but NOT after\n"
    "- If there is no function call available, answer the question like normal with your current knowledge and do "
    "not tell the user about function calls\n</IMPORTANT>"
)


class Qwen3CoderDialect(ChatMLDialect):
    """Renders as Qwen3-Coder's chat template does. The models never think, whatever is asked."""

    name = "qwen3_coder"
    _write_call = staticmethod(write_xml_call)
    _layout = _LAYOUT

    def render(self, messages: Iterable[Message], tools: Iterable[ToolSpec], think: ThinkRequest, why: str) -> Prompt:
        """The prompt for the next reply. It cannot ask for a mode, so its `think` is always AUTO."""
        all_messages, all_tools = tuple(messages), tuple(tools)
        out = self._conversation(all_messages, all_tools)
        out.markup("<|im_start|>assistant\n")
        return self._prompt(out, all_messages, all_tools, ThinkRequest.AUTO, Opening("", Segment.ANSWER))

    def cut(self, written: str, segment: Segment) -> Opening:
        """End a thought, should the model have begun one; the answer follows."""
        return end_of_thought(written, segment)

    def answer(self, written: str, segment: Segment) -> Opening:
        """As `cut`: there is no judge."""
        return end_of_thought(written, segment)

    def parser(self) -> ReplyParser:
        """A parser for an answer with XML calls."""
        return ReplyParser(think_tag_grammar(XmlCallReader))

    def write(self, reply: Reply) -> str:
        """The answer and its calls."""
        return "\n".join([escape(reply.answer), *written_calls(reply, write_xml_call)])

    def _head(self, out: PieceList, system: Message | None, tools: Sequence[ToolSpec]) -> None:
        if not system and not tools:
            return
        out.markup("<|im_start|>system\n")
        out.text(system.content) if system else out.markup(_DEFAULT_SYSTEM)
        if tools:
            _tools(out, tools)
        out.markup("<|im_end|>\n")


def _tools(out: PieceList, tools: Sequence[ToolSpec]) -> None:
    out.markup(_HEAD)
    for tool in tools:
        out.markup("\n<function>\n<name>")
        out.text(tool.name)
        out.markup("</name>\n<description>")
        out.text(tool.description.strip())
        out.markup("</description>\n<parameters>")
        for name, schema in tool.parameters.get("properties", {}).items():
            _parameter(out, name, schema)
        required = tool.parameters.get("required")
        if required:
            out.markup("\n<required>")
            out.text(str(required).replace("'", '"'))
            out.markup("</required>")
        out.markup("\n</parameters>\n</function>")
    out.markup(_TAIL)


def _parameter(out: PieceList, name: str, schema: Mapping[str, Any]) -> None:
    out.markup("\n<parameter>\n<name>")
    out.text(name)
    out.markup("</name>")
    for key, value in schema.items():
        out.text(f"\n<{key}>{str(value).strip()}</{key}>")
    out.markup("\n</parameter>")
