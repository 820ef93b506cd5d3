"""Whether the server's chat template renders what this program renders, byte for byte."""

from __future__ import annotations

from typing import Any

from assistant.doctor.finding import Outcome
from assistant.doctor.subject import Subject
from assistant.doctor.tools import READ_FILE
from model.engine import EngineRefused
from model.engines.chat import messages
from model.engines.transport import NotServed, NotUnderstood, Transport
from model.format import Mode, Reply, ThinkRequest, ToolCall
from model.prompt import Dialect, Message

CONVERSATION = (
    Message("system", "You are a coding assistant. Antworte präzise: 思考 ✓."),
    Message("user", "Compare a.py and b.py."),
    Message(
        "assistant",
        "I read both files.",
        (ToolCall("read_file", {"path": "a.py"}), ToolCall("read_file", {"path": 'b "two".py'})),
    ),
    Message("tool", "x = 1\n"),
    Message("tool", "def f() -> str:\n    return '<b>&'"),
    Message("assistant", "They share nothing.\n\nb.py has one function."),
    Message("user", "Which one is longer?"),
)
"""All kinds of turns: a system message, two calls in one reply, their results, an answer, letters of many kinds."""
_AROUND = 24


async def same_bytes(subject: Subject) -> Outcome:
    """Compare the two renderings of one conversation."""
    transport = subject.transport
    if transport is None:
        return Outcome(None, "this engine has no template: the prompt is rendered here")
    ours = subject.dialect.render(CONVERSATION, (READ_FILE,), ThinkRequest.AUTO, "").text
    try:
        theirs = await _rendered(subject, transport)
        if theirs is None:
            return Outcome(None, "this kind of server does not show what its template makes of a conversation")
        if isinstance(theirs, list):
            return await _compared_tokens(subject, transport, ours, theirs)
    except NotUnderstood as error:
        return Outcome(False, f"the server cannot render a conversation: {error}")
    return _compared(ours, theirs)


async def _rendered(subject: Subject, transport: Transport) -> str | list[int] | None:
    """The server's rendering: text from llama-server, token ids from vLLM, None from others."""
    body = {"model": subject.info.model, **request(subject.dialect), "add_generation_prompt": True}
    try:
        if isinstance(text := (await transport.post_json("/apply-template", body)).get("prompt"), str):
            return text
    except NotServed:
        pass
    try:
        tokens = (await transport.post_json("/tokenize", body)).get("tokens")
    except NotServed:
        return None
    except NotUnderstood:
        if subject.kind != "vllm":
            return None
        raise
    return tokens if isinstance(tokens, list) and tokens else None


def request(spoken: Dialect) -> dict[str, Any]:
    """The conversation as a client sends it that knows nothing of KAT: replies of the past with judge and thought."""
    sent = messages(CONVERSATION)
    if spoken.name == "kat":
        for entry in sent:
            if entry["role"] == "assistant":
                entry["content"] = spoken.write(Reply("It is clear.", Mode.ON, "A thought.", entry["content"]))
    return {"messages": sent, "tools": [READ_FILE.as_openai()]}


async def _compared_tokens(subject: Subject, transport: Transport, ours: str, theirs: list[int]) -> Outcome:
    """Token ids say it all; only where they differ, the texts are wanted."""
    body = {"model": subject.info.model, "prompt": ours, "add_special_tokens": False}
    tokens = (await transport.post_json("/tokenize", body)).get("tokens")
    if tokens == theirs:
        return Outcome(True, f"renders a conversation as we do: {len(ours.encode())} bytes, {len(theirs)} tokens")
    try:
        text = await transport.post_json("/detokenize", {"model": subject.info.model, "tokens": theirs})
    except EngineRefused:
        return Outcome(False, "renders a conversation otherwise than we do; the server does not show how")
    return _compared(ours, str(text.get("prompt", "")))


def _compared(ours: str, theirs: str) -> Outcome:
    if ours == theirs:
        return Outcome(True, f"renders a conversation as we do: {len(ours.encode())} bytes")
    pairs = enumerate(zip(ours, theirs, strict=False))
    at = next((index for index, (a, b) in pairs if a != b), min(len(ours), len(theirs)))
    place = slice(max(0, at - _AROUND), at + _AROUND)
    return Outcome(False, f"differs at character {at}: {theirs[place]!r} there, {ours[place]!r} here")
