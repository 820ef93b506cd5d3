"""Adapters of a server, over a fake of vLLM's endpoints; a real vLLM has its turn in the end-to-end tests."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from model.dialects import dialect
from model.engine import EngineError, Sampling
from model.engines.http import HttpEngine
from model.engines.scripted import ScriptedServer
from model.format import ThinkRequest
from model.prompt import Message
from model.serving.adapter_files import AdapterError, read_adapter
from model.serving.adapters import Adapter, compare, list_adapters, load, replace, unload
from model.serving.logprobs import LARGEST, Scored, agreement, read_logprobs
from tests.adapters import make_adapter

SMALL: dict[str, Any] = {"layers": 2, "shapes": {"q_proj": (16, 16)}}


class Loras:
    """What vLLM has of adapters: they are listed in the order of their loading, behind the base model.

    Each moves the log-probabilities by `moves`; a base model in `root` may be a folder.
    """

    def __init__(self, root: str = "/models/base", moves: float = 0.3) -> None:
        self.root, self.moves = root, moves
        self.loaded: dict[str, str] = {}
        self.calls: list[tuple[str, str]] = []

    def routes(self) -> dict[str, Callable[[dict[str, Any] | None], Any]]:
        return {
            "/v1/models": lambda _: {"data": self.models()},
            "/v1/load_lora_adapter": self.load,
            "/v1/unload_lora_adapter": self.unload,
            "/tokenize": lambda body: {"tokens": [len(word) for word in (body or {})["prompt"].split()]},
            "/v1/completions": self.complete,
        }

    def models(self) -> list[dict[str, Any]]:
        adapters = [{"id": name, "root": path, "parent": "base"} for name, path in self.loaded.items()]
        return [{"id": "base", "root": self.root, "parent": None, "max_model_len": 4096}, *adapters]

    def load(self, body: dict[str, Any] | None) -> str:
        assert body is not None
        assert body["lora_name"] not in self.loaded
        self.loaded[body["lora_name"]] = body["lora_path"]
        self.calls.append(("load", body["lora_name"]))
        return f"Success: LoRA adapter '{body['lora_name']}' added successfully."

    def unload(self, body: dict[str, Any] | None) -> str:
        assert body is not None
        del self.loaded[body["lora_name"]]
        self.calls.append(("unload", body["lora_name"]))
        return "Success"

    def complete(self, body: dict[str, Any] | None) -> dict[str, Any]:
        assert body is not None
        moved = self.moves if body["model"] in self.loaded else 0.0
        places = [{str(t): {"logprob": -1.0 - moved}, "9999": {"logprob": -1.5}} for t in body["prompt"][1:]]
        return {"choices": [{"text": "x", "prompt_logprobs": [None, *places]}]}


@pytest.fixture
def loras() -> Loras:
    return Loras()


@pytest.fixture
async def url(loras: Loras) -> AsyncIterator[str]:
    async with ScriptedServer([], routes=loras.routes(), api_key="secret") as server:
        yield server.url


async def test_an_adapter_is_loaded_replaced_and_unloaded(loras: Loras, url: str, tmp_path: Path) -> None:
    first = await load(url, "secret", "style", make_adapter(tmp_path / "one", seed=1, **SMALL))
    assert first == Adapter("style", f"style@{first.version}", str(tmp_path / "one"), "base")
    assert len(first.version) == 8
    assert await load(url, "secret", "style", tmp_path / "one") == first, "the same bytes are there already"

    second = await replace(url, "secret", "style", make_adapter(tmp_path / "one", seed=2, **SMALL))
    assert second.served != first.served, "other bytes have another name, even in the same folder"
    assert loras.calls == [("load", first.served), ("load", second.served), ("unload", first.served)]
    assert await list_adapters(url, "secret") == (second,)

    other = await load(url, "secret", "other", make_adapter(tmp_path / "two", seed=3, **SMALL))
    assert await unload(url, "secret", "style") == (second,)
    assert await unload(url, "secret", other.served) == (other,)
    assert await list_adapters(url, "secret") == ()


async def test_what_is_loaded_already_stays_when_a_new_version_cannot_be(
    loras: Loras, url: str, tmp_path: Path
) -> None:
    first = await load(url, "secret", "style", make_adapter(tmp_path / "one", **SMALL))
    (tmp_path / "one" / "adapter_model.safetensors").write_bytes(b"\xff" * 64)
    with pytest.raises(AdapterError, match="cannot be read as safetensors"):
        await replace(url, "secret", "style", tmp_path / "one")
    assert list(loras.loaded) == [first.served]


async def test_a_name_means_its_newest_version(loras: Loras, url: str, tmp_path: Path) -> None:
    for seed in (1, 2):
        new = await load(url, "secret", "style", make_adapter(tmp_path / str(seed), seed=seed, **SMALL))
    for wanted, model in (("style", new.served), (new.served, new.served), (None, "base")):
        engine = HttpEngine(url, api_key="secret", model=wanted)
        assert (await engine.info()).model == model
        await engine.aclose()


async def test_an_engine_goes_on_with_the_new_version(loras: Loras, tmp_path: Path) -> None:
    first, second = (make_adapter(tmp_path / str(seed), seed=seed, **SMALL) for seed in (1, 2))
    gone = {"status": 404, "body": {"error": {"message": "The model `style@0` does not exist."}}}
    routes = {path: route for path, route in loras.routes().items() if path != "/v1/completions"}
    async with ScriptedServer([{"reply": "one"}, gone, {"reply": "two"}, gone], routes=routes) as server:
        old = await load(server.url, None, "style", first)
        engine = HttpEngine(server.url, model="style")
        await engine.info()
        assert "one" in await said(engine)
        new = await replace(server.url, None, "style", second)
        assert "two" in await said(engine)
        assert [body["model"] for body in server.requests] == [old.served, old.served, new.served]
        with pytest.raises(EngineError, match="does not exist"):
            await said(engine)
        await engine.aclose()


async def said(engine: HttpEngine) -> str:
    prompt = dialect("qwen3").render([Message("user", "Hi")], (), ThinkRequest.OFF, "")
    return "".join([delta.text async for delta in engine.stream(prompt, Sampling())])


async def test_an_adapter_is_proved_by_what_it_changes(loras: Loras, url: str, tmp_path: Path) -> None:
    made = await load(url, "secret", "style", make_adapter(tmp_path / "one", **SMALL))
    found = await compare(url, "secret", made)
    assert (found.ok, found.against, round(found.mean, 6)) == (True, "base", 0.3)
    loras.moves = 0.0
    found = await compare(url, "secret", made)
    assert not found.ok
    assert "changes nothing" in found.sentence


class Reference:
    """The same model elsewhere, whose rounding is another."""

    def __init__(self, off: float) -> None:
        self.off = off

    async def logprobs(self, ids: list[int]) -> tuple[Scored, ...]:
        return tuple(Scored(token, -1.3 - self.off, token) for token in ids[1:])


async def test_with_a_reference_it_must_agree(loras: Loras, url: str, tmp_path: Path) -> None:
    made = await load(url, "secret", "style", make_adapter(tmp_path / "one", **SMALL))
    near = await compare(url, "secret", made, reference=Reference(0.01))
    far = await compare(url, "secret", made, reference=Reference(2 * LARGEST))
    assert (near.ok, far.ok) == (True, False)
    assert "does not agree" in far.sentence
    loras.moves = 0.0
    found = await compare(url, "secret", made, reference=Reference(-0.3))
    assert (found.ok, found.against) == (False, "base"), "one that is not active agrees with nothing"


@pytest.mark.parametrize(
    ("name", "break_it", "words"),
    [
        ("a b", lambda folder: None, "is no name for an adapter"),
        ("s@1", lambda folder: None, "is no name for an adapter"),
        ("s", lambda folder: (folder / "adapter_config.json").unlink(), "it has no adapter_config.json"),
        ("s", lambda folder: (folder / "adapter_model.safetensors").unlink(), "there is no adapter_model.safetensors"),
        ("s", lambda folder: (folder / "adapter_config.json").write_text("{"), "is not valid JSON"),
        ("s", lambda folder: (folder / "adapter_config.json").write_text("[" * 99_999), "is not valid JSON"),
        ("s", lambda folder: (folder / "adapter_config.json").write_text('{"peft_type": "IA3"}'), "no LoRA adapter"),
        ("s", lambda folder: (folder / "adapter_model.safetensors").write_bytes(b""), "cannot be read as safetensors"),
        ("s", lambda folder: write_header(folder, {"x.lora_A.weight": 1}), "cannot be read as safetensors"),
        ("s", lambda folder: write_header(folder, {}), "holds no LoRA matrices"),
    ],
)
async def test_what_is_wrong_is_said_before_the_server_is_asked(
    loras: Loras, url: str, tmp_path: Path, name: str, break_it: Callable[[Path], object], words: str
) -> None:
    break_it(make_adapter(tmp_path / "one", **SMALL))
    with pytest.raises(AdapterError, match=words):
        await load(url, "secret", name, tmp_path / "one")
    assert loras.calls == []


def write_header(folder: Path, header: dict[str, Any]) -> None:
    data = json.dumps(header).encode()
    (folder / "adapter_model.safetensors").write_bytes(len(data).to_bytes(8, "little") + data)


@pytest.mark.parametrize(
    ("root", "base", "words"),
    [
        ("Org/Other-7B", "Org/Base-1B", "was made for Org/Base-1B, and the server runs Org/Other-7B"),
        ("Org/Base-1B", "Org/Base-1B", None),
        ("Quant/Base-1B-AWQ", "Org/Base-1B", None),
        ("Org/Other-7B", "/home/me/base", None),
        ("{folder}", "Org/Other-7B", "hidden size of 16"),
    ],
)
async def test_an_adapter_of_another_model_is_refused(
    loras: Loras, url: str, tmp_path: Path, root: str, base: str, words: str | None
) -> None:
    (tmp_path / "config.json").write_text('{"hidden_size": 32, "num_hidden_layers": 2}')
    loras.root = root.format(folder=tmp_path)
    folder = make_adapter(tmp_path / "one", base=base, **SMALL)
    if words is None:
        assert (await load(url, "secret", "style", folder)).served in loras.loaded
        return
    with pytest.raises(AdapterError, match=words):
        await load(url, "secret", "style", folder)


async def test_a_rank_that_is_too_high_is_refused(url: str, tmp_path: Path) -> None:
    folder = make_adapter(tmp_path / "one", rank=16, **SMALL)
    assert read_adapter(folder).rank == 16
    with pytest.raises(AdapterError, match=r"rank 16 and the server takes 8.*--max-lora-rank 16"):
        await load(url, "secret", "style", folder, max_rank=8)


async def test_errors_of_servers_are_one_sentence(url: str, tmp_path: Path) -> None:
    folder = make_adapter(tmp_path / "one", **SMALL)
    with pytest.raises(AdapterError, match=r"has no adapter 'style'; it has none"):
        await unload(url, "secret", "style")
    with pytest.raises(EngineError, match="wants a key"):
        await load(url, "wrong", "style", folder)
    async with ScriptedServer([]) as plain:
        with pytest.raises(AdapterError, match="loads no adapters while it runs; start it with kat serve"):
            await load(plain.url, None, "style", folder)
        adapter = Adapter("style", "style@1", str(folder), "base")
        with pytest.raises(EngineError, match=r"no line left|does not tell the log-probabilities"):
            await compare(plain.url, None, adapter)


@pytest.mark.parametrize(
    ("refusal", "words", "ours"),
    [
        (b"500 Error", "LoRA rank 64 is greater than max_lora_rank 16.", "rank 64 and the server takes 16; start"),
        (b"404 Not Found", "Loading lora {name} failed: No adapter found for /a", r"does not find style@\w+; name a"),
        (b"404 Not Found", "Not Found", "loads no adapters while it runs"),
        (b"500 Error", "out of luck", r"style@\w+ could not be changed: .*out of luck"),
    ],
)
async def test_what_a_server_says_of_a_failed_load_is_passed_on(
    tmp_path: Path, refusal: bytes, words: str, ours: str
) -> None:
    folder = make_adapter(tmp_path / "one", **SMALL)
    name = f"style@{read_adapter(folder).version}"
    said = json.dumps({"error": {"message": words.format(name=name)}}).encode()
    models = json.dumps({"data": Loras().models()}).encode()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        status, body = (b"200 OK", models) if head.startswith(b"GET") else (refusal, said)
        writer.write(b"HTTP/1.1 %s\r\nContent-Type: application/json\r\n" % status)
        writer.write(b"Connection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(AdapterError, match=ours):
            await load(f"http://127.0.0.1:{port}", None, "style", folder)


def test_log_probabilities_in_the_form_of_openai() -> None:
    told = {
        "tokens": ["a", "b", "c", "d"],
        "token_logprobs": [None, -0.5, -2.0, -9.0],
        "top_logprobs": [None, {"b": -0.5}, {"x": -0.1, "c": -2.0}, {"d": -9.0}],
    }
    found = read_logprobs({"choices": [{"logprobs": told}]}, [10, 11, 12])
    assert found == (Scored(11, -0.5, 11), Scored(12, -2.0, -1)), "what the server wrote itself is left out"
    other = {"choices": [{"prompt_logprobs": [None, {"11": {"logprob": -1}, "x": {"logprob": 0}, "7": {}, "8": 3}]}]}
    assert read_logprobs(other, [10, 11]) == (Scored(11, -1.0, 11),)
    for bad in ({}, {"choices": []}, {"choices": [{"prompt_logprobs": [None]}]}, {"choices": [{"logprobs": None}]}):
        assert read_logprobs(bad, [10, 11, 12]) is None


def test_agreement_of_two_engines() -> None:
    one = [Scored(1, -1.0, 1), Scored(2, -2.0, 5)]
    two = [Scored(1, -1.1, 1), Scored(2, -1.7, 2)]
    found = agreement(one, two)
    assert (found.tokens, round(found.largest, 6), round(found.mean, 6), found.same) == (2, 0.3, 0.2, 0.5)
    with pytest.raises(ValueError, match="on the same tokens"):
        agreement(one, two[::-1])
