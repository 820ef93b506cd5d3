"""Shapes from config.json and GGUF files: counted exactly, and refused in one sentence."""

from __future__ import annotations

import importlib.util
import struct
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.architecture import architecture_of, read_config
from model.catalog.gguf import gguf_architecture

BASE: dict[str, Any] = {
    "vocab_size": 101,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 4,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "tie_word_embeddings": False,
}
MOE = {"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
LINEAR = {
    "linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 8, "linear_value_head_dim": 12,
    "linear_conv_kernel_dim": 4,
}  # fmt: skip
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "Qwen2ForCausalLM": ("Qwen2Config", {}),
    "Qwen3ForCausalLM": ("Qwen3Config", {"head_dim": 16, "attention_bias": True, "tie_word_embeddings": True}),
    "LlamaForCausalLM": ("LlamaConfig", {"attention_bias": True, "mlp_bias": True}),
    "Qwen3MoeForCausalLM": ("Qwen3MoeConfig", {**MOE, "head_dim": 8, "mlp_only_layers": [1]}),
    "Qwen3_5MoeForCausalLM": (
        "Qwen3_5MoeTextConfig",
        {**MOE, **LINEAR, "head_dim": 8, "shared_expert_intermediate_size": 20},
    ),
}


@pytest.mark.xdist_group("heavy")  # torch and vLLM are imported by one worker
@pytest.mark.skipif(importlib.util.find_spec("transformers") is None, reason="transformers is not installed")
def test_every_family_counts_as_transformers_does() -> None:
    import torch
    import transformers

    for name, (config, extra) in FAMILIES.items():
        fields = {**BASE, **extra}
        with torch.device("meta"):
            model = getattr(transformers, name)(getattr(transformers, config)(**fields))
        shape = architecture_of({**fields, "architectures": [name]})
        assert shape.exact
        assert shape.parameters == sum(each.numel() for each in model.parameters()), name


def test_active_and_cached_numbers_of_a_mixture() -> None:
    shape = architecture_of({**BASE, **MOE, "head_dim": 8, "architectures": ["Qwen3MoeForCausalLM"]})
    idle = 4 * (8 - 2) * 3 * 48 * 24
    assert shape.active == shape.parameters - idle - 101 * 48
    assert shape.kv_elements == 2 * 4 * 2 * 8
    assert shape.read(1) == shape.matrices - idle
    assert shape.read(10_000) == pytest.approx(shape.matrices)
    assert architecture_of({**BASE, **MOE, "mlp_only_layers": [[1]]}).experts is not None


def test_layers_without_attention_keep_no_token() -> None:
    name = ["Qwen3_5MoeForCausalLM"]
    shape = architecture_of({**BASE, **MOE, **LINEAR, "num_hidden_layers": 8, "head_dim": 8, "architectures": name})
    assert (shape.attention_layers, shape.kv_elements) == (2, 2 * 2 * 2 * 8)


def test_a_text_model_inside_another_and_an_unknown_family() -> None:
    shape = architecture_of({"architectures": ["FutureForConditionalGeneration"], "text_config": BASE})
    assert not shape.exact
    assert shape.layers == 4
    assert shape.kv_heads == 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"hidden_size": None}, "no 'hidden_size'"),
        ({"num_hidden_layers": "many"}, "'num_hidden_layers' in the config is 'many'"),
        ({"vocab_size": -3}, "no usable whole number"),
        ({"num_attention_heads": True}, "no usable whole number"),
        ({"num_experts": [1]}, "no usable whole number"),
        ({"num_hidden_layers": 500_000_000}, "no usable whole number"),
        ({**LINEAR, "layer_types": ["linear_attention"] * 4}, "no layer in the config has attention"),
    ],
)
def test_a_config_that_cannot_be_used_is_one_sentence(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        architecture_of({**BASE, **change})
    assert "\n" not in str(caught.value)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=40)
@given(st.dictionaries(st.sampled_from([*BASE, *MOE, *LINEAR, "architectures", "text_config", "layer_types"]), _JSON))
def test_any_config_is_a_shape_or_a_sentence(config: dict[str, Any]) -> None:
    with suppress(ValueError):
        shape = architecture_of({**BASE, **config})
        assert shape.parameters > 0
        assert 0 < shape.attention_layers <= shape.layers


@pytest.mark.parametrize(
    ("text", "words"), [(None, "no config.json"), ("{", "not a JSON object"), ("[3]", "not a JSON object")]
)
def test_a_folder_without_a_config_is_one_sentence(text: str | None, words: str, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "config.json").write_text(text)
    with pytest.raises(ValueError, match=words):
        read_config(tmp_path)


def _text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


def _gguf(values: dict[str, str | int], tokens: int = 101) -> bytes:
    out = b"GGUF" + struct.pack("<IQQ", 3, 0, len(values) + 2)
    out += _text("list") + struct.pack("<IIQ", 9, 8, 2) + _text("a") + _text("b")
    for name, value in values.items():
        body = struct.pack("<I", 8) + _text(value) if isinstance(value, str) else struct.pack("<IQ", 10, value)
        out += _text(name) + body
    return out + _text("tokenizer.ggml.tokens") + struct.pack("<IIQ", 9, 8, tokens)


_HEAD: dict[str, str | int] = {
    "general.architecture": "qwen2",
    "qwen2.block_count": 4,
    "qwen2.embedding_length": 48,
    "qwen2.attention.head_count": 6,
    "qwen2.attention.head_count_kv": 2,
    "qwen2.feed_forward_length": 80,
    "qwen2.context_length": 512,
}


def test_the_head_of_a_gguf_file_gives_the_same_shape(tmp_path: Path) -> None:
    file = tmp_path / "m.gguf"
    file.write_bytes(_gguf(_HEAD))
    assert gguf_architecture(file) == architecture_of({**BASE, "architectures": ["Qwen2ForCausalLM"]})


def test_a_gguf_file_that_is_none_is_one_sentence(tmp_path: Path) -> None:
    file, whole = tmp_path / "m.gguf", _gguf(_HEAD)
    for cut in (0, 3, 20, 40, len(whole) - 9):
        file.write_bytes(whole[:cut])
        with pytest.raises(ValueError, match="not a whole GGUF file"):
            gguf_architecture(file)
    file.write_bytes(_gguf({"general.architecture": "qwen2"}))
    with pytest.raises(ValueError, match="does not say what shape"):
        gguf_architecture(file)
    with pytest.raises(ValueError, match="cannot be read"):
        gguf_architecture(tmp_path)


@given(st.binary(max_size=200))
def test_no_bytes_break_the_reader_of_gguf(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "any.gguf"
    file.write_bytes(b"GGUF" + data)
    with pytest.raises(ValueError, match=r"GGUF|shape"):
        gguf_architecture(file)
