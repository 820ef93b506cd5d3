"""Many replies to one prompt, over every way there is to a model."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest

from model.batch import Batching, sample
from model.dialects import dialect
from model.engine import EngineRefused, Finish, Sampling
from model.engines.chat import ChatEngine
from model.engines.embedded import EmbeddedEngine
from model.engines.http import HttpEngine
from model.engines.scripted import ScriptedServer
from model.format import ThinkRequest
from model.prompt import Message, Prompt

GRAMMAR = 'root ::= [0-9]{1,2} ": " [a-z]{1,8}\n'
HOT = Sampling(temperature=1.2, max_tokens=16, seed=7, stop=("\n",))


def reply(text: str) -> str:
    return f"Plain.\n</judge>\n\n<think_off>\n<answer>\n{text}\n</answer>"


def asked() -> Prompt:
    return dialect("kat").render([Message("user", "Which line?")], (), ThinkRequest.OFF, "Plain.")


def lines(*texts: str) -> list[dict[str, Any]]:
    return [{"reply": reply(text)} for text in texts]


@pytest.mark.parametrize(
    ("program", "held"),
    [
        ("vllm", {"structured_outputs": {"grammar": GRAMMAR}}),
        ("sglang", {"ebnf": GRAMMAR}),
        ("llamacpp", {"grammar": GRAMMAR}),
        ("library", {}),
    ],
)
async def test_a_server_is_asked_once_for_all_and_for_a_grammar_in_its_own_words(
    program: str, held: dict[str, Any]
) -> None:
    async with ScriptedServer(lines("1: a", "2: b b"), program=program) as server:
        engine = HttpEngine(server.url)
        drawn = await sample(engine, asked(), HOT, 3, GRAMMAR)
        assert (await engine.info()).batches is (program in ("vllm", "sglang"))
        await engine.aclose()
    assert [one.text for one in drawn.replies] == ["1: a", "2: b b", "1: a"], "the first again where no line is left"
    assert {one.finish for one in drawn.replies} == {Finish.STOP}
    assert drawn.usage.completion == 3 + 4 + 3
    (request,) = server.requests
    assert request["n"] == 3
    known = {"structured_outputs", "ebnf", "grammar"}
    assert {key: value for key, value in request.items() if key in known} == held


async def test_a_server_that_takes_no_n_is_asked_one_by_one_with_other_seeds() -> None:
    async with ScriptedServer([{"status": 400}, *lines("1: a", "2: b", "3: c")]) as server:
        engine = HttpEngine(server.url)
        drawn = await sample(engine, asked(), HOT, 3)
        await engine.aclose()
    assert sorted(one.text for one in drawn.replies) == ["1: a", "2: b", "3: c"]
    assert sorted(request["seed"] for request in server.requests[1:]) == [7, 8, 9]
    assert drawn.usage.completion == 9


async def test_a_grammar_that_a_server_refuses_is_left_out() -> None:
    async with ScriptedServer([{"status": 400}, *lines("1: a")], program="llamacpp") as server:
        engine = HttpEngine(server.url)
        drawn = await sample(engine, asked(), HOT, 1, GRAMMAR)
        await engine.aclose()
    assert [one.text for one in drawn.replies] == ["1: a"]
    assert ["grammar" in request for request in server.requests] == [True, False]


async def test_a_refused_key_is_no_question_of_form() -> None:
    async with ScriptedServer(lines("1: a"), api_key="right") as server:
        engine = HttpEngine(server.url, api_key="wrong", model="m")
        with pytest.raises(EngineRefused, match="KAT_API_KEY"):
            await sample(engine, asked(), HOT, 4, GRAMMAR)
        await engine.aclose()


async def test_what_a_broken_connection_brought_is_kept_and_marked() -> None:
    script = [*lines("1: a"), {"reply": reply("2: bbbb"), "cut_after": 4}]
    async with ScriptedServer(script) as server:
        engine = HttpEngine(server.url)
        drawn = await engine.batch(asked(), HOT, 2, None)
        await engine.aclose()
    assert [(one.text, one.finish) for one in drawn.replies] == [("1: a", Finish.STOP), ("2: b", Finish.CUT)]


async def test_an_engine_that_only_chats_is_asked_side_by_side() -> None:
    async with ScriptedServer([{"reply": reply("1: a"), "times": 0}]) as server:
        engine = ChatEngine(server.url)
        assert not isinstance(engine, Batching)
        drawn = await sample(engine, asked(), HOT, 10)
        await engine.aclose()
    assert [one.text.split("\n")[0] for one in drawn.replies] == ["1: a"] * 10
    assert sorted(request["seed"] for request in server.requests) == list(range(7, 17))


async def test_no_replies_are_free() -> None:
    engine = HttpEngine("http://127.0.0.1:9")
    assert (await sample(engine, asked(), HOT, 0)).replies == ()
    await engine.aclose()


@pytest.mark.embedded
async def test_the_embedded_model_draws_different_replies_in_one_go_and_the_same_ones_again(
    nano: EmbeddedEngine,
) -> None:
    brief = replace(HOT, max_tokens=6)
    drawn = await sample(nano, asked(), brief, 5, GRAMMAR)
    texts = [one.text for one in drawn.replies]
    assert len(texts) == 5
    assert all(re.fullmatch(r"\d{1,2}: [a-z]{1,8}", text) for text in texts)
    assert len(set(texts)) > 2
    assert 5 * 3 <= drawn.usage.completion <= 5 * 6
    again = await sample(nano, asked(), brief, 5, GRAMMAR)
    assert [one.text for one in again.replies] == texts
    assert again.usage.cached == again.usage.prompt - 1
    with pytest.raises(EngineRefused, match=r"the prompt has \d+ tokens"):
        await sample(nano, asked(), replace(HOT, max_tokens=4096), 2)


@pytest.mark.parametrize(
    ("program", "field"), [("vllm", "structured_outputs"), ("llamacpp", "grammar"), ("library", "")]
)
async def test_a_reply_is_held_to_the_format_where_that_is_wanted_and_the_server_can(program: str, field: str) -> None:
    known = {"structured_outputs", "grammar", "ebnf"}
    async with ScriptedServer([*lines("1: a", "2: b")], program=program) as server:
        for hold in (True, False):
            engine = HttpEngine(server.url, hold=hold)
            assert [delta async for delta in engine.stream(asked(), HOT)]
            await engine.aclose()
    held, free = server.requests
    assert known & set(held) == ({field} if field else set())
    assert not known & set(free)
    assert not field or "answer ::= plain+" in json.dumps(held[field])
