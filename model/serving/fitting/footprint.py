"""What a model takes of memory: weights, cache of keys and values, and what an engine needs beside them. In bytes."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from model.architecture import Architecture
from model.serving.plan import GIB, Gpu

BITS = {"bf16": 16.0, "fp8": 8.0, "int8": 8.125, "mixed": 8.125, "int4": 4.156, "awq": 4.156, "gptq": 4.156}
"""Bits of a weight in the projections: the number itself, and its part of a group of 128's scale (16) and zero (4).

`mixed` is int4 and int8 layers in shares that are not published, so all are counted with 8.
"""
KV_BYTES = {"auto": 2, "bfloat16": 2, "float16": 2, "fp8": 1, "fp8_e4m3": 1, "fp8_e5m2": 1, "float32": 4}
"""Bytes of a number in the cache; `auto` is the model's own 16 bits, `float32` what a CPU may compute with instead."""
KV_NAMES = {1: "fp8", 2: "16 bits", 4: "32 bits"}
"""What to call numbers of so many bytes."""
RUNTIME = 0.75 * GIB
"""What CUDA, its libraries and recorded graphs take on each GPU; our choice, on the careful side."""
LOGITS = 3
"""Copies of a step's logits that drawing takes: themselves, sorted, as probabilities; our estimate.

With 3 the two caches of benchmarks/published.py come out 1 and 3 % too large, which is why contexts get 90 % at most.
"""
HIDDEN_COPIES = 4
"""Copies of a step's hidden states that are alive at once; our estimate."""
BLOCK = 16
"""Tokens in a block of vLLM's cache."""
LORA_RANK = 64
"""The rank that room for adapters is reserved with; our choice."""


@dataclass(frozen=True, slots=True)
class Split:
    """How one copy is spread: every layer over `tensor` GPUs, layers over `pipeline` stages."""

    tensor: int = 1
    pipeline: int = 1

    @property
    def gpus(self) -> int:
        """GPUs of one copy."""
        return self.tensor * self.pipeline


@dataclass(frozen=True, slots=True)
class Batch:
    """The most that vLLM computes in one step: `tokens` of `requests`."""

    tokens: int
    requests: int


@dataclass(frozen=True, slots=True)
class Overhead:
    """What one GPU holds beside weights and cache, in bytes."""

    runtime: float
    activations: float
    logits: float
    adapters: float
    states: float

    @property
    def total(self) -> float:
        """All of it."""
        return self.runtime + self.activations + self.logits + self.adapters + self.states


def weight_bytes(shape: Architecture, quantization: str | None) -> float:
    """All weights: projections in the precision asked for, embeddings and norms in 16 bits."""
    return shape.matrices * bits_of(quantization) / 8 + (shape.embeddings + shape.vectors) * 2


def bits_of(quantization: str | None) -> float:
    """Bits of a weight in the projections; 16, the most that it can be, where the packing is not known here."""
    return BITS.get(quantization or "bf16", BITS["bf16"])


def weight_share(shape: Architecture, quantization: str | None, split: Split) -> float:
    """The weights of the fullest GPU; a stage at an end of the pipeline holds an embedding too."""
    layers = ceil(shape.layers / split.pipeline) / shape.layers
    inner = weight_bytes(shape, quantization) - shape.embeddings * 2
    return (inner * layers + shape.embeddings * 2) / split.tensor


def token_bytes(shape: Architecture, kv_dtype: str, split: Split = Split()) -> int:
    """One token in the cache of one GPU; a head is copied where there are more GPUs than heads."""
    layers = ceil(shape.attention_layers / split.pipeline)
    heads = max(1, shape.kv_heads // split.tensor)
    return 2 * layers * heads * shape.head_dim * KV_BYTES[kv_dtype]


def batch_of(gpu: Gpu) -> Batch:
    """vLLM 0.32's defaults for its server (`EngineArgs.get_batch_defaults`)."""
    if gpu.memory >= 160:
        return Batch(16_384, 1_024)
    if gpu.memory >= 70 and "a100" not in gpu.name.casefold():
        return Batch(8_192, 1_024)
    return Batch(2_048, 256)


def overhead(shape: Architecture, batch: Batch, split: Split, adapters: int = 0, users: int = 1) -> Overhead:
    """What each GPU needs beside weights and cache, at the peak of a step; an estimate.

    Layers with linear attention keep a state of each user's conversation.
    """
    inner = 3 * _feed_forward(shape) / split.tensor + HIDDEN_COPIES * shape.hidden
    return Overhead(
        RUNTIME,
        batch.tokens * inner * 2,
        LOGITS * batch.requests * shape.vocabulary * 4,
        adapters * LORA_RANK * _adapter_width(shape, split) * 2,
        users * shape.linear.state / split.gpus if shape.linear else 0.0,
    )


def _feed_forward(shape: Architecture) -> int:
    experts = shape.experts
    return experts.active * experts.intermediate + experts.shared if experts else shape.intermediate


def _adapter_width(shape: Architecture, split: Split) -> float:
    """Numbers of an adapter of rank 1 on a GPU: inputs and outputs of all projections; vLLM has slots for all experts.

    Of each projection one side is as wide as the model, and that one is not spread over GPUs.
    """
    queries, keys = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    experts = shape.experts
    blocks = experts.count if experts else 1
    width = blocks * experts.intermediate + experts.shared if experts else shape.intermediate
    whole = (4 + 3 * blocks) * shape.hidden
    return shape.layers / split.pipeline * (whole + (2 * queries + 2 * keys + 3 * width) / split.tensor)


def splits(shape: Architecture, most: int, quantization: str | None) -> list[int]:
    """The numbers of GPUs, up to `most`, that a layer can be spread over, fewest first."""
    return [count for count in range(1, most + 1) if not split_problem(shape, count, quantization)]


def split_problem(shape: Architecture, count: int, quantization: str | None) -> str:
    """Why a layer cannot be spread over so many GPUs, or nothing."""
    if shape.heads % count:
        return f"its {shape.heads} attention heads cannot be divided by {count}"
    if shape.kv_heads % count and count % shape.kv_heads:
        return f"its {shape.kv_heads} key and value heads cannot be spread over {count}"
    width = shape.experts.intermediate if shape.experts else shape.intermediate
    if width % count:
        return f"its feed-forward width of {width} cannot be divided by {count}"
    if quantization in ("int4", "awq", "gptq", "mixed") and width // count % _GROUP:
        return f"the groups of {_GROUP} weights that its build is packed in do not divide by {count}"
    return ""


_GROUP = 128
"""Weights that share a scale in AWQ and GPTQ files, by default."""
