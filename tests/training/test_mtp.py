"""The module for multi-token prediction: its formula, packed rows, what vLLM's own code makes of its weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest

from assistant.errors import UserError
from tests.tiny import NEEDS_TORCH, make_model

pytestmark = [pytest.mark.xdist_group("heavy"), NEEDS_TORCH]
LAYOUTS = ("eagle", "mimo")
ROW = 12


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(1)
    folder = make_model(tmp_path_factory.mktemp("mtp") / "tiny")
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


def given(seed: int = 0) -> tuple[Any, Any, Any]:
    import torch

    made = torch.Generator().manual_seed(seed)
    hidden, embeddings = (torch.randn(2, ROW, 32, generator=made) for _ in range(2))
    return hidden, embeddings, torch.arange(ROW).expand(2, ROW)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_packed_row_is_its_documents_one_by_one(model: Any, layout: Literal["eagle", "mimo"]) -> None:
    import torch

    from training.models.mtp import MtpModule

    torch.manual_seed(1)
    module = MtpModule(model.config, layout)
    hidden, embeddings, positions = given()
    packed = torch.cat([positions[:, :5], positions[:, :7]], 1)
    both = list(module.unrolled(hidden, embeddings, packed, 3))
    for part in (slice(0, 5), slice(5, ROW)):
        length = part.stop - part.start
        alone = module.unrolled(hidden[:, part], embeddings[:, part], positions[:, :length], 3)
        for ahead, (one, two) in enumerate(zip(alone, both, strict=True), 1):
            inside = two[:, part.start : part.stop - ahead]
            torch.testing.assert_close(one, inside, atol=1e-5, rtol=0)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_step_k_sees_token_t_plus_k_and_nothing_later(model: Any, layout: Literal["eagle", "mimo"]) -> None:
    import torch

    from training.models.mtp import MtpModule

    torch.manual_seed(1)
    module = MtpModule(model.config, layout)
    hidden, embeddings, positions = given()
    embeddings.requires_grad_(True)
    for ahead, out in enumerate(module.unrolled(hidden, embeddings, positions, 3), 1):
        (grad,) = torch.autograd.grad(out[0, 4].sum(), embeddings, retain_graph=True)
        seen = grad[0].abs().sum(-1).nonzero().flatten().tolist()
        assert max(seen) == 4 + ahead


def test_it_begins_by_passing_the_hidden_state_on(model: Any) -> None:
    import torch

    from training.models.mtp import MtpModule

    hidden, embeddings, positions = given()
    for layout in LAYOUTS:
        out = MtpModule.of(model, layout)(hidden, embeddings, positions)
        alike = torch.nn.functional.cosine_similarity(out, hidden, dim=-1)
        assert alike.min() > 0.9


@pytest.mark.parametrize("layout", LAYOUTS)
def test_it_comes_back_from_its_folder(model: Any, layout: Literal["eagle", "mimo"], tmp_path: Path) -> None:
    import torch

    from training.models.mtp import MtpModule

    module = MtpModule(model.config, layout)
    module.save(tmp_path / "mtp")
    again = MtpModule.load(tmp_path / "mtp")
    assert again.layout == layout
    assert torch.equal(again(*given()), module(*given()))
    with pytest.raises(UserError, match="no MTP module"):
        MtpModule.load(tmp_path / "none")


def test_mimo_takes_only_what_qwen2_can_be() -> None:
    from transformers import LlamaConfig, Qwen3Config

    from training.models.mtp import MtpModule

    wide = LlamaConfig(hidden_size=32, num_attention_heads=4, head_dim=16, intermediate_size=32, vocab_size=64)
    for config in (wide, Qwen3Config(hidden_size=32, num_attention_heads=4, num_key_value_heads=2, vocab_size=64)):
        with pytest.raises(UserError, match="cannot have the layout mimo"):
            MtpModule(config, "mimo")
    assert MtpModule(wide, "eagle").block.self_attn.q_proj.weight.shape == (64, 32)


def test_the_exported_folders_hold_what_was_trained(model: Any, tmp_path: Path) -> None:
    """Read back by the names that vLLM's classes give them; bf16 rounds weights, and not the angles of positions."""
    import torch
    from safetensors.torch import load_file

    from training.exporting.drafter import eagle
    from training.models.mtp import MtpModule

    module = MtpModule(model.config, "eagle").to(torch.bfloat16)
    weights = load_file(eagle(module, tmp_path / "drafter") / "model.safetensors")
    hidden, embeddings, positions = given()
    other = MtpModule(model.config, "eagle")
    other.project.weight.data = weights["fc.weight"].float()
    other.block.load_state_dict({k.removeprefix("layers.0."): v.float() for k, v in weights.items() if "layers" in k})
    assert "layers.0.input_layernorm.weight" not in weights
    torch.testing.assert_close(other(hidden, embeddings, positions), module.float()(hidden, embeddings, positions))
