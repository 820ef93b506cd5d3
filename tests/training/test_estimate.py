"""Estimates of memory and time, held to what torch keeps, what peft adds, and what others measured."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from assistant.commands.registry import run
from assistant.errors import Exit
from model.architecture import Architecture
from model.catalog import CATALOG
from model.serving.hardware.gpus import gpu_type
from training.commands.reading import read
from training.estimate import Machine, estimate
from training.estimating import memory, speed
from training.estimating.marks import MARKS
from training.estimating.weights import expanded, lora_weights, mtp_weights, weights
from training.estimating.wording import duration, lines
from training.settings import Coldstart, Expand, Hardware, Lora, ModelTable, Mtp, Recipe

HERE = Machine(8 * 2**30, 2, frozenset({"amx_bf16"}))
LLAMA = Architecture("LlamaForCausalLM", 2, 48, 6, 2, 8, 80, 64, 128)
QWEN3 = replace(LLAMA, model_class="Qwen3ForCausalLM", qk_norm=True, tied=True)
QWEN2 = replace(LLAMA, model_class="Qwen2ForCausalLM", qkv_bias=True)


def model_of(shape):
    transformers = pytest.importorskip("transformers")
    make = {"L": transformers.LlamaForCausalLM, "2": transformers.Qwen2ForCausalLM, "3": transformers.Qwen3ForCausalLM}
    kind = make["L" if shape is LLAMA else "3" if shape is QWEN3 else "2"]
    config = kind.config_class(
        hidden_size=shape.hidden, intermediate_size=shape.intermediate, num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads, num_hidden_layers=shape.layers, vocab_size=shape.vocabulary,
        head_dim=shape.head_dim, max_position_embeddings=shape.context, tie_word_embeddings=shape.tied,
    )  # fmt: skip
    return kind(config)


def saved(model, tokens):
    """Bytes that autograd keeps for the backward pass, weights apart."""
    import torch

    own = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
    kept, alive = {}, []

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        alive.append(tensor)
        return tensor

    ids = torch.zeros((1, tokens), dtype=torch.long)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model.model(input_ids=ids, position_ids=torch.arange(tokens)[None], use_cache=False)
    return sum(kept.values())


@pytest.mark.parametrize("shape", [LLAMA, QWEN2, QWEN3])
def test_activations_are_what_torch_keeps(shape):
    torch = pytest.importorskip("torch")
    model = model_of(shape).to(torch.bfloat16).train()
    deeper = replace(shape, layers=1)
    one = model_of(shape).to(torch.bfloat16).train()
    one.model.layers = one.model.layers[:1]
    layer = (saved(model, 64) - saved(one, 64)) / 64
    assert memory.activations(deeper, checkpointing=False) == pytest.approx(layer, rel=0.06)
    assert weights(Recipe(name="x", stages=("coldstart",)), shape, "coldstart").stored == model.num_parameters()


@pytest.mark.parametrize("targets", ["all-linear", ("q_proj", "v_proj")])
def test_an_adapter_is_counted_as_peft_makes_it(targets):
    peft = pytest.importorskip("peft")
    asked = list(targets) if isinstance(targets, tuple) else targets
    config = peft.LoraConfig(r=8, target_modules=asked, task_type="CAUSAL_LM")
    adapted = peft.get_peft_model(model_of(QWEN2), config)
    assert lora_weights(QWEN2, Lora(rank=8, targets=targets)) == adapted.get_nb_trainable_parameters()[0]


@pytest.mark.parametrize("layout", ["eagle", "mimo"])
def test_the_module_for_several_tokens_is_counted_as_it_is_made(layout):
    pytest.importorskip("torch")
    from training.models.mtp import MtpModule

    module = MtpModule(model_of(LLAMA).config, layout)
    shape = LLAMA if layout == "eagle" else QWEN2
    assert mtp_weights(shape, Mtp(layout=layout)) == sum(each.numel() for each in module.parameters())


def test_new_blocks_make_qwen_32b_as_large_as_kat():
    grown = expanded(replace(CATALOG["KAT-V1-40B"].architecture, layers=64), Expand(layers=16))
    assert grown.parameters == CATALOG["KAT-V1-40B"].architecture.parameters


def eight_billion(**hardware):
    return Recipe(
        name="x",
        stages=("coldstart",),
        model=ModelTable(source="HiPO-8B"),
        coldstart=Coldstart(steps=10, batch=65_536),
        hardware=Hardware(gpus=8, gpu="h100", **hardware),
    )


def test_eight_billion_on_h100s_go_as_fast_as_torchtitan_measured():
    (found,) = estimate(eight_billion(), Path(), HERE)
    mark = next(each for each in MARKS if each.program == "torchtitan")
    assert mark.least < found.pace.rate(8) < mark.most
    assert found.seconds == pytest.approx(10 * found.pace.seconds)
    assert found.pace.passes == 3


def test_more_processes_share_the_weights_and_the_work():
    one, two = (estimate(eight_billion(nodes=nodes), Path(), HERE)[0] for nodes in (1, 2))
    sizes = [{part.name: part.size for part in each.parts} for each in (one, two)]
    assert sizes[0]["trained"] == 2 * sizes[1]["trained"] == 16 * one.weights.trained / 8
    assert sizes[0]["activations"] == sizes[1]["activations"]
    assert one.pace.seconds == pytest.approx(2 * two.pace.seconds)


def test_checkpointing_takes_less_memory_and_a_third_more_time():
    plain = eight_billion()
    again = replace(plain, model=replace(plain.model, checkpointing=True))
    before, after = (estimate(each, Path(), HERE)[0] for each in (plain, again))
    assert after.memory < before.memory
    assert after.pace.seconds == pytest.approx(before.pace.seconds * 4 / 3)


def test_a_lora_needs_no_gradients_of_weights():
    plain = eight_billion()
    lora = replace(plain, model=replace(plain.model, lora=Lora()))
    (found,) = estimate(lora, Path(), HERE)
    assert found.pace.passes == 2
    assert found.weights.stored == CATALOG["HiPO-8B"].parameters + found.weights.trained


def test_what_does_not_fit_is_said_with_what_would_help(capsys):
    assert run(["train", "estimate", "hipo-8b", "--set", "hardware.gpus=1"]) == Exit.NOT_ACHIEVED
    told = capsys.readouterr().out
    assert "TOO MUCH" in told
    assert "a LoRA, or more processes" in told


def test_for_programs(capsys):
    assert run(["train", "estimate", "kat-40b", "--json"]) == Exit.DONE
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["stage"] for row in rows] == ["distill", "coldstart", "rl"]
    assert rows[0]["trained"] > rows[1]["trained"], "the module for several tokens is trained with the new blocks"
    assert all(row["fits"] and row["parts_gib"] for row in rows)


def test_an_epoch_is_known_once_the_data_are_there(tmp_path):
    recipe = read(Path("nano"), ("coldstart.steps=0", "coldstart.epochs=2", "data.samples=mix")).recipe
    assert estimate(recipe, tmp_path, HERE)[0].updates is None
    (tmp_path / "mix").mkdir()
    (tmp_path / "mix/packing.jsonl").write_text(json.dumps({"tokens": 40_000}) + "\n")
    assert estimate(recipe, tmp_path, HERE)[0].updates == 10


def test_replies_are_written_before_activations_are_kept():
    found = {each.stage: each for each in estimate(read(Path("nano")).recipe, Path(), HERE)}["rl"]
    sizes = {part.name: part.size for part in found.parts}
    passing = sizes["activations"] + sizes["head"]
    assert found.memory == pytest.approx(sum(sizes.values()) - min(sizes["cache"], passing))
    assert 0 < found.pace.rollout < found.pace.seconds


def test_what_draws_has_all_of_the_weights_and_so_many_replies():
    found = {each.stage: each for each in estimate(read(Path("kat-40b")).recipe, Path(), HERE)}
    fewer = estimate(read(Path("kat-40b"), ("rl.rows=4",)).recipe, Path(), HERE)[-1]
    size = {stage: {part.name: part.size for part in each.parts} for stage, each in found.items()}
    assert "decoding" not in size["coldstart"]
    assert size["rl"]["decoding"] == pytest.approx(2 * CATALOG["KAT-V1-40B"].architecture.parameters, rel=0.01)
    assert {part.name: part.size for part in fewer.parts}["cache"] == size["rl"]["cache"] / 4
    drawing = size["rl"]["decoding"] + size["rl"]["cache"]
    assert found["rl"].memory == pytest.approx(
        drawing + sum(size["rl"][each] for each in ("frozen", "trained", "beside"))
    )
    assert fewer.pace.rollout > found["rl"].pace.rollout, "all weights are read again for each round"
    alone = estimate(read(Path("kat-40b"), ("distill.drafter_only=true",)).recipe, Path(), HERE)[0]
    assert "cache" not in {part.name for part in alone.parts}
    local = estimate(read(Path("kat-40b"), ("distill.teacher=HiPO-8B",)).recipe, Path(), HERE)[0]
    assert local.memory - found["distill"].memory == pytest.approx(8.19e9 * 2, rel=0.01)
    off = estimate(read(Path("kat-40b"), ("distill.on_policy=0.0",)).recipe, Path(), HERE)[0]
    assert off.memory < found["distill"].memory


@pytest.mark.parametrize(
    ("flags", "dtype", "reached"),
    [
        ({"amx_bf16"}, "bfloat16", 460e9), ({"amx_bf16"}, "float32", 30e9), (set(), "bfloat16", 60e9),
        ({"avx2"}, "bfloat16", 2e9), ({"avx2"}, "float32", 60e9),
    ],
)  # fmt: skip
def test_cores_are_reckoned_by_what_they_can_do(flags, dtype, reached):
    assert speed.cpu_device(2, frozenset(flags), dtype).flops == reached


def test_gpus_reach_a_share_of_their_peak():
    assert speed.gpu_device(gpu_type("h100")).flops == pytest.approx(989e12 * speed.REACHED)


def test_wording():
    assert [duration(each) for each in (0.5, 59, 112, 150, 7_000, 90_000, 900_000)] == [
        "0.5 s", "59 s", "112 s", "2.5 min", "117 min", "25 h", "10 days"
    ]  # fmt: skip
    recipe = read(Path("kat-dev-32b-lora")).recipe
    told = "\n".join(lines(recipe, estimate(recipe, Path(), HERE)))
    assert "H100 80GB (SXM) at 36% of its peak × 6 processes" in told
    assert "/ 6 processes" in told
    assert "NeMo-RL" in told
