"""What the torch engine adds to the contract, on a tiny model of random numbers: what it writes is noise."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from model.dialects import dialect
from model.engine import Delta, EngineRefused, EngineUnreachable, Finish, Sampling, Usage
from model.engines.torch import TorchEngine
from model.format import ThinkRequest
from model.prompt import Message, Prompt
from model.pull import PullError
from model.select import open_engine
from model.serving.logprobs import agreement
from tests.adapters import make_adapter
from tests.tiny import NEEDS_TORCH, make_model

# One worker imports torch, the one that imports vLLM, too.
pytestmark = pytest.mark.xdist_group("heavy")
KAT = dialect("kat")
GREEDY = Sampling(temperature=0, max_tokens=24)


@pytest.fixture
async def tiny(tiny_path: Path) -> AsyncIterator[TorchEngine]:
    """It writes freely."""
    engine = TorchEngine(tiny_path, dialect="kat", threads=1, hold=False)
    yield engine
    await engine.aclose()


def asked(*said: str) -> Prompt:
    return KAT.render([Message("user", text) for text in said], (), ThinkRequest.ON, "It asks.")


async def written(engine: TorchEngine, prompt: Prompt, sampling: Sampling = GREEDY) -> tuple[str, Usage]:
    found = [delta async for delta in engine.stream(prompt, sampling)]
    usage = found[-1].usage
    assert usage is not None
    return "".join(delta.text for delta in found), usage


@NEEDS_TORCH
async def test_only_what_is_new_in_a_prompt_is_read(tiny: TorchEngine, tiny_path: Path) -> None:
    short = asked("Read a.py. " * 30)
    _, first = await written(tiny, short)
    assert first.cached == 0
    longer = KAT.reopen(short, KAT.resume(short.opening.text + "Hm. " * 40, short.opening.segment))
    text, second = await written(tiny, longer)
    assert first.prompt - 1 <= second.cached < second.prompt
    other = asked("Read a.py. " * 30 + "No.")
    _, third = await written(tiny, other)
    assert 300 < third.cached < first.prompt, "back to where the prompts part"

    fresh = TorchEngine(tiny_path, dialect="kat", threads=1, hold=False)
    try:
        assert (await written(fresh, longer))[0] == text, "the same as without a cache"
    finally:
        await fresh.aclose()


@NEEDS_TORCH
async def test_a_seed_draws_the_same_again(tiny: TorchEngine) -> None:
    drawn = [(await written(tiny, asked("Hi."), Sampling(1.0, 0.95, 24, seed)))[0] for seed in (1, 1, 2, 3)]
    assert drawn[0] == drawn[1]
    assert len(set(drawn)) == 3


@NEEDS_TORCH
async def test_limits_and_stop_words_end_a_reply(tiny: TorchEngine) -> None:
    text, usage = await written(tiny, asked("Hi."))
    assert usage.completion <= 24
    stop = text[len(text) // 2 :][:3]
    found = [delta async for delta in tiny.stream(asked("Hi."), Sampling(0, 1, 24, stop=(stop,)))]
    assert "".join(delta.text for delta in found) == text[: text.index(stop)]
    assert found[-1].finish is Finish.STOP


@NEEDS_TORCH
async def test_the_context_ends_a_reply_and_refuses_a_prompt(tiny: TorchEngine, tiny_path: Path) -> None:
    size = await tiny.count(asked("Hi.")) or 0
    engine = TorchEngine(tiny_path, dialect="kat", threads=1, hold=False, context=size + 10)
    found = [delta async for delta in engine.stream(asked("Hi."), Sampling(0, 1, 400))]
    assert found[-1].finish in (Finish.LENGTH, Finish.STOP)
    assert found[-1].usage is not None
    assert 0 < found[-1].usage.completion <= 10
    with pytest.raises(EngineRefused, match=rf"the prompt has \d+ tokens and the model takes {size + 10}"):
        await anext(engine.stream(asked("Hi. " * 10), GREEDY))
    await engine.aclose()


@NEEDS_TORCH
async def test_log_probabilities_are_those_of_one_pass(tiny: TorchEngine, tiny_path: Path) -> None:
    """It reads in stretches; here all at once."""
    import torch
    from transformers import AutoModelForCausalLM

    ids = await tiny.encode("def f(x):\n    return x + 1  # naïve 思考\n" * 4)
    found = await tiny.logprobs(ids)
    model = AutoModelForCausalLM.from_pretrained(tiny_path, dtype=torch.float32)
    with torch.inference_mode():
        scores = model(torch.tensor([ids])).logits[0].log_softmax(-1)
    wanted = [float(scores[n, token]) for n, token in enumerate(ids[1:])]
    assert [token.logprob for token in found] == pytest.approx(wanted, abs=1e-3)
    assert [token.best for token in found] == scores.argmax(-1).tolist()[:-1]
    with pytest.raises(EngineRefused, match="cannot read the text"):
        await tiny.logprobs([*ids, 99_999, 1])


@NEEDS_TORCH
async def test_an_adapter_changes_what_the_model_finds_likely(
    tiny: TorchEngine, tiny_path: Path, tmp_path: Path
) -> None:
    pytest.importorskip("peft", reason="peft is not installed; it comes with the extra train")
    folder = make_adapter(tmp_path / "a", 4, layers=2, shapes={"q_proj": (32, 32), "v_proj": (32, 16)}, scale=0.3)
    adapted = TorchEngine(tiny_path, adapter=folder, dialect="kat", threads=1, hold=False)
    ids = await tiny.encode("The quick brown fox.")
    found = agreement(await adapted.logprobs(ids), await tiny.logprobs(ids), "base")
    assert found.ok, found.sentence
    assert (await written(adapted, asked("Hi.")))[0] != (await written(tiny, asked("Hi.")))[0]
    await adapted.aclose()


@NEEDS_TORCH
async def test_what_cannot_be_loaded_is_said_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    broken = make_model(tmp_path / "broken")
    (broken / "model.safetensors").write_bytes(b"\xff" * 100)
    (tmp_path / "bad.gguf").write_bytes(b"GGUF" + b"\0" * 40)
    for path, words in (
        (tmp_path / "none", "there is no model at"),
        (tmp_path / "empty", "cannot be loaded"),
        (broken, "cannot be loaded"),
        (tmp_path / "bad.gguf", "cannot be loaded"),
    ):
        engine = TorchEngine(path)
        with pytest.raises(EngineRefused, match=words) as error:
            await engine.info()
        assert "\n" not in str(error.value)
        await engine.aclose()


@NEEDS_TORCH
async def test_a_closed_engine_cuts_and_then_is_unreachable(tiny_path: Path) -> None:
    engine = TorchEngine(tiny_path, dialect="kat", threads=1)
    found: list[Delta] = []
    async for delta in engine.stream(asked("Tell me a story."), Sampling(max_tokens=400, seed=1)):
        found.append(delta)
        if len(found) == 3:
            await engine.aclose()
    assert found[-1].finish is Finish.CUT
    assert "was closed" in (found[-1].error or "")
    with pytest.raises(EngineUnreachable, match="was closed"):
        await anext(engine.stream(asked("Hi."), GREEDY))


@NEEDS_TORCH
async def test_it_is_chosen_by_name(tiny_path: Path) -> None:
    engine = await open_engine(f"torch:{tiny_path}", dialect="kat", environ={})
    info = await engine.info()
    assert (info.name, info.model, info.dialect) == (f"torch:{tiny_path}", tiny_path.name, "kat")
    await engine.aclose()


async def test_a_name_of_the_catalogue_will_do(tmp_path: Path) -> None:
    with pytest.raises(PullError, match=r"fetch it with: kat models pull"):
        await open_engine("torch:Nano", environ={"KAT_CACHE": str(tmp_path)})


def test_without_torch_it_says_what_to_install() -> None:
    code = (
        "import asyncio, sys\nsys.modules['torch'] = None\n"
        "from model.engine import EngineUnreachable\nfrom model.engines.torch import TorchEngine\n"
        "try:\n    asyncio.run(TorchEngine('Org/Name').info())\n"
        "except EngineUnreachable as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stderr, done.returncode) == ("", 0)
    assert 'pip install "kat-pilot[train]"' in done.stdout
