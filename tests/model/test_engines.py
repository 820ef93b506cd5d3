"""One contract for all engines: what `model.engine.Engine` promises, over every way there is to a model."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from model.dialects import dialect
from model.engine import Delta, Engine, Finish, Sampling
from model.engines.chat import ChatEngine
from model.engines.embedded import EmbeddedEngine
from model.engines.http import HttpEngine
from model.engines.scripted import ScriptedServer
from model.engines.torch import TorchEngine
from model.format import Mode, Reply, ThinkRequest
from model.prompt import Message, Prompt, ToolSpec
from tests.tiny import NEEDS_TORCH

REPLY = (
    "It needs a look.\n</judge>\n\n<think_on>\n<think>\nFirst I look, then I speak: naïve 思考 😀.\n</think>\n\n"
    "<answer>\nHere it is.\n</answer>\n"
    '<tool_call>\n{"name": "read_file", "arguments": {"path": "a b.py"}}\n</tool_call>'
)
TOOLS = (
    ToolSpec(
        "read_file",
        "Read a file.",
        {"type": "object", "properties": {"path": {"type": "string", "maxLength": 60}}, "required": ["path"]},
    ),
)
LINE = {"reply": REPLY, "times": 0, "chunk": 7, "wire": 5}
SHORT = Sampling(temperature=0.3, max_tokens=900, seed=1)

EMBEDDED = pytest.param("embedded", marks=pytest.mark.embedded)
TORCH = pytest.param("torch", marks=[NEEDS_TORCH, pytest.mark.xdist_group("heavy")])


@pytest.fixture(params=["tcp", "unix", "chat", "chat-kat", "chat-raw", EMBEDDED, TORCH])
async def engine(request: pytest.FixtureRequest, socket_path: Path) -> AsyncIterator[Engine]:
    async with AsyncExitStack() as stack:
        yield await open_one(request, stack, socket_path)


async def open_one(request: pytest.FixtureRequest, stack: AsyncExitStack, socket_path: Path) -> Engine:
    made: Engine
    match request.param:
        case "embedded":
            made = EmbeddedEngine(request.getfixturevalue("nano_path"), context=2048, threads=1)
        case "torch":
            made = TorchEngine(request.getfixturevalue("tiny_path"), dialect="kat", threads=1)
        case "tcp" | "unix" as how:
            uds = socket_path if how == "unix" else None
            made = HttpEngine((await stack.enter_async_context(ScriptedServer([LINE], uds=uds))).url)
        case how:
            field = None if how == "chat-raw" else "reasoning_content" if how == "chat-kat" else "reasoning"
            model = "some-qwen3" if how == "chat" else "scripted-kat-v1"
            server = ScriptedServer([LINE], model=model, reasoning_field=field)
            made = ChatEngine((await stack.enter_async_context(server)).url)
    stack.push_async_callback(made.aclose)
    return made


async def asked(engine: Engine, think: ThinkRequest, text: str = "Read a b.py.") -> Prompt:
    speaker = dialect((await engine.info()).dialect)
    return speaker.render([Message("user", text)], TOOLS, think, "You asked for it.")


async def replied(engine: Engine, prompt: Prompt, sampling: Sampling = SHORT) -> tuple[list[Delta], Reply]:
    found = [delta async for delta in engine.stream(prompt, sampling)]
    parser = dialect(prompt.dialect).parser()
    parser.feed(prompt.opening.text)
    for delta in found:
        parser.feed(delta.text)
    parser.close()
    return found, parser.reply


async def test_streams_pieces_and_the_last_one_says_how_it_ended(engine: Engine) -> None:
    deltas, reply = await replied(engine, await asked(engine, ThinkRequest.AUTO))
    assert len(deltas) > 3
    assert [delta.finish for delta in deltas[:-1]] == [None] * (len(deltas) - 1)
    assert (deltas[-1].finish, deltas[-1].error) == (Finish.STOP, None)
    assert reply.mode is not None
    if not isinstance(engine, EmbeddedEngine | TorchEngine):
        assert (reply.mode, reply.answer) == (Mode.ON, "Here it is.")
        assert reply.think == "First I look, then I speak: naïve 思考 😀."
        assert [(call.name, call.arguments) for call in reply.calls] == [("read_file", {"path": "a b.py"})]


@pytest.mark.parametrize("think", [ThinkRequest.ON, ThinkRequest.OFF])
async def test_a_forced_mode_is_the_mode_of_the_reply(
    engine: Engine, think: ThinkRequest, request: pytest.FixtureRequest
) -> None:
    if "chat-raw" in request.node.name:
        pytest.skip("a server that applies KAT's own template cannot be told the mode")
    _, reply = await replied(engine, await asked(engine, think))
    assert reply.mode == Mode(think.value)
    assert bool(reply.think) is (think is ThinkRequest.ON)
    assert reply.answer


async def test_usage_is_known_at_the_end(engine: Engine) -> None:
    prompt = await asked(engine, ThinkRequest.OFF)
    await replied(engine, prompt)
    deltas, _ = await replied(engine, prompt)
    usage = deltas[-1].usage
    assert usage is not None
    assert usage.prompt > 5
    assert 0 < usage.completion <= SHORT.max_tokens
    assert 0.8 * usage.prompt < usage.cached <= usage.prompt
    assert sum(delta.tokens for delta in deltas) == pytest.approx(usage.completion, abs=12)


async def test_closing_a_stream_takes_less_than_200_ms_and_the_engine_goes_on(engine: Engine) -> None:
    prompt = await asked(engine, ThinkRequest.ON, "word " * 600)
    stream = engine.stream(prompt, Sampling(max_tokens=400, seed=1))
    if isinstance(engine, EmbeddedEngine):
        first = asyncio.create_task(anext(stream))
        await asyncio.sleep(0.3)
        assert not first.done(), "the prompt was meant to take longer"
        began = time.perf_counter()
        first.cancel()
        await asyncio.wait([first])
    else:
        await anext(stream)
        began = time.perf_counter()
    await stream.aclose()
    assert time.perf_counter() - began < 0.2
    deltas, _ = await replied(engine, await asked(engine, ThinkRequest.OFF))
    assert deltas[-1].finish in (Finish.STOP, Finish.LENGTH)


async def test_a_task_that_is_cancelled_in_mid_stream_ends_within_200_ms(engine: Engine) -> None:
    prompt, seen = await asked(engine, ThinkRequest.ON), asyncio.Event()

    async def read() -> None:
        async for _ in engine.stream(prompt, Sampling(max_tokens=400, seed=1)):
            seen.set()
            await asyncio.sleep(0.001)

    task = asyncio.create_task(read())
    await seen.wait()
    began = time.perf_counter()
    task.cancel()
    await asyncio.wait([task])
    assert time.perf_counter() - began < 0.2


async def test_counts_a_longer_prompt_as_longer(engine: Engine) -> None:
    short = await engine.count(await asked(engine, ThinkRequest.OFF, "one two three"))
    long = await engine.count(await asked(engine, ThinkRequest.OFF, "one two three " * 20))
    assert short is not None
    assert long is not None
    assert long - short > 50


async def test_the_engine_says_what_it_is(engine: Engine) -> None:
    info = await engine.info()
    assert info.name
    assert info.model
    assert (info.context or 0) >= 2048
