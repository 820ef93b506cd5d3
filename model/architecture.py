"""The shape of a model, from its config.json: how many weights it has, and what it keeps of each token it read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class LinearAttention:
    """Layers with a gated delta rule instead of attention, as in Qwen3.5; they keep a state and no token."""

    layers: int
    key_heads: int
    value_heads: int
    key_dim: int
    value_dim: int
    kernel: int

    @property
    def keys(self) -> int:
        """Width of all keys."""
        return self.key_heads * self.key_dim

    @property
    def values(self) -> int:
        """Width of all values."""
        return self.value_heads * self.value_dim

    def matrices(self, hidden: int) -> int:
        """Weights in the projections of one layer."""
        return hidden * (2 * self.keys + 3 * self.values + 2 * self.value_heads)

    @property
    def state(self) -> int:
        """Bytes that all these layers keep of a conversation: a matrix a head in 32 bits, the convolution's in 16."""
        matrix = self.value_heads * self.key_dim * self.value_dim * 4
        return self.layers * (matrix + (2 * self.keys + self.values) * (self.kernel - 1) * 2)

    @property
    def vectors(self) -> int:
        """Weights of one layer outside the projections: convolution, decay, norm."""
        return (2 * self.keys + self.values) * self.kernel + 2 * self.value_heads + self.value_dim


@dataclass(frozen=True, slots=True)
class Experts:
    """A mixture of experts: `active` of `count` read each token, beside a shared one of width `shared` if there is any.

    `dense_layers` have an ordinary feed-forward block.
    """

    count: int
    active: int
    intermediate: int
    shared: int = 0
    dense_layers: int = 0


@dataclass(frozen=True, slots=True)
class Architecture:
    """A decoder's dimensions. `context` is in tokens.

    `qkv_bias` and `out_bias` are of the attention, `mlp_bias` of the feed-forward block, `qk_norm` are norms on queries
    and keys, `gated` doubles the queries. `exact` says that the family's weights are counted as they are stored; else
    the counts are an estimate. `sliding_window` is in tokens, and None where every layer sees everything.
    """

    model_class: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocabulary: int
    context: int
    tied: bool = False
    qkv_bias: bool = False
    out_bias: bool = False
    mlp_bias: bool = False
    qk_norm: bool = False
    gated: bool = False
    experts: Experts | None = None
    linear: LinearAttention | None = None
    sliding_window: int | None = None
    exact: bool = True

    @property
    def parameters(self) -> int:
        """All weights, with biases and norms."""
        return self.matrices + self.vectors + self.embeddings

    @property
    def embeddings(self) -> int:
        """Weights of the embedding and of the output layer, which quantised models keep in 16 bits."""
        return self.vocabulary * self.hidden * (1 if self.tied else 2)

    @property
    def matrices(self) -> int:
        """Weights in the layers' projections: what quantisation makes smaller."""
        linear = self.linear.layers * self.linear.matrices(self.hidden) if self.linear else 0
        return self.attention_layers * self._attention + linear + self._feed_forward(self._experts_stored)

    @property
    def active(self) -> int:
        """Weights that one token is multiplied with: without the embedding, which is only looked up."""
        unread = self._feed_forward(self._experts_stored) - self._feed_forward(self._experts_read)
        return self.parameters - unread - (0 if self.tied else self.vocabulary * self.hidden)

    def read(self, tokens: int) -> float:
        """Weights in the projections that a step with so many tokens reads; experts are taken to be drawn evenly."""
        if self.experts is None:
            return self.matrices
        missed = (1 - self.experts.active / self.experts.count) ** tokens
        idle = self._feed_forward(self._experts_stored) - self._feed_forward(0)
        return self.matrices - missed * idle

    @property
    def attention_layers(self) -> int:
        """Layers that keep keys and values of every token."""
        return self.layers - (self.linear.layers if self.linear else 0)

    @property
    def kv_elements(self) -> int:
        """Numbers kept of one token: a key and a value for each head of each layer with attention."""
        return 2 * self.attention_layers * self.kv_heads * self.head_dim

    @property
    def vectors(self) -> int:
        """Weights outside projections and embeddings: norms, biases, convolutions."""
        width = self.heads * self.head_dim
        attention = 2 * self.head_dim if self.qk_norm else 0
        attention += width + 2 * self.kv_heads * self.head_dim if self.qkv_bias else 0
        attention += self.hidden if self.out_bias else 0
        mlp = 2 * self.intermediate + self.hidden if self.mlp_bias else 0
        linear = self.linear.layers * self.linear.vectors if self.linear else 0
        return self.layers * (2 * self.hidden + mlp) + self.attention_layers * attention + linear + self.hidden

    @property
    def _attention(self) -> int:
        queries = self.heads * self.head_dim * (2 if self.gated else 1)
        return self.hidden * (queries + (self.heads + 2 * self.kv_heads) * self.head_dim)

    @property
    def _experts_stored(self) -> int:
        return self.experts.count if self.experts else 0

    @property
    def _experts_read(self) -> int:
        return self.experts.active if self.experts else 0

    def _feed_forward(self, experts: int) -> int:
        """Weights of all feed-forward blocks, with so many experts in each that has any."""
        block = 3 * self.hidden
        if self.experts is None:
            return self.layers * block * self.intermediate
        each = block * (experts * self.experts.intermediate + self.experts.shared) + self.hidden * self.experts.count
        each += self.hidden if self.experts.shared else 0
        dense = self.experts.dense_layers
        return dense * block * self.intermediate + (self.layers - dense) * each


_QWEN2 = frozenset({"Qwen2ForCausalLM"})
_LLAMA = frozenset({"LlamaForCausalLM"})
_QWEN3 = frozenset({"Qwen3ForCausalLM", "Qwen3MoeForCausalLM"})
_QWEN35 = frozenset({"Qwen3_5MoeForCausalLM", "Qwen3_5MoeForConditionalGeneration"})
_EXACT = _QWEN2 | _LLAMA | _QWEN3 | _QWEN35


def architecture_of(config: Mapping[str, Any]) -> Architecture:
    """The shape that a Hugging Face config.json states. Other families are read by the same names, as an estimate.

    Raises:
        ValueError: a field is missing or no sensible number; one sentence.
    """
    names = config.get("architectures")
    name = names[0] if isinstance(names, list) and names and isinstance(names[0], str) else "unknown"
    inner = config.get("text_config")
    fields = _Fields({**config, **inner} if isinstance(inner, Mapping) else config)
    hidden, heads = (fields.whole(key) for key in ("hidden_size", "num_attention_heads"))
    layers = fields.whole("num_hidden_layers", most=_MOST_LAYERS)
    experts = _experts(fields, layers)
    return Architecture(
        model_class=name,
        layers=layers,
        hidden=hidden,
        heads=heads,
        kv_heads=fields.whole("num_key_value_heads", heads),
        head_dim=fields.whole("head_dim", max(1, hidden // heads)),
        intermediate=fields.whole("intermediate_size", experts.intermediate if experts else None),
        vocabulary=fields.whole("vocab_size"),
        context=fields.whole("max_position_embeddings"),
        tied=fields.flag("tie_word_embeddings"),
        qkv_bias=name in _QWEN2 or fields.flag("attention_bias"),
        out_bias=name not in _QWEN2 and fields.flag("attention_bias"),
        mlp_bias=name in _LLAMA and fields.flag("mlp_bias"),
        qk_norm=name in _QWEN3 | _QWEN35,
        gated=name in _QWEN35,
        experts=experts,
        linear=_linear(fields, layers),
        sliding_window=fields.whole("sliding_window") if fields.flag("use_sliding_window") else None,
        exact=name in _EXACT,
    )


def read_config(folder: Path) -> dict[str, Any]:
    """The config.json in a folder.

    Raises:
        ValueError: there is none, or it is not JSON; one sentence.
    """
    path = folder / "config.json"
    try:
        return dict(json.loads(path.read_text("utf-8")))
    except FileNotFoundError:
        raise ValueError(f"{folder} has no config.json; name the folder that holds the model's files") from None
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror or error}") from None
    except (TypeError, ValueError, RecursionError):
        raise ValueError(f"{path} is not a JSON object; fetch the model's files again") from None


@dataclass(frozen=True, slots=True)
class _Fields:
    config: Mapping[str, Any]

    def whole(self, key: str, default: int | None = None, most: int = 10**9) -> int:
        """A number of at least 1; the default where it is missing or null."""
        value = self.config.get(key)
        if value is None and default is not None:
            return default
        if value is None:
            raise ValueError(f"the config has no {key!r}; it is not that of a language model that can be sized")
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value < most:
            raise ValueError(f"{key!r} in the config is {value!r:.40}, which is no usable whole number")
        return value

    def flag(self, key: str) -> bool:
        return self.config.get(key) is True


_MOST_LAYERS = 10_000
"""No model has so many layers, and no dimension of one is a billion; what is larger is a mistake."""


def _experts(fields: _Fields, layers: int) -> Experts | None:
    count = fields.config.get("num_experts") or fields.config.get("num_local_experts")
    if not count:
        return None
    step = fields.whole("decoder_sparse_step", 1)
    listed = fields.config.get("mlp_only_layers")
    dense = listed if isinstance(listed, list) else []
    return Experts(
        count=_Fields({"num_experts": count}).whole("num_experts"),
        active=fields.whole("num_experts_per_tok"),
        intermediate=fields.whole("moe_intermediate_size", fields.config.get("intermediate_size")),
        shared=fields.whole("shared_expert_intermediate_size", 0),
        dense_layers=sum(index in dense or (index + 1) % step > 0 for index in range(layers)),
    )


def _linear(fields: _Fields, layers: int) -> LinearAttention | None:
    if "linear_num_value_heads" not in fields.config:
        return None
    kinds = fields.config.get("layer_types")
    full = layers // fields.whole("full_attention_interval", 4)
    count = sum(kind == "linear_attention" for kind in kinds) if isinstance(kinds, list) else layers - full
    if count >= layers:
        raise ValueError("no layer in the config has attention; such a model cannot be sized here")
    return LinearAttention(
        layers=count,
        key_heads=fields.whole("linear_num_key_heads"),
        value_heads=fields.whole("linear_num_value_heads"),
        key_dim=fields.whole("linear_key_head_dim"),
        value_dim=fields.whole("linear_value_head_dim"),
        kernel=fields.whole("linear_conv_kernel_dim"),
    )
