"""`kat doctor` on servers that do all right, and on servers that do one thing wrong."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import pytest

import model.dialects
from assistant.commands.doctor import show
from assistant.doctor.examination import PROBES, examine
from assistant.doctor.finding import Finding
from assistant.doctor.subject import Limits
from assistant.doctor.tools import NUMBER
from assistant.errors import Exit
from model.engines.chat import ChatEngine
from model.engines.http import HttpEngine
from model.engines.script import words
from model.engines.scripted import ScriptedServer
from tests.e2e.conftest import reply

LIMITS = Limits(probe=10, speed=2, prefill=2, cancel=0.2)
JUDGE = "The two cases must be compared, and the result must be checked, so this one is hard."
THOUGHT = "The circumference grows by one metre in both cases, so the radius grows by the same. " * 8
EASY, EASY_ON = r"2 \+ 3", r"2 \+ 3[\s\S]*<think_on>"
HARD, STORY = "A rope", "a long story"
PERFECT = [
    {"match": "tool_response|tool: # Readme", "reply": reply(f"It is {NUMBER}.")},
    {"match": "Call read_file", "reply": reply("I read it.", ("read_file", {"path": "README.md"}))},
    {"match": EASY_ON, "reply": reply("5", think="Two and three.")},
    {"match": EASY, "reply": reply("5")},
    {"match": HARD, "reply": reply("Yes, by 16 cm in both cases.", think=THOUGHT, judge=JUDGE)},
    {"match": STORY, "reply": reply("Night by night the cat lit the lamp. " * 12), "pause": 0.02},
    {"reply": reply("yes")},
]
QUIET = "vllm:num_requests_running 0.0\nvllm:kv_cache_usage_perc 0.25\n"


@cache
def rendering(template: str) -> Callable[[dict[str, Any] | None], Any]:
    """What vLLM answers at /tokenize, every letter a token."""
    environment = jinja2.Environment(autoescape=False)
    environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
    page = environment.from_string(template)

    def tokenize(body: dict[str, Any] | None) -> Any:
        assert body is not None
        for message in body.get("messages", ()):
            for call in message.get("tool_calls", ()):
                call["function"]["arguments"] = json.loads(call["function"]["arguments"])
        text = body["prompt"] if "prompt" in body else page.render(**body)
        return {"tokens": [ord(letter) for letter in text], "count": len(words(text))}

    return tokenize


KAT = Path(model.dialects.__file__).with_name("kat.jinja").read_text("utf-8")


def routes(template: str = KAT, **more: Callable[[dict[str, Any] | None], Any]) -> dict[str, Any]:
    return {
        "/tokenize": rendering(template),
        "/detokenize": lambda body: {"prompt": "".join(map(chr, body["tokens"]))},
        "/metrics": lambda _: QUIET,
        **{f"/{name}": route for name, route in more.items()},
    }


async def found(server: ScriptedServer, *names: str, limits: Limits = LIMITS) -> dict[str, Finding]:
    """What the probes of these names find, or all of them."""
    engine = HttpEngine(server.url, retries=0)
    probes = [probe for probe in PROBES if not names or probe.name in names]
    try:
        return {finding.name: finding async for finding in examine(engine, limits=limits, probes=probes)}
    finally:
        await engine.aclose()


@pytest.fixture
async def perfect() -> AsyncIterator[ScriptedServer]:
    lines = [{**line, "times": 0} for line in PERFECT]
    async with ScriptedServer(lines, context=4096, program="vllm", routes=routes()) as server:
        yield server


async def test_a_server_that_does_all_right_is_green(perfect: ScriptedServer) -> None:
    findings = await found(perfect)
    assert list(findings) == ["engine", *(probe.name for probe in PROBES)]
    assert {name: one.detail for name, one in findings.items() if one.ok is not True} == {}
    assert {one.change for one in findings.values()} == {None}
    assert "1024" not in findings["context"].detail
    assert "chose off" in findings["auto easy"].detail
    assert "chose on" in findings["auto hard"].detail


def only(*lines: Mapping[str, Any]) -> dict[str, Any]:
    return {"lines": lines}


def raw_usage(cached: int) -> str:
    """A reply of one word whose prompt had 100 tokens, so many of them cached."""
    usage = {"prompt_tokens": 100, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": cached}}
    choice = {"text": "yes", "index": 0, "finish_reason": "stop"}
    return f"data: {json.dumps({'choices': [choice], 'usage': usage})}\n\ndata: [DONE]\n\n"


def counting(*pages: str) -> Callable[[object], str]:
    """A page of metrics after the other; the last one stays."""
    left = list(pages)
    return lambda _: left.pop(0) if len(left) > 1 else left[0]


def one_at_a_time(wait: float = 0.2) -> Callable[[dict[str, Any] | None], Any]:
    """A server without batches."""
    turn = threading.Lock()

    def complete(body: dict[str, Any] | None) -> Any:
        with turn:
            time.sleep(wait)
        usage = {"prompt_tokens": 9, "completion_tokens": 50}
        return {"choices": [{"text": "word " * 50, "index": 0, "finish_reason": "stop"}], "usage": usage}

    return complete


BUSY = "vllm:num_requests_running 1.0\n"
SHORT_LIST = {"data": [{"id": "kat", "owned_by": "vllm", "max_model_len": 512}]}
MUTE = "<|im_start|>{{ messages[0].content }}"
WRONG: list[tuple[str, dict[str, Any], str, str]] = [
    ("template", {"routes": routes(KAT.replace("<judge>", ""))}, "differs at character", "--chat-template"),
    ("template", {"routes": routes(MUTE)}, "differs at character 12", "kat.jinja"),
    ("think off", only({"match": EASY, "reply": reply("")}), "answer ''", "own weights"),
    ("think on", only({"match": EASY, "reply": reply("5")}), "came back on, answer '5'", "special tokens"),
    ("tool round trip", only({"match": "tool_resp", "reply": reply("Done.")}), "does not use the result", "--dialect"),
    ("tool round trip", only({"reply": f"{reply('')}\n<tool_call>\n{{'nam"}), "cannot be read", "--dialect"),
    ("tool round trip", only({"reply": reply("No.")}), "no call", "--dialect"),
    ("auto easy", only({"reply": reply("5", think="Hm.")}), "chose on; judge", "--think off"),
    ("auto hard", only({"reply": reply("No.")}), "where on was expected", "--think on"),
    ("auto hard", only({"reply": "I cannot say"}), "did not choose", "--think on"),
    ("think budget", only({"reply": reply("", think=THOUGHT)}), "no answer followed", "continues a prompt"),
    ("judge budget", only({"reply": reply("", judge=JUDGE)}), "no answer followed", "continues a prompt"),
    ("cancel", {"routes": routes(metrics=counting(QUIET, BUSY))}, "still counts it as running", "proxy"),
    ("prefix cache", only({"raw": raw_usage(0)}), "0 of 100 tokens", "--no-enable-prefix-caching"),
    ("context", {"routes": routes() | {"/v1/models": lambda _: SHORT_LIST}}, "lost unseen", "--max-model-len"),
    ("1 stream", only({"match": STORY, "status": 500}), "HTTP 500", "log"),
]


@pytest.mark.parametrize(("name", "how", "says", "change"), WRONG)
async def test_what_is_wrong_is_found_and_says_what_to_change(
    name: str, how: dict[str, Any], says: str, change: str
) -> None:
    lines = [{**line, "times": 0} for line in (*how.get("lines", ()), *PERFECT)]
    async with ScriptedServer(lines, context=4096, program="vllm", routes=how.get("routes", routes())) as server:
        finding = (await found(server, name))[name]
    assert finding.ok is False
    assert says in finding.detail
    assert change in (finding.change or "")


MISSING: list[tuple[str, dict[str, Any], str, str | None]] = [
    ("metrics", {"routes": {}}, "none", "none is needed"),
    ("template", {"tokenize": False, "routes": {}}, "does not show", None),
    ("8 streams", {"routes": {"/v1/completions": one_at_a_time()}}, "one after the other", "several requests"),
    ("context", {"routes": {"/v1/models": lambda _: {"data": [{"id": "kat"}]}}}, "does not say", "look up"),
    ("auto hard", {"model": "smollm-135m-kat-v1", "lines": [{"reply": reply("No.")}]}, "this size", None),
    ("tool round trip", {"model": "kat-nano", "lines": [{"reply": reply("No.")}]}, "often cannot", None),
    ("judge budget", {"lines": [{"reply": reply("No.", judge="Easy.")}]}, "ended by itself after", None),
]


@pytest.mark.parametrize(("name", "how", "says", "change"), MISSING)
async def test_what_is_missing_is_no_failure(name: str, how: dict[str, Any], says: str, change: str | None) -> None:
    lines = [{**line, "times": 0} for line in (*how.pop("lines", ()), *PERFECT)]
    async with ScriptedServer(lines, context=4096, **{"model": "kat-v1-40b", **how}) as server:
        finding = (await found(server, name))[name]
    assert finding.ok is None
    assert says in finding.detail
    assert (change or "") in (finding.change or "")
    assert (finding.change is None) is (change is None)


async def test_a_probe_that_takes_too_long_ends_and_the_next_one_runs() -> None:
    lines = [
        {"match": EASY_ON, "delay": 1.0, "reply": reply("5"), "times": 0},
        *({**one, "times": 0} for one in PERFECT),
    ]
    async with ScriptedServer(lines) as server:
        findings = await found(server, "think on", "tool round trip", limits=Limits(probe=0.3))
    assert findings["think on"].ok is False
    assert findings["think on"].detail == "it took longer than 0.3 s"
    assert findings["tool round trip"].ok


async def test_a_server_that_only_chats_is_examined_too() -> None:
    lines = [{**line, "times": 0} for line in PERFECT]
    async with ScriptedServer(lines, completions=False, context=4096, program="organization_owner") as server:
        engine = ChatEngine(server.url, retries=0)
        findings = {one.name: one async for one in examine(engine, limits=LIMITS)}
        await engine.aclose()
    failed = {name: one for name, one in findings.items() if one.ok is False}
    assert set(failed) <= {"think on", "auto easy", "auto hard", "judge budget"}
    assert findings["tool round trip"].ok
    assert findings["template"].ok is None


FINE, MISSES = Finding("git", True, "main"), Finding("metrics", None, "none", "none is needed")
WORSE, GONE = Finding("cancel", False, "no \x1b[31m", "no proxy"), Finding("engine", False, "nothing answers")
CODES = [
    ((FINE, MISSES), Exit.DONE),
    ((FINE, WORSE, FINE), Exit.NOT_ACHIEVED),
    ((GONE,), Exit.UNREACHABLE),
    ((WORSE, GONE, FINE), Exit.UNREACHABLE),
]


@pytest.mark.parametrize(("findings", "code"), CODES)
async def test_the_worst_finding_makes_the_exit_code(
    findings: tuple[Finding, ...], code: Exit, capsys: pytest.CaptureFixture[str]
) -> None:
    async def each() -> AsyncIterator[Finding]:
        for finding in findings:
            yield finding

    assert await show(each(), json_=True) is code
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == [asdict(one) for one in findings]
    assert await show(each(), json_=False) is code
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(findings) + sum(finding.change is not None for finding in findings)
    assert not any("\x1b" in line for line in lines)
