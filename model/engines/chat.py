"""Engines that only have /v1/chat/completions: the server renders the prompt and takes the reply apart.

What can be asked is less than over /v1/completions. A mode is asked for by `enable_thinking`, which servers may
ignore; the parser then says what the reply really did. A thought that was cut cannot be continued, so a prompt with
any opening but the plain one of its mode is refused.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing
from typing import Any

from model.calls import plain_name
from model.dialects import dialect
from model.engine import Delta, EngineRefused, Sampling
from model.engines.remote import RemoteEngine, deltas, sampling_body
from model.engines.rewrite import ReplyWriter
from model.escape import escape
from model.format import CallReady, ReplyDelta, ReplyParser, Segment, TextDelta, ThinkRequest, ToolCall
from model.prompt import Message, Prompt

_HELD = 2000
_PLAIN_TAILS = ("<think>\n", "<think>\n\n</think>\n\n", "<think_on>\n<think>\n", "<think_off>\n<answer>\n")


class ChatEngine(RemoteEngine):
    """Streams from /v1/chat/completions and writes what comes in the prompt's dialect."""

    continues = False

    async def stream(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[Delta, None]:
        """The reply as text of the prompt's dialect. Raises `EngineRefused` where a cut reply should go on."""
        if prompt.opening.text and not prompt.opening.text.endswith(_PLAIN_TAILS):
            raise EngineRefused(
                f"{self._transport.name} only chats and cannot continue a reply that was cut; "
                "use a server with /v1/completions"
            )
        reader = ChatReader(prompt)
        body = _request(await self.target(), prompt, sampling)
        found = deltas(self._transport, "/v1/chat/completions", body, reader.read, reader.close)
        async with aclosing(found):
            async for delta in found:
                yield delta


class ChatReader:
    """Reads the deltas of one chat reply.

    A server without a reasoning parser sends the model's own text as content. Content is therefore held until it is
    known which it is. KAT's text shows a tag of KAT, that of other models begins with ``<think>``; anything else, or
    content behind a thought, is a plain answer. KAT's judge has 2,000 characters to end, which is our choice.
    """

    def __init__(self, prompt: Prompt) -> None:
        self._writer = ReplyWriter(prompt.dialect, prompt.opening)
        self._raw: ReplyParser | None = dialect(prompt.dialect).parser()
        self._kat = prompt.dialect == "kat"
        self._held: list[str] = []
        self._seen = ""
        self._known = False
        self._calls: dict[int, _Call] = {}

    def read(self, choice: Mapping[str, Any]) -> str:
        """The text that a choice adds; a call comes out when the next one begins or the reply ends."""
        delta = choice.get("delta") or choice.get("message") or {}
        if not isinstance(delta, dict):
            return ""
        thought = delta.get("reasoning") or delta.get("reasoning_content")
        text = self._thought(thought) if isinstance(thought, str) else ""
        content = delta.get("content")
        if isinstance(content, str) and content:
            text += self._content(content)
        parts = delta.get("tool_calls")
        for part in parts if isinstance(parts, list) else ():
            text += self._call_part(part)
        return text

    def close(self, done: bool) -> str:
        """What is still held; if the reply is done, also its last calls and the end of its answer."""
        text = self._settle(raw=False) if not self._known else ""
        if done and self._raw:
            text += self._written(self._raw.close())
        if done:
            text += "".join(self._flush_calls())
        return text + self._writer.close(done=done)

    def _thought(self, text: str) -> str:
        before = "" if self._known else self._settle(raw=False)
        return before + self._writer.think(text)

    def _content(self, text: str) -> str:
        if not self._known:
            return self._hold(text)
        return self._written(self._raw.feed(text)) if self._raw else self._writer.answer(text)

    def _hold(self, text: str) -> str:
        self._held.append(text)
        self._seen += text
        if not self._kat:
            start = self._seen = self._seen.lstrip()[: len("<think>")]
            return "" if "<think>".startswith(start) and start != "<think>" else self._settle(raw=start == "<think>")
        if any(tag in self._seen for tag in ("</judge>", "<think_on>", "<think_off>", "<answer>")):
            return self._settle(raw=True)
        return self._settle(raw=False) if len(self._seen) > _HELD else ""

    def _settle(self, *, raw: bool) -> str:
        self._known = True
        text = "".join(self._held)
        self._held = []
        if raw and self._raw:
            return self._written(self._raw.feed(text))
        self._raw = None
        return self._writer.answer(text)

    def _written(self, found: list[ReplyDelta]) -> str:
        return "".join(self._write(delta) for delta in found)

    def _write(self, delta: ReplyDelta) -> str:
        match delta:
            case TextDelta(Segment.JUDGE, text):
                return self._writer.judge(text)
            case TextDelta(Segment.THINK, text):
                return self._writer.think(text)
            case TextDelta(Segment.ANSWER, text):
                return self._writer.answer(text)
            case CallReady(ToolCall(name=name, raw=raw, arguments=arguments, error=error)):
                return self._writer.call(name, raw if error else json.dumps(arguments, ensure_ascii=False))
            case _:
                return ""

    def _call_part(self, part: object) -> str:
        if not isinstance(part, dict):
            return ""
        index = part.get("index")
        index = index if isinstance(index, int) else len(self._calls)
        done = "" if index in self._calls else "".join(self._flush_calls())
        function = part.get("function")
        self._calls.setdefault(index, _Call()).take(function if isinstance(function, dict) else {})
        return done

    def _flush_calls(self) -> Iterator[str]:
        before = "" if self._known else self._settle(raw=False)
        if before:
            yield before
        for call in self._calls.values():
            if not call.written:
                call.written = True
                yield self._writer.call(call.name, "".join(call.arguments))


class _Call:
    """A tool call as it grows."""

    def __init__(self) -> None:
        self.name = ""
        self.arguments: list[str] = []
        self.written = False

    def take(self, function: Mapping[str, Any]) -> None:
        name, arguments = function.get("name"), function.get("arguments")
        if isinstance(name, str):
            self.name = self.name or name
        if isinstance(arguments, dict):
            arguments = json.dumps(arguments, ensure_ascii=False)
        if isinstance(arguments, str):
            self.arguments.append(arguments)


def _request(model: str, prompt: Prompt, sampling: Sampling) -> dict[str, Any]:
    body = {"model": model, "messages": messages(prompt.messages), **sampling_body(sampling)}
    if prompt.tools:
        body["tools"] = [tool.as_openai() for tool in prompt.tools]
    if prompt.think is not ThinkRequest.AUTO:
        body["chat_template_kwargs"] = {"enable_thinking": prompt.think is ThinkRequest.ON}
    if sampling.stop:
        body["stop"] = list(sampling.stop)
    return body


def messages(conversation: tuple[Message, ...]) -> list[dict[str, Any]]:
    """The conversation in OpenAI's form, control tokens in it made inert; results take their calls' ids in order."""
    out: list[dict[str, Any]] = []
    open_ids: list[str] = []
    for index, message in enumerate(conversation):
        entry: dict[str, Any] = {"role": message.role, "content": escape(message.content)}
        if message.calls:
            open_ids = [f"call_{index}_{number}" for number in range(len(message.calls))]
            entry["tool_calls"] = [_call(call, name) for call, name in zip(message.calls, open_ids, strict=True)]
        elif message.role == "tool":
            entry["tool_call_id"] = open_ids.pop(0) if open_ids else f"call_{index}"
        out.append(entry)
    return out


def _call(call: ToolCall, name: str) -> dict[str, Any]:
    """A call of the past; one that could not be read keeps its text as an argument, since servers want valid JSON."""
    arguments = call.arguments if call.error is None else {"unreadable": call.raw}
    function = {"name": plain_name(call.name), "arguments": escape(json.dumps(arguments, ensure_ascii=False))}
    return {"id": name, "type": "function", "function": function}
