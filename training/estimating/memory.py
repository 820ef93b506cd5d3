"""The memory that one process of a stage takes at its peak, part by part. All in bytes.

of a trained weight   16: master, gradient and two moments of Adam, in fp32 (ZeRO, arXiv 1910.02054, section 3.1)
                      18 in a single process that computes in 16 bits, which keeps the model's own weight besides
of a frozen weight    2, or 4 in fp32; both kinds are sharded over all processes (FSDP2)
of a token           layers × (16·hidden + 4·queries + 4·keys + 8·intermediate), in 16 bits
of a token, blocks recomputed: layers × 2·hidden, and the above for one layer
of the head          positions of a chunk × vocabulary × 10: logits in 16 bits and in 32, and their gradient
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from model.architecture import Architecture
from model.serving.fitting.footprint import RUNTIME, token_bytes
from model.serving.plan import GIB
from training.estimating.weights import Weights, block
from training.settings import Distill, Fit, Recipe, Rl, StageName

OPTIMISED = 16
"""Bytes of a trained weight: master, gradient and two moments, in fp32 each."""
PROMPT = 1_024
"""Tokens that a prompt of reinforcement learning is taken to have; our choice."""
GROWS = 1.25
"""The room that a cache of keys and values has at most, of what is in it (`training.decoding`)."""
ON_CPU = 0.6 * GIB
"""What Python, torch and transformers take by themselves, as seen here with torch 2.13."""
SIZES = {"bfloat16": 2, "float32": 4}


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the memory: what it is for, its bytes, and how they were reckoned."""

    name: str
    size: float
    words: str


def parts(recipe: Recipe, stage: StageName, fit: Fit, kept: Weights) -> tuple[Part, ...]:
    """What one process of a stage holds at its peak; nothing of it is loaded to know it."""
    return tuple(_parts(recipe, stage, fit, kept))


def activations(shape: Architecture, *, checkpointing: bool, size: int = 2) -> float:
    """Bytes that the forward pass of one token keeps for the backward pass, head apart.

    They are what autograd saves in transformers' Llama with scaled dot-product attention, counted tensor by tensor:
    both norms keep their input in fp32 and their result before and behind the weight; attention keeps queries, keys,
    values and its result; the feed-forward block four tensors of its width. Norms of queries and keys come on top.
    """
    each = _layer(shape) * size
    return shape.layers * shape.hidden * size + each if checkpointing else shape.layers * each


def row_of(recipe: Recipe, stage: StageName) -> int:
    """Tokens that go through the model at once: a packed row, or a whole reply behind its prompt."""
    return max(recipe.data.row, PROMPT + recipe.rl.tokens) if stage == "rl" else recipe.data.row


def _parts(recipe: Recipe, stage: StageName, fit: Fit, kept: Weights) -> Iterator[Part]:
    processes, size = recipe.hardware.processes, SIZES[recipe.model.dtype]
    split = f" / {processes} processes" if processes > 1 else ""
    frozen, shape, row = kept.frozen, kept.shape, row_of(recipe, stage)
    if frozen:
        yield Part("frozen", frozen * size / processes, f"{frozen / 1e9:.3g} B weights × {size} bytes{split}")
    each = OPTIMISED + (size if processes == 1 and size < 4 else 0)
    what = "weight, gradient, Adam" if each == OPTIMISED else "weight, master, gradient, Adam"
    words = f"{kept.trained / 1e6:,.1f} M weights × {each} bytes ({what}){split}"
    yield Part("trained", kept.trained * each / processes, words)
    if processes > 1:
        whole = (2 * block(shape) + shape.embeddings) * size
        yield Part("gathered", whole, f"two blocks and the embeddings whole, × {size} bytes")
    per = activations(shape, checkpointing=recipe.model.checkpointing, size=size)
    how = "blocks computed again" if recipe.model.checkpointing else f"{shape.layers} layers"
    yield Part("activations", row * per, f"{row:,} tokens × {per / 1024:,.0f} KiB ({how})")
    yield Part("head", fit.chunk * shape.vocabulary * (size + 8), _head_words(fit, shape, size))
    if rows := _drawn(recipe, fit):
        yield _cache(*rows, token_bytes(shape, recipe.model.dtype))
        if processes > 1:
            yield Part("decoding", kept.stored * size, f"{kept.stored / 1e9:.3g} B weights whole × {size} bytes")
    on_gpu = bool(recipe.hardware.gpus)
    yield Part("beside", RUNTIME if on_gpu else ON_CPU, "CUDA and its libraries" if on_gpu else "Python and torch")


def _head_words(fit: Fit, shape: Architecture, size: int) -> str:
    return f"{fit.chunk:,} positions × {shape.vocabulary:,} × {size + 8} bytes (logits, in fp32, gradient)"


def _drawn(recipe: Recipe, fit: Fit) -> tuple[int, int] | None:
    """How many replies the trainer's own weights draw at once, and of how many tokens they are with their prompts."""
    if isinstance(fit, Rl) and fit.engine == "local":
        mine = fit.prompts * fit.group // recipe.hardware.processes
        return max(1, min(fit.rows, mine)), PROMPT + fit.tokens
    if isinstance(fit, Distill) and fit.on_policy and fit.teacher and not fit.drafter_only:
        return 1, recipe.data.row  # the documents of a row, whose prompts they are
    return None


def _cache(rows: int, tokens: int, each: int) -> Part:
    """Each reply has its prompt beside it, and room to grow; a token of it takes `each` bytes."""
    words = f"{rows:,} replies drawn × {tokens:,} tokens × {each / 1024:,.0f} KiB × {GROWS:g}"
    return Part("cache", rows * tokens * each * GROWS, words)


def _layer(shape: Architecture) -> int:
    queries, keys = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    experts = shape.experts
    width = shape.intermediate if experts is None else experts.active * experts.intermediate + experts.shared
    normed = 3 * (queries + keys) if shape.qk_norm else 0
    return 8 * shape.hidden + 2 * queries + 2 * keys + 4 * width + normed
