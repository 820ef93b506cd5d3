"""Exports: adapters by vLLM's rules, merged weights that say the same, GGUF adapters, drafters, and their commands."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from assistant.commands.opening import engine_from
from assistant.config import Settings
from assistant.errors import UserError
from model.catalog import CATALOG
from model.engines.embedded import EmbeddedEngine
from model.engines.llama import Llama
from model.pull import pull
from tests.adapters import SMOLLM2, make_adapter, safetensors
from tests.tiny import NEEDS_TORCH, make_model
from training.settings import Export, Lora, ModelTable, Mtp, Recipe

pytestmark = [pytest.mark.xdist_group("heavy"), NEEDS_TORCH]
SHAPES = {"q_proj": (32, 32), "k_proj": (32, 16), "v_proj": (32, 16), "o_proj": (32, 32)}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch

    torch.set_num_threads(1)
    return make_model(tmp_path_factory.mktemp("export") / "tiny")


@pytest.fixture
def adapter(tiny: Path, tmp_path: Path) -> Path:
    return make_adapter(tmp_path / "made", 8, layers=2, shapes=SHAPES, scale=0.1, base=str(tiny))


def changed(adapter: Path, **more: Any) -> Path:
    config = adapter / "adapter_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | more))
    return adapter


def test_what_vllm_would_refuse_is_refused_here(adapter: Path, tiny: Path) -> None:
    from training.exporting.adapter import expect_served

    assert expect_served(adapter, tiny).rank == 8
    bad: dict[str, Any] = {
        "use_dora": True,
        "bias": "all",
        "modules_to_save": ["lm_head"],
        "init_lora_weights": "pissa",
    }
    with pytest.raises(UserError) as caught:
        expect_served(changed(adapter, **bad), tiny)
    for word in ("DoRA", "it has a bias", "whole modules", "init_lora_weights=pissa"):
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ({"base_model.model.lm_head.lora_A.weight": (8, 32)}, r"it changes lm_head"),
        (
            {"base_model.model.model.layers.0.mlp.bias": (8,)},
            r"it holds base_model\.model\.model\.layers\.0\.mlp\.bias",
        ),
    ],
)
def test_what_is_no_matrix_of_a_block_is_refused(
    adapter: Path, tiny: Path, tensors: Mapping[str, tuple[int, ...]], words: str
) -> None:
    from training.exporting.adapter import expect_served

    every = {"base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight": (8, 32), **tensors}
    numbers = {name: np.zeros(shape, np.float32) for name, shape in every.items()}
    (adapter / "adapter_model.safetensors").write_bytes(safetensors(numbers))
    with pytest.raises(UserError, match=words):
        expect_served(adapter, tiny)


def test_an_odd_rank_is_refused(tiny: Path, tmp_path: Path) -> None:
    from training.exporting.adapter import expect_served

    odd = make_adapter(tmp_path / "odd", 12, layers=2, shapes=SHAPES)
    with pytest.raises(UserError, match="its rank 12 is none of 1, 8, 16"):
        expect_served(odd, tiny)


def test_merged_weights_say_what_the_adapter_says(adapter: Path, tiny: Path, tmp_path: Path) -> None:
    from training.exporting import verifying
    from training.exporting.merged import merged
    from training.models.loading import load

    table = ModelTable(source=str(tiny), dtype="float32")
    found = merged(table, adapter, tmp_path / "whole", prompts=3)
    assert found.ok
    assert 0 < found.largest < 1e-3
    base, whole = load(table, train=False), load(table, weights=tmp_path / "whole", train=False)
    ids = verifying.texts(base, 3)
    moved = verifying.compared(verifying.logprobs(base.model, ids), verifying.logprobs(whole.model, ids))
    assert moved.largest > 0.5, "the adapter did something"
    with pytest.raises(UserError, match="says something else than what was trained"):
        verifying.expect_same(verifying.Compared(10, 3.0, 0.4), "the merged model")


def test_merged_weights_that_say_something_else_are_not_left(adapter: Path, tiny: Path, tmp_path: Path) -> None:
    from training.exporting.merged import merged

    table = ModelTable(source=str(tiny), dtype="float32")
    merged(table, adapter, tmp_path / "out" / "whole", prompts=1)
    kept = (tmp_path / "out" / "whole" / "model.safetensors").stat().st_ino
    loud = make_adapter(tmp_path / "loud", 8, layers=2, shapes=SHAPES, scale=3.0, base=str(tiny))
    with pytest.raises(UserError, match="nothing was exported"):
        merged(replace(table, dtype="bfloat16"), loud, tmp_path / "out" / "whole", prompts=3)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["whole"]
    assert (tmp_path / "out" / "whole" / "model.safetensors").stat().st_ino == kept, "the earlier one is untouched"


def test_a_gguf_adapter_holds_the_same_matrices_in_llamas_order(adapter: Path, tiny: Path, tmp_path: Path) -> None:
    import gguf
    import torch
    from safetensors.torch import load_file
    from transformers.models.llama.modeling_llama import rotate_half

    from training.exporting.gguf_adapter import gguf_adapter, interleaved

    changed(adapter, alpha_pattern={"v_proj": 64})
    written = gguf.GGUFReader(gguf_adapter(adapter, tiny, tmp_path / "a.gguf"))
    kinds = {name: written.fields[name].contents() for name in ("general.type", "adapter.type", "general.architecture")}
    assert list(kinds.values()) == ["adapter", "lora", "llama"]
    assert written.fields["adapter.lora.alpha"].contents() == 16
    found = {tensor.name: tensor.data for tensor in written.tensors}
    kept = load_file(adapter / "adapter_model.safetensors")
    mine = {half: kept[f"base_model.model.model.layers.1.self_attn.v_proj.lora_{half}.weight"].numpy() for half in "AB"}
    assert len(found) == len(kept)
    assert np.array_equal(found["blk.1.attn_v.weight.lora_a"], mine["A"])
    np.testing.assert_allclose(found["blk.1.attn_v.weight.lora_b"], 4 * mine["B"], rtol=1e-6)
    # What transformers' rotation pairs, half a head apart, stands side by side for llama.cpp.
    head = interleaved(np.arange(16, dtype=np.float32).reshape(16, 1), 2)[:, 0]
    pairs = {(int(b), int(a)) for a, b in zip(head[::2], head[1::2], strict=True)}
    turned = rotate_half(torch.arange(16.0).reshape(2, 8)).flatten().abs()
    assert pairs == {(n, int(turned[n])) for n in range(16) if n % 8 >= 4}
    other = shutil.copytree(tiny, tmp_path / "other")
    (other / "config.json").write_text('{"model_type": "mamba"}')
    with pytest.raises(UserError, match="are not written as GGUF"):
        gguf_adapter(adapter, other, tmp_path / "b.gguf")


def job(tiny: Path, tmp_path: Path, weights: Path | None, **export: Any) -> Any:
    from training.runtime.folder import RunFolder
    from training.runtime.job import Job
    from training.runtime.world import World

    table = ModelTable(source=str(tiny), dtype="float32", lora=Lora(rank=8), mtp=Mtp())
    recipe = Recipe(name="in house", stages=("export",), model=table, export=Export(**export))
    (tmp_path / "run").mkdir(exist_ok=True)
    return Job("export", recipe, RunFolder(tmp_path / "run"), World(), tmp_path, weights, say=lambda line: None)


def test_each_form_is_written_with_the_command_that_serves_it(adapter: Path, tiny: Path, tmp_path: Path) -> None:
    from training.export import run
    from training.models.loading import load
    from training.models.mtp import MtpModule

    MtpModule.of(load(ModelTable(source=str(tiny))).model, "mimo").save(tmp_path / "run/distill/weights/mtp")
    outcome = run(job(tiny, tmp_path, adapter, forms=("adapter", "merged", "gguf", "drafter"), prompts=2))
    folder = tmp_path / "run/export"
    assert sorted(path.name for path in folder.iterdir()) == [
        "in-house-adapter", "in-house-drafter", "in-house-merged", "in-house.gguf",
    ]  # fmt: skip
    serves = [shlex.split(line.partition("serve: ")[2]) for line in outcome.notes if line.startswith("  serve: ")]
    assert [words[:2] for words in serves] == [["kat", "serve"]] * 4
    assert serves[0][2] == str(tiny)
    assert f"in-house={folder / 'in-house-adapter'}" in serves[0]
    assert json.loads(serves[3][-1]) == {"method": "mtp", "num_speculative_tokens": 3}
    assert any("drafter_only fits it again" in line for line in outcome.notes)
    asks = [shlex.split(line.partition("ask:")[2]) for line in outcome.notes if line.startswith("  ask:")]
    assert json.loads(asks[0][-1])["model"].startswith("in-house@")
    assert outcome.figures["merged_largest"] < 1e-3
    config = json.loads((folder / "in-house-drafter/config.json").read_text())
    assert (config["architectures"], config["num_nextn_predict_layers"]) == (["MiMoForCausalLM"], 1)
    ends = [
        json.loads((folder / f"in-house-{form}/generation_config.json").read_text()) for form in ("drafter", "merged")
    ]
    assert ends[0].get("eos_token_id") == ends[1].get("eos_token_id")


@pytest.mark.parametrize(
    ("model", "named", "forms"),
    [
        (ModelTable(lora=Lora()), (), ("adapter",)),
        (ModelTable(), (), ("merged",)),
        (ModelTable(mtp=Mtp()), (), ("merged", "drafter")),
        (ModelTable(lora=Lora()), ("gguf",), ("gguf",)),
    ],
)
def test_a_recipe_that_names_no_form_gets_those_that_suit(model: ModelTable, named: Any, forms: Any) -> None:
    from training.exporting.forms import forms_of

    recipe = Recipe(name="x", stages=("distill", "export"), model=model, export=Export(forms=named))
    assert forms_of(recipe) == forms


def test_what_cannot_be_exported_is_said_in_a_sentence(tiny: Path, tmp_path: Path) -> None:
    from training.export import run

    for weights, form, words in (
        (None, "adapter", "no stage before trained"),
        (tiny, "adapter", "trained whole weights, so there is no adapter"),
        (tiny, "gguf", "trained whole weights"),
        (tiny, "drafter", "no MTP module"),
    ):
        with pytest.raises(UserError, match=words):
            run(job(tiny, tmp_path, weights, forms=(form,)))


def test_stopped_it_ends_behind_the_form_that_is_under_way(adapter: Path, tiny: Path, tmp_path: Path) -> None:
    from training.export import run

    both = job(tiny, tmp_path, adapter, forms=("adapter", "gguf"))
    both.stop.ask()
    outcome = run(both)
    assert not outcome.finished
    assert "between two forms" in outcome.why
    assert [path.name for path in (tmp_path / "run/export").iterdir()] == ["in-house-adapter"]
    assert run(job(tiny, tmp_path, adapter, forms=("adapter", "gguf"))).finished


@pytest.mark.embedded
async def test_the_embedded_engine_says_with_a_gguf_adapter_what_peft_says(tmp_path: Path) -> None:
    """Next tokens of a text, against the same weights and adapter in torch; without the adapter they are far apart."""
    import torch

    from training.exporting.gguf_adapter import gguf_adapter
    from training.models.loading import load

    pull(CATALOG["nano"])
    made = make_adapter(tmp_path / "made", 8, shapes={**SMOLLM2, "k_proj": (576, 192)}, scale=0.08, base="")
    torch_ = load(ModelTable(source="nano"), weights=made, train=False)
    text = "def limit(values, most):\n    return [min(value, most) for value in values]\n\nThe order stays the same."
    ids = torch_.tokens.encode(text, specials=False)
    file = gguf_adapter(made, torch_.source, tmp_path / "made.gguf")
    engine = await engine_from(Settings(adapter=str(file)), os.environ)
    assert isinstance(engine, EmbeddedEngine), "an adapter that is a file needs no engine to be named"
    llama = await engine._llama()
    said = {end: await asyncio.to_thread(likeliest, llama, ids[:end]) for end in range(6, len(ids), 4)}
    del llama
    await engine.aclose()

    def apart() -> float:
        with torch.inference_mode():
            theirs = torch_.model(input_ids=torch.tensor([ids])).logits[0].float().log_softmax(-1)
        return float(np.mean([abs(float(theirs[end - 1, token]) - ours) for end, (token, ours) in said.items()]))

    with_it = apart()
    with torch_.model.disable_adapter():
        assert with_it < 0.15 < 0.5 < apart()


def likeliest(llama: Llama, ids: list[int]) -> tuple[int, float]:
    """The likeliest next token by llama.cpp, and its log-probability."""
    got: list[dict[str, Any]] = []
    request = {"prompt": ids, "max_tokens": 1, "temperature": 0, "logprobs": 1, "stream": False}
    llama.generate(request, lambda chunk: bool(got.append(chunk)))
    (token,) = got[-1]["choices"][0]["logprobs"]["content"]
    return token["id"], token["logprob"]
