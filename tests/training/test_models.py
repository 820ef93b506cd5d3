"""Loading, adapting, expanding and saving, on a tiny Llama of random numbers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from assistant.errors import UserError
from tests.tiny import NEEDS_TORCH, make_model
from training.settings import Expand, Lora, ModelTable

pytestmark = [pytest.mark.xdist_group("heavy"), NEEDS_TORCH]
LORA = Lora(rank=8, alpha=16, targets=("q_proj", "v_proj", "down_proj"))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch

    torch.set_num_threads(1)
    return make_model(tmp_path_factory.mktemp("models") / "tiny")


def table(tiny: Path, **more: Any) -> ModelTable:
    return ModelTable(source=str(tiny), **{"dtype": "float32", **more})


def logits(loaded: Any) -> Any:
    import torch

    return loaded.model(input_ids=torch.arange(40).reshape(2, 20) % 250, use_cache=False).logits


def trained(model: Any) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def test_an_adapter_is_all_that_is_trained_and_comes_back_from_its_folder(tiny: Path, tmp_path: Path) -> None:
    import torch

    from training.models.loading import load
    from training.models.saving import save

    made = load(table(tiny, lora=LORA))
    assert torch.equal(logits(made), logits(load(table(tiny)))), "it changes nothing at first"
    assert trained(made.model)
    assert all(".lora_" in name for name in trained(made.model))
    for name, parameter in made.model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    folder = save(made, tmp_path / "adapter")
    again = load(table(tiny), weights=folder)
    assert torch.equal(logits(again), logits(made))
    assert trained(again.model) == trained(made.model)
    kept = json.loads((folder / "adapter_config.json").read_text())
    assert (kept["base_model_name_or_path"], kept["r"]) == (str(tiny), 8)
    assert "<judge>" in (folder / "chat_template.jinja").read_text(), "KAT's template goes with it"
    frozen = load(table(tiny), weights=folder, train=False)
    assert not trained(frozen.model)
    assert not frozen.model.training


def test_an_adapter_goes_onto_the_weights_it_was_trained_on(tiny: Path, tmp_path: Path) -> None:
    """A stage that trains whole weights may come before one that trains an adapter."""
    from training.models.loading import load
    from training.models.saving import save

    below = shutil.copytree(tiny, tmp_path / "run/distill")
    folder = save(load(table(tiny, lora=LORA), weights=None), tmp_path / "other")
    config = folder / "adapter_config.json"
    config.write_text(config.read_text().replace(json.dumps(str(tiny)), json.dumps(str(below))))
    assert load(table(tiny), weights=folder).source == below
    shutil.rmtree(below)
    with pytest.raises(UserError, match=r"trained on .*/run/distill, which is gone"):
        load(table(tiny), weights=folder)


def test_new_blocks_change_nothing_and_are_all_that_is_trained(tiny: Path, tmp_path: Path) -> None:
    import torch

    from training.models import depth
    from training.models.loading import load
    from training.models.saving import save

    before = logits(load(table(tiny)))
    made = load(table(tiny, expand=Expand(layers=2, also=("norms",))))
    assert torch.equal(logits(made), before)
    assert depth.added(made.model) == [1, 3]
    assert [block.self_attn.layer_idx for block in depth.blocks(made.model)] == [0, 1, 2, 3]
    blocks = {name for name in trained(made.model) if ".layers." in name and "norm" not in name}
    assert {name.split(".")[2] for name in blocks} == {"1", "3"}
    assert "model.norm.weight" in trained(made.model)
    logits(made).pow(2).sum().backward()
    silent = depth.blocks(made.model)[1].mlp.down_proj.weight.grad
    assert silent is not None
    assert silent.abs().max() > 0, "what is zero learns"
    again = load(table(tiny, expand=Expand(layers=2)), weights=save(made, tmp_path / "deep"))
    assert depth.added(again.model) == [1, 3], "it is not expanded twice"
    plain = load(table(tiny), weights=tmp_path / "deep")
    assert all(weight.requires_grad for weight in plain.model.parameters()), "what the recipe does not expand is whole"
    assert torch.equal(logits(again), before)
    generated = again.model.generate(torch.tensor([[1, 2, 3]]), max_new_tokens=3, do_sample=False)
    plain = load(table(tiny)).model.generate(torch.tensor([[1, 2, 3]]), max_new_tokens=3, do_sample=False)
    assert torch.equal(generated, plain), "caches of keys know the new order"


def test_small_updates_are_not_lost_in_bf16(tiny: Path) -> None:
    """Updates of a thousandth of a weight, one at a time: bf16 alone would not move."""
    import torch

    from training.models.masters import Masters

    whole = torch.nn.Parameter(torch.full((4,), 0.5, dtype=torch.bfloat16))
    full = torch.nn.Parameter(torch.full((4,), 0.5))
    frozen = torch.nn.Parameter(torch.ones(2), requires_grad=False)
    masters = Masters([whole, full, frozen])
    assert masters.parameters[1] is full, "what is fp32 is its own master"
    assert len(masters.parameters) == 2
    optimizer = torch.optim.SGD(masters.parameters, lr=5e-4)
    for _ in range(20):
        for _ in range(2):  # two micro-batches
            (0.5 * whole.float().sum() + 0.5 * full.sum()).backward()
        assert whole.grad is None, "the gradient is kept once, in fp32"
        optimizer.step()
        optimizer.zero_grad()
        masters.give_back()
    assert full.tolist() == pytest.approx([0.49] * 4)
    assert masters.parameters[0].tolist() == pytest.approx([0.49] * 4)
    assert whole.tolist() == torch.tensor([0.49] * 4).bfloat16().tolist()
    state = {"masters": [tensor + 1 for tensor in masters.state_dict()["masters"]]}
    masters.load_state_dict(state)
    assert whole.tolist() == pytest.approx([1.49] * 4, abs=4e-3)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"source": "/nowhere/model"}, "no model at"),
        ({"source": "tests"}, "no config.json"),
        ({"dialect": "latin"}, "no dialect 'latin'"),
        ({"lora": Lora(rank=12)}, r"no adapters of rank 12; set model\.lora\.rank = 16"),
        ({"lora": Lora(targets=("q_proj", "lm_head"))}, "no adapters of lm_head"),
        ({"lora": Lora(targets=("nothing",))}, "do not suit the model"),
        ({"expand": Expand(layers=3)}, "is 1 to 2 for this model, not 3"),
        ({"lora": LORA, "expand": Expand(layers=1)}, "choose"),
    ],
)
def test_what_cannot_be_trained_is_said_in_a_sentence(tiny: Path, more: dict[str, Any], words: str) -> None:
    from training.models.loading import load

    with pytest.raises(UserError, match=words) as caught:
        load(table(**{"tiny": tiny, **more}) if "source" not in more else ModelTable(**more))
    assert "\n" not in str(caught.value)


def test_a_vocabulary_without_turns_is_refused(tiny: Path, tmp_path: Path) -> None:
    from training.models.loading import load

    other = shutil.copytree(tiny, tmp_path / "other")
    tokenizer = other / "tokenizer.json"
    tokenizer.write_text(tokenizer.read_text().replace("<|im_start|>", "<|begin|>"))
    with pytest.raises(UserError, match=r"no token <\|im_start\|>"):
        load(table(other))


def test_marks_are_counted_in_tokens(tiny: Path) -> None:
    from training.models.loading import load
    from training.models.markers import lengths

    found = lengths(load(table(tiny)).tokens)
    assert found["<judge>"] == len("<judge>"), "a token a byte here"
    assert min(found.values()) > 1
