"""What the embedded engine adds to the contract: KAT's grammar, by force, on a model that never saw it."""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from model.dialects import dialect
from model.engine import Delta, EngineRefused, EngineUnreachable, Finish, Sampling
from model.engines.embedded import EmbeddedEngine
from model.engines.llama import Chunk, Llama, LlamaOptions
from model.engines.segments import JUDGE_TOKENS
from model.format import Segment, ThinkRequest
from model.prompt import Message, Opening, ToolSpec

pytestmark = pytest.mark.embedded
KAT = dialect("kat")


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_the_judge_has_at_most_40_tokens_and_a_mode_follows(nano: EmbeddedEngine, seed: int) -> None:
    prompt = KAT.render([Message("user", "Tell me a long story about dragons, please.")], (), ThinkRequest.AUTO, "")
    parser, judge_tokens = KAT.parser(), 0
    async for delta in nano.stream(prompt, Sampling(temperature=1.2, max_tokens=80, seed=seed)):
        if parser.segment is Segment.JUDGE:
            judge_tokens += delta.tokens
        parser.feed(delta.text)
    parser.close()
    assert 0 < judge_tokens <= JUDGE_TOKENS
    assert parser.reply.judge
    assert "\n" not in parser.reply.judge
    assert parser.reply.mode is not None


async def test_a_reply_goes_on_in_any_segment(nano: EmbeddedEngine) -> None:
    prompt = KAT.render([Message("user", "Say hello.")], (), ThinkRequest.AUTO, "")
    openings = [
        KAT.cut("It is simple", Segment.JUDGE),
        Opening("Hm.\n</judge>\n\n<think_on>\n<think>\nThe user", Segment.THINK),
        KAT.cut("Hm.\n</judge>\n\n<think_on>\n<think>\nThe user greets", Segment.THINK),
    ]
    for opening in openings:
        parser = KAT.parser()
        parser.feed(opening.text)
        async for delta in nano.stream(KAT.reopen(prompt, opening), Sampling(max_tokens=700, seed=1)):
            parser.feed(delta.text)
        parser.close()
        assert parser.reply.closed
        assert parser.reply.answer
        assert "<" not in parser.reply.answer.replace("< ", "").replace("<=", "")


async def test_the_users_end_of_turn_is_no_token(nano: EmbeddedEngine, nano_path: Path) -> None:
    llama = Llama(LlamaOptions(nano_path, context=256))
    end = llama.encode("<|im_end|>", specials=True)
    assert len(end) == 1
    prompt = KAT.render([Message("user", "a <|im_end|> b 思考 😀")], (), ThinkRequest.OFF, "")
    assert prompt.token_ids(llama).count(end[0]) == 2, "system and user turn, as the dialect wrote them"
    assert await nano.count(prompt) == len(prompt.token_ids(llama))


async def test_a_prompt_beyond_the_context_is_refused_in_a_sentence(nano: EmbeddedEngine) -> None:
    prompt = KAT.render([Message("user", "word " * 3000)], (), ThinkRequest.OFF, "")
    with pytest.raises(EngineRefused, match=r"the prompt has \d+ tokens and the embedded model takes 2048"):
        await anext(nano.stream(prompt, Sampling()))


async def test_stop_words_and_limits_end_a_reply(nano: EmbeddedEngine) -> None:
    prompt = KAT.render([Message("user", "Count to ten.")], (), ThinkRequest.AUTO, "")
    found = [d async for d in nano.stream(prompt, Sampling(max_tokens=300, seed=1, stop=("</judge>",)))]
    text = "".join(d.text for d in found)
    assert text.strip()
    assert "<" not in text
    assert found[-1].finish is Finish.STOP
    found = [d async for d in nano.stream(prompt, Sampling(max_tokens=5, seed=1))]
    assert found[-1].finish is Finish.LENGTH
    assert found[-1].usage is not None
    assert found[-1].usage.completion == 5


SCHEMA = {
    "type": "object",
    "properties": {
        "note": {"anyOf": [{"type": "string", "maxLength": 12}, {"type": "null"}]},
        "path": {"type": "string", "maxLength": 20},
        "line": {"type": "integer", "minimum": 1},
        "kind": {"$ref": "#/$defs/Kind"},
        "names": {"type": "array", "items": {"type": "string", "maxLength": 8}, "maxItems": 3},
        "deep": {"type": "boolean"},
    },
    "required": ["path", "kind"],
    "$defs": {"Kind": {"enum": ["new", "old"], "type": "string"}},
}


async def test_every_call_is_valid_json_for_its_tool(nano: EmbeddedEngine) -> None:
    """The model is made to call by starting the call for it, hot enough to wander wherever the grammar lets it."""
    from model.grammar import gbnf

    tools = (ToolSpec("touch", "Touch a file.", SCHEMA), ToolSpec("done", "Finish.", {"type": "object"}))
    llama = await nano._llama()
    grammar = gbnf(Segment.TOOL, tools).replace("root ::= call?", "root ::= call")
    seen: set[str] = set()
    for seed in range(5):
        parts: list[str] = []
        request = {"prompt": "Call:", "stream": True, "grammar": grammar, "temperature": 2.0, "seed": seed}
        llama.generate(
            {**request, "max_tokens": 400},
            lambda chunk, parts=parts: bool(parts.append(chunk["choices"][0]["text"])),  # type: ignore[misc]
        )
        text = "".join(parts)
        call = json.loads(text.removeprefix("\n<tool_call>\n").removesuffix("\n</tool_call>"))
        seen.add(call["name"])
        assert check(call), text
    assert seen == {"touch", "done"}


def check(call: dict) -> bool:
    arguments = call["arguments"]
    if call["name"] == "done":
        return arguments == {}
    types = {"note": (str, type(None)), "path": str, "line": int, "kind": str, "names": list, "deep": bool}
    right = all(isinstance(value, types[name]) for name, value in arguments.items())
    named = list(arguments)[:2] == ["path", "kind"] and arguments["kind"] in ("new", "old")
    return right and named and arguments.get("line", 1) >= 1 and len(arguments.get("names", ())) <= 3


def test_it_prints_nothing_and_leaves_quietly(nano_path: Path) -> None:
    code = (
        "import asyncio, sys\nfrom pathlib import Path\nfrom model.engines.embedded import EmbeddedEngine\n"
        "from model.dialects import dialect\nfrom model.engine import Sampling\nfrom model.prompt import Message\n"
        "from model.format import ThinkRequest\n"
        "async def main():\n"
        "    engine = EmbeddedEngine(Path(sys.argv[1]), context=512)\n"
        "    prompt = dialect('kat').render([Message('user', 'Hi')], (), ThinkRequest.OFF, '')\n"
        "    async for delta in engine.stream(prompt, Sampling(max_tokens=400)):\n"
        "        break\n"
        "asyncio.run(main())\n"
    )
    began = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code, str(nano_path)], capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert time.perf_counter() - began < 30


def test_a_cancel_waits_for_no_more_than_64_tokens_of_the_prompt(nano_path: Path) -> None:
    llama = Llama(LlamaOptions(nano_path, context=512))
    ids = llama.encode("word " * 300, specials=False)
    read = [0]

    def take(chunk: Chunk) -> bool:
        if "prompt_progress" in chunk:
            read.append(chunk["prompt_progress"]["processed"])
        return len(read) > 3

    llama.generate({"prompt": ids, "stream": True, "return_progress": True, "max_tokens": 1}, take)
    steps = [after - before for before, after in itertools.pairwise(read)]
    assert len(read) == 4, "a cancel is obeyed while the prompt is read"
    assert max(steps) <= 64


async def test_closing_frees_the_model_without_the_garbage_collector(nano_path: Path) -> None:
    await asyncio.to_thread(int)
    before, engine = threads(), EmbeddedEngine(nano_path, context=256)
    prompt = KAT.render([Message("user", "Hi")], (), ThinkRequest.OFF, "")
    gc.disable()
    try:
        found = [delta async for delta in engine.stream(prompt, Sampling(max_tokens=5))]
        assert found[-1].finish is not None
        assert threads() > before + 3
        await engine.aclose()
        assert threads() <= before + 2, "but for those of asyncio's own pool"
    finally:
        gc.enable()


def threads() -> int:
    return len(list(Path("/proc/self/task").iterdir()))


async def test_a_reply_whose_engine_is_closed_is_cut(nano_path: Path) -> None:
    engine = EmbeddedEngine(nano_path, context=1024, threads=1)
    prompt = KAT.render([Message("user", "Tell me a long story.")], (), ThinkRequest.ON, "Long.")
    found: list[Delta] = []
    async for delta in engine.stream(prompt, Sampling(max_tokens=400, seed=1)):
        found.append(delta)
        if len(found) == 3:
            closing = asyncio.create_task(engine.aclose())
    await closing
    assert found[-1].finish is Finish.CUT
    assert "was closed" in (found[-1].error or "")
    assert len(found) < 30


async def test_replies_that_wait_when_the_engine_is_closed_are_cut_too(nano_path: Path) -> None:
    engine = EmbeddedEngine(nano_path, context=1024, threads=1)
    prompt = KAT.render([Message("user", "Tell me a long story.")], (), ThinkRequest.ON, "Long.")

    async def last() -> Delta:
        return [delta async for delta in engine.stream(prompt, Sampling(max_tokens=400, seed=1))][-1]

    await engine.info()
    tasks = [asyncio.create_task(last()) for _ in range(3)]
    await asyncio.sleep(0.3)
    await engine.aclose()
    assert [delta.finish for delta in await asyncio.gather(*tasks)] == [Finish.CUT] * 3


async def test_a_closed_engine_is_unreachable(nano_path: Path) -> None:
    for load in (False, True):
        engine = EmbeddedEngine(nano_path, context=256)
        if load:
            await engine.info()
        await engine.aclose()
        prompt = KAT.render([Message("user", "Hi")], (), ThinkRequest.OFF, "")
        with pytest.raises(EngineUnreachable, match="was closed"):
            await anext(engine.stream(prompt, Sampling()))


async def test_a_file_that_is_no_model(tmp_path: Path) -> None:
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(b"GGUF" + b"\0" * 100)
    for path, words in ((bad, "cannot be loaded"), (tmp_path / "none.gguf", "kat models pull nano")):
        engine = EmbeddedEngine(path)
        with pytest.raises((EngineRefused, EngineUnreachable), match=words):
            await engine.info()
        await engine.aclose()
