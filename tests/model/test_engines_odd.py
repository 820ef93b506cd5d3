"""Engines behind a server, given text, replies and addresses that nobody would write on purpose."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from model.dialects import dialect
from model.engine import Delta, EngineRefused, Finish, Sampling
from model.engines.chat import ChatEngine, ChatReader, messages
from model.engines.http import HttpEngine
from model.engines.scripted import ScriptedServer
from model.format import Reply, ThinkRequest, ToolCall
from model.prompt import Message, Prompt, ToolSpec
from model.select import open_engine

OFF = "Plain.\n</judge>\n\n<think_off>\n<answer>\nIt is 4.\n</answer>"
HALF = "a\ud83d"


def prompt_of(name: str, *history: Message) -> Prompt:
    return dialect(name).render(history or [Message("user", "q")], [ToolSpec("f", HALF)], ThinkRequest.AUTO, "")


def event(**choice: Any) -> str:
    return f"data: {json.dumps({'choices': [choice]})}\n\n"


async def ask(line: dict[str, Any], prompt: Prompt, *, chat: bool) -> tuple[list[Delta], ScriptedServer]:
    async with ScriptedServer([line], model="some-qwen3" if prompt.dialect == "qwen3" else "kat-v1") as server:
        engine = (ChatEngine if chat else HttpEngine)(server.url)
        try:
            return [delta async for delta in engine.stream(prompt, Sampling())], server
        finally:
            await engine.aclose()


def read_back(prompt: Prompt, deltas: list[Delta]) -> Reply:
    parser = dialect(prompt.dialect).parser()
    for delta in deltas:
        parser.feed(delta.text)
    parser.close()
    return parser.reply


@pytest.mark.parametrize("chat", [False, True])
async def test_half_characters_in_the_conversation_are_sent_as_replacements(chat: bool) -> None:
    history = (Message("user", HALF), Message("assistant", HALF, (ToolCall("f", {"x": HALF}),)), Message("tool", HALF))
    deltas, server = await ask({"reply": OFF}, prompt_of("kat", *history), chat=chat)
    assert deltas[-1].finish is Finish.STOP
    sent = json.dumps(server.requests[0], ensure_ascii=False)
    sent.encode()
    assert sent.count("a\ufffd") == 5, "user, answer, argument, result and the tool's description"


async def test_half_characters_can_be_counted() -> None:
    async with ScriptedServer([]) as server:
        engine = HttpEngine(server.url)
        assert await engine.count(prompt_of("kat", Message("user", HALF)))
        await engine.aclose()


async def test_an_answer_without_end_is_refused_in_a_sentence() -> None:
    async with ScriptedServer([], routes={"/v1/models": lambda _: "[" * 99_999}) as server:
        engine = HttpEngine(server.url)
        with pytest.raises(EngineRefused, match="something that is not JSON"):
            await engine.info()
        await engine.aclose()


@pytest.mark.parametrize("chat", [False, True])
async def test_half_characters_in_a_reply_are_replaced(chat: bool) -> None:
    choice = {"delta": {"content": HALF}} if chat else {"text": HALF}
    deltas, _ = await ask({"raw": event(**choice, finish_reason="stop")}, prompt_of("qwen3"), chat=chat)
    assert "".join(delta.text for delta in deltas) == "a\ufffd"


@pytest.mark.parametrize("address", ["http://\u2028x:1", "http://x:99999999", "http://[::1"])
async def test_an_address_that_is_none_is_refused_in_a_sentence(address: str) -> None:
    with pytest.raises(EngineRefused, match="is no engine; write embedded") as caught:
        await open_engine(address, environ={})
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("calls", [5, "x", {"index": 0}, [5, None, {}]])
async def test_tool_calls_that_are_no_list_are_passed_over(calls: object) -> None:
    raw = event(delta={"content": "Hello.", "tool_calls": calls}, finish_reason="stop")
    deltas, _ = await ask({"raw": raw}, prompt_of("qwen3"), chat=True)
    assert deltas[-1].finish is Finish.STOP
    assert "Hello." in "".join(delta.text for delta in deltas)


def test_leading_space_in_small_pieces_is_read_in_linear_time() -> None:
    def seconds(count: int) -> float:
        reader = ChatReader(prompt_of("qwen3"))
        began = time.process_time()
        for _ in range(count):
            assert reader.read({"delta": {"content": " " * 50}}) == ""
        assert reader.read({"delta": {"content": "<think>\nt\n</think>\na"}}).strip()
        return time.process_time() - began

    assert seconds(16_000) < 20 * seconds(2_000) + 0.1


@pytest.mark.parametrize(
    "pieces", [["  <thi", "nk>t</think>a"], [" ", "\n", "<think>t</think>a"], ["<think>t</think>a"]]
)
def test_a_thought_in_the_content_is_seen_behind_space(pieces: list[str]) -> None:
    prompt = prompt_of("qwen3")
    reader = ChatReader(prompt)
    texts = [reader.read({"delta": {"content": piece}}) for piece in pieces]
    parser = dialect("qwen3").parser()
    parser.feed("".join(texts) + reader.close(True))
    parser.close()
    assert (parser.reply.think, parser.reply.answer) == ("t", "a")


@pytest.mark.parametrize("name", ["", "a b", "x" * 65, '"}', "run\n"])
def test_only_plain_names_of_functions_are_sent(name: str) -> None:
    sent = messages((Message("assistant", "", (ToolCall(name, {}), ToolCall("read_file", {}))),))
    assert [call["function"]["name"] for call in sent[0]["tool_calls"]] == ["unknown", "read_file"]


def test_calls_of_a_chat_are_read_in_the_coder_dialect() -> None:
    prompt = prompt_of("qwen3_coder")
    reader = ChatReader(prompt)
    call = {"name": "f", "arguments": json.dumps({"x": "</parameter>\n</function>\n</tool_call>"})}
    text = reader.read({"delta": {"content": "Look.", "tool_calls": [{"index": 0, "function": call}]}})
    reply = read_back(prompt, [Delta(text + reader.close(True))])
    assert [(c.name, c.arguments, c.error) for c in reply.calls] == [
        ("f", {"x": "</parameter>\n</function>\n</tool_call>"}, None)
    ]
    assert reply.answer == "Look."


async def test_a_script_may_send_nothing_at_all() -> None:
    deltas, _ = await ask({"raw": ""}, prompt_of("kat"), chat=False)
    assert deltas[-1].finish is Finish.CUT
    assert "without saying that it was over" in (deltas[-1].error or "")
