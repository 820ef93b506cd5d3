"""ChatML turns, which all our dialects share."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

from model.format import Reply, Segment, ThinkRequest, ToolCall
from model.prompt import CallWriter, Message, Opening, Piece, PieceList, Prompt, Role, ToolSpec
from model.surrogates import replace_surrogates

_HERMES_HEAD = (
    "\n\n# Tools\n\nYou may call one or more functions to assist with the user query.\n\n"
    "You are provided with function signatures within <tools></tools> XML tags:\n<tools>"
)
_HERMES_TAIL = (
    "\n</tools>\n\nFor each function call, return a json object with function name and arguments "
    "within <tool_call></tool_call> XML tags:\n<tool_call>\n"
    '{"name": <function-name>, "arguments": <args-json-object>}\n</tool_call>'
)


def hermes_tools(out: PieceList, tools: Sequence[ToolSpec]) -> None:
    """The tool preamble of Qwen2.5, which KAT-V1 and Qwen3 kept."""
    out.markup(_HERMES_HEAD)
    for tool in tools:
        out.markup("\n")
        out.text(json.dumps(tool.as_openai(), ensure_ascii=False))
    out.markup(_HERMES_TAIL)


@dataclass(frozen=True, slots=True)
class Layout:
    """Where line breaks stand around calls and tool results; the chat templates differ in nothing else."""

    before_call: str = "\n"
    before_results: str = ""
    before_result: str = "\n"
    after_result: str = ""


def turns(
    out: PieceList,
    messages: Sequence[Message],
    write_call: CallWriter,
    layout: Layout = Layout(),
    start: int = 0,
    stop: int | None = None,
) -> None:
    """The turns of messages `start` to `stop`; tool results in a row share one user turn."""
    for index in range(start, len(messages) if stop is None else stop):
        message = messages[index]
        match message.role:
            case "tool":
                first = index == 0 or messages[index - 1].role != "tool"
                last = index + 1 == len(messages) or messages[index + 1].role != "tool"
                out.markup(f"<|im_start|>user{layout.before_results}" if first else "")
                out.markup(f"{layout.before_result}<tool_response>\n")
                out.text(message.content)
                out.markup(f"\n</tool_response>{layout.after_result}" + ("<|im_end|>\n" if last else ""))
            case "assistant" if message.calls:
                _assistant_with_calls(out, message, write_call, layout)
            case _:
                out.markup(f"<|im_start|>{message.role}\n")
                out.text(message.content)
                out.markup("<|im_end|>\n")


def _assistant_with_calls(out: PieceList, message: Message, write_call: CallWriter, layout: Layout) -> None:
    out.markup("<|im_start|>assistant")
    if message.content:
        out.markup("\n")
        out.text(message.content)
    for call in message.calls:
        out.markup(f"{layout.before_call}<tool_call>\n")
        _body(out, call, write_call)
        out.markup("\n</tool_call>")
    out.markup("<|im_end|>\n")


def _body(out: PieceList, call: ToolCall, write_call: CallWriter) -> None:
    """A call that could not be read stays as the model wrote it, as text."""
    if call.error is None:
        write_call(out, call.name, call.arguments)
    else:
        out.text(call.raw)


def written_calls(reply: Reply, write_call: CallWriter) -> list[str]:
    """The reply's calls in their tags, as a model writes them."""
    return [_written(call, write_call) for call in reply.calls]


def _written(call: ToolCall, write_call: CallWriter) -> str:
    out = PieceList()
    out.markup("<tool_call>\n")
    _body(out, call, write_call)
    out.markup("\n</tool_call>")
    return out.inert()


def end_of_thought(written: str, segment: Segment) -> Opening:
    """Where a dialect has no judge: an open thought is ended, and anything else goes on."""
    if segment is not Segment.THINK:
        return Opening(written, segment)
    return Opening(f"{written.rstrip()}\n</think>\n\n", Segment.ANSWER)


_KEPT = 3
"""Conversations that a dialect remembers: a session, a sub-agent of it, and one more; our choice."""


@dataclass(frozen=True, slots=True)
class _Written:
    """The pieces of a conversation without its last message, of which only the role counts here."""

    messages: tuple[Message, ...]
    next: Role
    tools: tuple[ToolSpec, ...]
    pieces: tuple[Piece, ...]

    def begins(self, messages: Sequence[Message], tools: Sequence[ToolSpec]) -> bool:
        """Whether the conversation is this one with more behind it. What is equal may not look so in JSON."""
        count = len(self.messages)
        if len(messages) <= count or messages[count].role != self.next or not _are(self.tools, tools):
            return False
        return all(
            old is new or (not old.calls and old == new) for old, new in zip(self.messages, messages, strict=False)
        )


class ChatMLDialect:
    """What the dialects have in common.

    An opening is markup behind the generation prompt, and can be replaced. Transcripts grow at their end, so what was
    written of the last few is kept, and a longer one of the same beginning costs only what is new.
    """

    name: str
    _write_call: CallWriter
    _layout: Layout = Layout()

    def __init__(self) -> None:
        self._kept: tuple[_Written, ...] = ()

    def reopen(self, prompt: Prompt, opening: Opening) -> Prompt:
        """The same prompt with another opening."""
        opening = _encodable(opening)
        *head, last = prompt.pieces
        kept = last._replace(text=last.text.removesuffix(prompt.opening.text) + opening.text)
        return replace(prompt, opening=opening, pieces=(*head, kept))

    def resume(self, written: str, segment: Segment) -> Opening:
        """Go on inside `segment`, right behind `written`."""
        return Opening(written, segment)

    def _head(self, out: PieceList, system: Message | None, tools: Sequence[ToolSpec]) -> None:
        """The system turn."""
        raise NotImplementedError

    def _conversation(self, messages: tuple[Message, ...], tools: tuple[ToolSpec, ...]) -> PieceList:
        """The system turn and all others."""
        system = messages[0] if messages and messages[0].role == "system" else None
        kept = next((one for one in self._kept if one.begins(messages, tools)), None)
        out, start = PieceList(kept.pieces if kept else ()), len(kept.messages) if kept else int(system is not None)
        if kept is None:
            self._head(out, system, tools)
        settled = len(messages) - 1
        if settled > 0:
            turns(out, messages, self._write_call, self._layout, start, settled)
            others = [one for one in self._kept if one is not kept]
            written = _Written(messages[:settled], messages[settled].role, tools, out.pieces())
            self._kept = (written, *others[: _KEPT - 1])
            start = max(start, settled)
        turns(out, messages, self._write_call, self._layout, start)
        return out

    def _prompt(
        self,
        out: PieceList,
        messages: Sequence[Message],
        tools: Sequence[ToolSpec],
        think: ThinkRequest,
        opening: Opening,
    ) -> Prompt:
        return Prompt(self.name, tuple(messages), tuple(tools), think, _encodable(opening), out.pieces())


def _are(old: Sequence[object], new: Sequence[object]) -> bool:
    return len(old) == len(new) and all(a is b for a, b in zip(old, new, strict=True))


def _encodable(opening: Opening) -> Opening:
    return replace(opening, text=replace_surrogates(opening.text))
