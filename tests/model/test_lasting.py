"""An engine that goes away: what it had written is kept, and the rest is asked for when it is back."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from model.dialects import dialect
from model.engine import Delta, EngineUnreachable, Finish, Sampling
from model.engines.chat import ChatEngine
from model.engines.http import HttpEngine
from model.engines.lasting import LOSSES, SETTLING, Found, Lasting, Lost
from model.engines.scripted import ScriptedServer
from model.format import Mode, Reply, ThinkRequest
from model.prompt import Message, Prompt

KAT = dialect("kat")
ANSWER = "It is the first of many words, and the last of them is 思考."
REPLY = f"Look.\n</judge>\n\n<think_on>\n<think>\nOne step, then two.\n</think>\n\n<answer>\n{ANSWER}\n</answer>"
CALL = '\n<tool_call>\n{"name": "read_file", "arguments": {"path": "a b.py"}}\n</tool_call>'
PROMPT = KAT.render([Message("user", "Go.")], (), ThinkRequest.AUTO, "")


def fast(url: str) -> HttpEngine:
    return HttpEngine(url, retries=0, backoff=0.001)


async def asked(engine: Lasting, prompt: Prompt = PROMPT, most: int = 900) -> tuple[list[Delta], Reply]:
    parser, found = KAT.parser(), [delta async for delta in engine.stream(prompt, Sampling(max_tokens=most))]
    for text in (prompt.opening.text, *(delta.text for delta in found)):
        parser.feed(text)
    parser.close()
    return found, parser.reply


async def test_a_reply_that_is_cut_anywhere_goes_on_as_if_it_never_was() -> None:
    """Also in the middle of a tag, of a call, or of what stands between two segments."""
    text = REPLY + CALL
    with ScriptedServer([]) as server:
        news: list[Lost | Found] = []
        engine = Lasting(fast(server.url))
        engine.tell = news.append
        for after in range(3, len(text), 5):
            server.script.add({"reply": text, "chunk": 3, "cut_after": after})
            server.script.add({"reply": text, "chunk": 3})
            deltas, reply = await asked(engine)
            assert (deltas[-1].finish, reply.mode, reply.judge) == (Finish.STOP, Mode.ON, "Look.")
            assert (reply.think, reply.answer) == ("One step, then two.", ANSWER)
            assert [call.arguments for call in reply.calls] == [{"path": "a b.py"}]
            assert [type(each) for each in news[-2:]] == [Lost, Found]
            first, second = (request["prompt"] for request in server.requests[-2:])
            assert second == first + text[:after]
        await engine.aclose()


async def test_the_tokens_that_came_count_against_the_limit_and_in_the_usage() -> None:
    with ScriptedServer([{"reply": REPLY, "cut_after": 90, "chunk": 5}, {"reply": REPLY}]) as server:
        engine = Lasting(fast(server.url))
        deltas, _ = await asked(engine, most=60)
        came, rest = 60 - server.requests[1]["max_tokens"], deltas[-1].usage
        assert 10 < came < 60
        assert rest is not None
        assert rest.completion == pytest.approx(came + len(REPLY[90:].split()), abs=12)
        assert sum(delta.tokens for delta in deltas) == pytest.approx(rest.completion, abs=3)
        await engine.aclose()


async def test_a_server_that_comes_back_on_its_socket_is_waited_for(socket_path: Path) -> None:
    """With nothing there for a while, before the first word of the next reply too."""
    servers = [ScriptedServer([{"reply": REPLY, "cut_after": 90}], uds=socket_path)]
    servers[0].start()
    waits = []

    async def sleep(_: float) -> None:
        waits.append(1)
        if len(waits) in (3, 6):
            servers.append(ScriptedServer([{"reply": REPLY}], uds=socket_path))
            servers[-1].start()

    engine = Lasting(fast(f"unix:{socket_path}"), lambda: 5.0, sleep=sleep)
    news: list[Lost | Found] = []

    def tell(what: Lost | Found) -> None:
        news.append(what)
        if isinstance(what, Lost):
            servers[-1].stop()

    engine.tell = tell
    _, reply = await asked(engine)
    assert (reply.answer, len(waits)) == (ANSWER, 3)
    servers[-1].stop()
    _, reply = await asked(engine)
    assert (reply.answer, len(waits)) == (ANSWER, 6)
    assert [type(each) for each in news] == [Lost, Found, Lost, Found]
    assert [each.written for each in news if isinstance(each, Lost)] == [REPLY[:90], ""]
    await engine.aclose()
    servers[-1].stop()


@pytest.mark.parametrize("seconds", [0.0, 5.0])
async def test_patience_ends(seconds: float) -> None:
    """What came is kept as a reply that was cut; where nothing came, the error is raised."""
    now = [0.0]

    async def sleep(by: float) -> None:
        now[0] += by

    with ScriptedServer([{"reply": REPLY, "cut_after": 90}]) as server:
        engine = Lasting(fast(server.url), lambda: seconds, sleep=sleep, clock=lambda: now[0])
        engine.tell = lambda _: server.stop()
        deltas, _ = await asked(engine)
    assert (deltas[-1].finish, now[0]) == (Finish.CUT, seconds)
    assert "dropped the connection" in (deltas[-1].error or "")
    assert "".join(delta.text for delta in deltas) == REPLY[:90]
    with pytest.raises(EngineUnreachable, match="nothing answers"):
        await asked(engine)
    assert now[0] == 2 * seconds
    await engine.aclose()


@pytest.mark.parametrize(
    ("more", "words"),
    [([{"status": 404, "body": "no such model"}], "dropped"), ([{"reply": REPLY, "cut_after": 5}] * 9, "dropped")],
    ids=["refused", "lost-again-and-again"],
)
async def test_a_prompt_that_brings_the_engine_down_is_not_sent_for_ever(
    more: list[dict[str, object]], words: str
) -> None:
    with ScriptedServer([{"reply": REPLY, "cut_after": 90}, *more]) as server:
        engine = Lasting(fast(server.url))
        deltas, _ = await asked(engine)
        assert deltas[-1].finish is Finish.CUT
        assert words in (deltas[-1].error or "")
        assert len(server.requests) == min(1 + len(more), 1 + LOSSES)
        await engine.aclose()


@pytest.mark.parametrize("refusals", [3, 99])
async def test_one_that_has_just_come_back_may_lack_its_adapters_for_a_while(refusals: int) -> None:
    now = [0.0]

    async def sleep(by: float) -> None:
        now[0] += by

    missing = {"status": 404, "body": {"error": {"message": "The model `mine@1` does not exist."}}}
    script: list[dict[str, object]] = [{"reply": REPLY, "cut_after": 90}, {**missing, "times": refusals}]
    with ScriptedServer([*script, {"reply": REPLY}]) as server:
        engine = Lasting(fast(server.url), lambda: 600.0, sleep=sleep, clock=lambda: now[0])
        deltas, reply = await asked(engine)
        assert now[0] == min(refusals, SETTLING)
        assert deltas[-1].finish is (Finish.STOP if refusals < SETTLING else Finish.CUT)
        assert (reply.answer == ANSWER) == (refusals < SETTLING)
        await engine.aclose()


async def test_a_limit_that_is_reached_when_it_breaks_off_asks_for_nothing() -> None:
    with ScriptedServer([{"reply": REPLY, "cut_after": 90, "chunk": 1}]) as server:
        engine = Lasting(fast(server.url))
        came = 0
        async for delta in engine.stream(PROMPT, Sampling(max_tokens=1000)):
            came += delta.tokens
        await engine.aclose()
    with ScriptedServer([{"reply": REPLY, "cut_after": 90, "chunk": 1}]) as server:
        engine = Lasting(fast(server.url))
        deltas, _ = await asked(engine, most=came)
        assert (deltas[-1].finish, len(server.requests)) == (Finish.LENGTH, 1)
        await engine.aclose()


async def test_an_engine_that_only_chats_is_not_asked_for_half_a_reply() -> None:
    with ScriptedServer([{"reply": REPLY, "cut_after": 40}, {"reply": REPLY}]) as server:
        engine = Lasting(ChatEngine(server.url, retries=0))
        deltas, _ = await asked(engine)
        assert (deltas[-1].finish, len(server.requests)) == (Finish.CUT, 1)
        await engine.aclose()


async def test_a_stop_ends_the_wait_at_once(socket_path: Path) -> None:
    with ScriptedServer([{"reply": REPLY, "cut_after": 40}], uds=socket_path) as server:
        engine, lost = Lasting(fast(server.url), lambda: 600.0), asyncio.Event()

        def tell(_: Lost | Found) -> None:
            server.stop()
            lost.set()

        engine.tell = tell
        task = asyncio.ensure_future(asked(engine))
        await lost.wait()
        task.cancel()
        await asyncio.wait([task], timeout=1)
        assert task.cancelled()
        await engine.aclose()
