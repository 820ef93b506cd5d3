"""An MTP module as vLLM loads it: an EAGLE folder beside an untouched model, or MiMo's layout within one checkpoint."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import save_torch_state_dict
from safetensors.torch import save_file
from torch import Tensor

from assistant.errors import UserError
from training.models.loading import Loaded
from training.models.lora import is_adapted
from training.models.mtp import MtpModule, expect_mimo
from training.runtime.folder import beside, put_folder

_COPIED = (
    "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
    "num_key_value_heads", "max_position_embeddings", "tie_word_embeddings", "rms_norm_eps", "hidden_act",
    "bos_token_id", "eos_token_id", "pad_token_id", "rope_parameters",
)  # fmt: skip


def eagle(module: MtpModule, out: Path) -> Path:
    """The module as a drafter in a folder of its own: ``fc`` and one layer, embeddings and head being the model's.

    Raises:
        UserError: the disk does not allow it.
    """
    state = {"fc.weight": _low(module.project.weight)}
    state |= {f"layers.0.{name}": _low(weight) for name, weight in module.block.state_dict().items()}
    config = {
        **module.config.to_dict(),
        "architectures": ["LlamaForCausalLM"],
        "dtype": "bfloat16",
    }
    with _written(out) as unfinished:
        save_file(state, unfinished / "model.safetensors")
        _configured(unfinished, config)
    return out


def mimo(module: MtpModule, loaded: Loaded, out: Path) -> Path:
    """The whole model with the module, as MiMo's: a Llama becomes a Qwen2 whose biases are zero.

    Raises:
        UserError: the model is not of that shape, or has an adapter on it, which must be merged first; or the disk
            does not allow it.
    """
    model, config = loaded.model, loaded.model.config.get_text_config()
    if is_adapted(model):
        raise UserError("a drafter in the layout mimo is part of whole weights; merge the adapter first")
    expect_mimo(config, getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)
    with _written(out) as unfinished:
        save_torch_state_dict({**_as_qwen2(model, config), **_mimo_layer(module)}, unfinished)
        _configured(unfinished, _mimo_config(config))
        if model.generation_config is not None:  # some ends of a turn stand only there
            model.generation_config.save_pretrained(unfinished)
        loaded.tokenizer.save_pretrained(unfinished)
    return out


def speculation(layout: str, drafter: Path, depth: int) -> str:
    """vLLM's --speculative-config for it; `depth` tokens are drafted at a time."""
    found: dict[str, Any] = {"method": "mtp", "num_speculative_tokens": depth}
    if layout == "eagle":
        found = {"method": "eagle", "model": str(drafter.resolve()), "num_speculative_tokens": depth}
    return json.dumps(found, separators=(",", ":"))


def _as_qwen2(model: Any, config: Any) -> dict[str, Tensor]:
    tied = {"lm_head.weight"} if config.tie_word_embeddings else set()
    state = {name: _low(weight) for name, weight in model.state_dict().items() if name not in tied}
    for n in range(config.num_hidden_layers):
        _biased(state, f"model.layers.{n}.self_attn")
    return state


def _mimo_layer(module: MtpModule) -> dict[str, Tensor]:
    at = "model.mtp_layers.0"
    state = {f"{at}.{name}": _low(weight) for name, weight in module.block.state_dict().items()}
    state[f"{at}.input_proj.weight"] = _low(module.project.weight)
    for name, norm in (("token", module.token_norm), ("hidden", module.hidden_norm), ("final", module.final_norm)):
        state[f"{at}.{name}_layernorm.weight"] = _low(norm.weight)
    _biased(state, f"{at}.self_attn")
    return state


def _biased(state: dict[str, Tensor], attention: str) -> None:
    """Give the attention the biases that Qwen2 has, zero where there are none."""
    for name in "qkv":
        weight = state[f"{attention}.{name}_proj.weight"]
        state.setdefault(f"{attention}.{name}_proj.bias", torch.zeros(weight.shape[0], dtype=weight.dtype))


def _mimo_config(config: Any) -> dict[str, Any]:
    kept = {name: getattr(config, name) for name in _COPIED if getattr(config, name, None) is not None}
    rope = kept.get("rope_parameters") or {}
    return {
        **kept,
        "architectures": ["MiMoForCausalLM"],
        "model_type": "qwen2",
        "num_nextn_predict_layers": 1,
        "use_sliding_window": False,
        "rope_theta": rope.get("rope_theta", 10000.0),
        "dtype": "bfloat16",
    }


@contextmanager
def _written(out: Path) -> Iterator[Path]:
    """A folder to fill that takes the place of `out` at the end. Raises UserError if the disk does not allow it."""
    try:
        unfinished = beside(out)
        yield unfinished
        put_folder(out, unfinished)
    except OSError as error:
        raise UserError(f"{out} cannot be written ({error.strerror or error}); free some space") from None


def _configured(folder: Path, config: Mapping[str, Any]) -> None:
    (folder / "config.json").write_text(json.dumps(config, indent=1, default=str) + "\n", "utf-8")


def _low(weight: Tensor) -> Tensor:
    return weight.detach().to("cpu", torch.bfloat16).contiguous().clone()
