"""How the scripted server writes a reply: the events of both protocols, and whole bodies."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from model.engines.script import ScriptLine, behind, forced, parse, words
from model.format import Mode, Reply

_GENERATION = "<|im_start|>assistant\n"
_ENDS = ("<|im_end|>", "<|endoftext|>")


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request: its body, its prompt as text, the prompt's tokens, and who answers in which dialect."""

    body: dict[str, Any]
    prompt: str
    prompt_tokens: int
    cached_tokens: int
    model: str
    dialect: str

    def usage(self, completion: int) -> dict[str, Any]:
        """Token counts as vLLM reports them."""
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": completion,
            "total_tokens": self.prompt_tokens + completion,
            "prompt_tokens_details": {"cached_tokens": self.cached_tokens},
        }


def asked_prompt(body: dict[str, Any], decode: Callable[[list[int]], str] | None) -> str:
    """The request's prompt as text; a chat is joined line by line."""
    if "messages" in body:
        lines = [f"{m.get('role')}: {m.get('content')} {m.get('tool_calls', '')}" for m in body["messages"]]
        return "\n".join(lines)
    prompt = body.get("prompt", "")
    if isinstance(prompt, str):
        return prompt
    return decode(prompt) if decode else " ".join(map(str, prompt))


def completion_text(exchange: Exchange, line: ScriptLine) -> tuple[str, str]:
    """What /v1/completions writes, and why it stops."""
    written = exchange.prompt.rpartition(_GENERATION)[2] if _GENERATION in exchange.prompt else ""
    opening = written.removeprefix("<judge>\n") if exchange.dialect == "kat" else written
    text, finish = behind(line.reply, opening, exchange.dialect), "stop"
    for stop in (*_ENDS, *_strings(exchange.body.get("stop"))):
        text = text.partition(stop)[0]
    limit = exchange.body.get("max_tokens")
    if isinstance(limit, int) and len(words(text)) > limit:
        text, finish = _first_words(text, limit), "length"
    return text, finish


def completion_events(exchange: Exchange, lines: Sequence[ScriptLine], size: int) -> Iterator[bytes]:
    """The events of a streamed completion, a line for each choice; one that cuts ends it all in the middle."""
    written = 0
    for index, line in enumerate(lines):
        text, finish = completion_text(exchange, line)
        end = len(text) if line.cut_after is None else min(line.cut_after, len(text))
        for start in range(0, end, size):
            part = text[start : min(start + size, end)]
            written += len(words(part))
            yield _event(exchange, {"text": part, "index": index, "finish_reason": None}, exchange.usage(written))
        if line.cut_after is not None:
            return
        yield _event(exchange, {"text": "", "index": index, "finish_reason": finish}, None)
    yield _usage_event(exchange, _tokens(exchange, lines))
    yield b"data: [DONE]\n\n"


def _tokens(exchange: Exchange, lines: Sequence[ScriptLine]) -> int:
    return sum(len(words(completion_text(exchange, line)[0])) for line in lines)


def chat_events(exchange: Exchange, line: ScriptLine, field: str | None, size: int) -> Iterator[bytes]:
    """The events of a streamed chat completion, thoughts in `field`, or KAT's raw text where it is None."""
    left, written = line.cut_after, 0
    for delta in _chat_deltas(exchange, line, field, size):
        if left is not None and left <= 0:
            return
        text = "".join(value for value in delta.values() if isinstance(value, str))
        left = None if left is None else left - len(text)
        written += len(words(text))
        yield _event(exchange, {"delta": delta, "index": 0, "finish_reason": None}, exchange.usage(written))
    if line.cut_after is None:
        finish = "tool_calls" if field and parse(line.reply).calls else "stop"
        yield _event(exchange, {"delta": {}, "index": 0, "finish_reason": finish}, None)
        yield _usage_event(exchange, written)
        yield b"data: [DONE]\n\n"


def whole_completion(exchange: Exchange, lines: Sequence[ScriptLine]) -> dict[str, Any]:
    """The body of a completion that is not streamed, a line for each choice."""
    texts = (completion_text(exchange, line) for line in lines)
    choices = [{"text": text, "index": index, "finish_reason": end} for index, (text, end) in enumerate(texts)]
    return {"model": exchange.model, "choices": choices, "usage": exchange.usage(_tokens(exchange, lines))}


def whole_chat(exchange: Exchange, line: ScriptLine, field: str | None) -> dict[str, Any]:
    """The body of a chat reply that is not streamed."""
    message: dict[str, Any] = {"role": "assistant", "content": ""}
    for delta in _chat_deltas(exchange, line, field, max(len(line.reply), 1)):
        for key, value in delta.items():
            message[key] = message[key] + value if key in message and key != "role" else value
    choice = {"message": message, "index": 0, "finish_reason": "stop"}
    return {"model": exchange.model, "choices": [choice], "usage": exchange.usage(len(words(line.reply)))}


def _chat_deltas(exchange: Exchange, line: ScriptLine, field: str | None, size: int) -> Iterator[dict[str, Any]]:
    yield {"role": "assistant", "content": ""}
    if field is None:
        yield from _pieces("content", line.reply, size)
        return
    reply = _as_asked(parse(line.reply), exchange.body)
    yield from _pieces(field, reply.think, size)
    yield from _pieces("content", reply.answer, size)
    for index, call in enumerate(reply.calls):
        function = {"name": call.name, "arguments": ""}
        head = {"index": index, "id": f"call_{index}", "type": "function", "function": function}
        yield {"tool_calls": [head]}
        for piece in _pieces("arguments", json.dumps(call.arguments, ensure_ascii=False), size):
            yield {"tool_calls": [{"index": index, "function": piece}]}


def _as_asked(reply: Reply, body: dict[str, Any]) -> Reply:
    asked = (body.get("chat_template_kwargs") or {}).get("enable_thinking")
    if asked is None:
        return reply
    return forced(reply, Mode.ON if asked else Mode.OFF)


def _pieces(key: str, text: str, size: int) -> Iterator[dict[str, Any]]:
    for start in range(0, len(text), size):
        yield {key: text[start : start + size]}


def _event(exchange: Exchange, choice: dict[str, Any], usage: dict[str, Any] | None) -> bytes:
    continuous = (exchange.body.get("stream_options") or {}).get("continuous_usage_stats")
    body: dict[str, Any] = {"id": "scripted", "model": exchange.model, "choices": [choice]}
    if usage and continuous:
        body["usage"] = usage
    return _data(body)


def _usage_event(exchange: Exchange, completion: int) -> bytes:
    if not (exchange.body.get("stream_options") or {}).get("include_usage"):
        return b": no usage was asked for\n\n"
    return _data({"id": "scripted", "model": exchange.model, "choices": [], "usage": exchange.usage(completion)})


def _data(body: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(body, ensure_ascii=False)}\n\n".encode()


def _strings(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value or [])


def _first_words(text: str, limit: int) -> str:
    """`text` up to and with its word number `limit`."""
    end = 0
    for word in words(text)[:limit]:
        end = text.index(word, end) + len(word)
    return text[:end]
