"""Updates of this project on one GPU, alone, beside what others published: tokens a second, share of the peak, memory.

    python benchmarks/train.py --device cuda [--weights FOLDER] [--cases grpo,sft,rl]

SmolLM2-135M with all weights trained, fp32 masters and AdamW; and an 8 B Llama of random weights under a LoRA, where
peft is there (speed and memory do not depend on what the weights are). Times by the clock, the device synchronised.
The share of the peak counts what the mathematics needs (6 operations a weight and token, 4 under a LoRA, and those of
causal attention within a row), not what checkpointing does twice.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from training.estimating.marks import MARKS
from training.examples import IGNORED, Place
from training.head import Head, LossModel, TokenLogprob, compact
from training.losses import CrossEntropy
from training.models.loading import load
from training.models.lora import adapted
from training.models.masters import Masters
from training.packing import Batch
from training.projection import each
from training.runtime.fitting import Losses
from training.sampling import Ask, Limits, Sampler
from training.settings import Lora, ModelTable

PEAKS = {"H100": 989.5e12, "H200": 989.5e12, "A100": 312e12}
"""Operations a second in bf16, without sparsity, by NVIDIA's data sheets."""
WARM, TIMES = 2, 5
DOCUMENTS = 4
"""In each packed row."""
PROMPT, REPLY = 960, 64
MIB = 2**20
LARGE = LlamaConfig(
    vocab_size=128_256, hidden_size=4096, intermediate_size=14_336, num_hidden_layers=32, num_attention_heads=32,
    num_key_value_heads=8, max_position_embeddings=8192, tie_word_embeddings=False,
)  # fmt: skip
"""The dimensions of Llama 3.1 8B."""


@dataclass(frozen=True, slots=True)
class Line:
    """Medians of one kind of update; `share` is that of the GPU's peak, NaN where it is not known or not meant."""

    what: str
    seconds: float
    speed: float
    share: float
    peak: float


class Ratios:
    """The loss of policy gradients as `LossModel` takes it; advantages are 1, old log-probabilities the new ones."""

    def counts(self, batch: Batch) -> dict[str, float]:
        """Tokens of the replies."""
        return {"tokens": float(batch.tokens)}

    def __call__(self, hidden: Tensor, head: Head, batch: Batch, totals: Any) -> Losses:
        """The contribution of a batch."""
        rows, targets = compact(hidden, batch.targets)
        logprobs, _ = each(TokenLogprob(), rows, head, targets)
        return Losses(-(logprobs - logprobs.detach()).exp().sum() / totals["tokens"])


def measured(source: str, cases: Sequence[str]) -> list[Line]:
    """The lines of these cases."""
    found: list[Line] = []
    small = load(ModelTable(source=source), device="cuda").model
    if "sft" in cases:
        found += [fitted("cold start, SmolLM2-135M, 16 × 2,048, 40 % in the loss", small, packed(small, 16, 2048, 0.6))]
        found += [fitted("cold start, SmolLM2-135M, 16 × 2,048, all in the loss", small, packed(small, 16, 2048, 0.0))]
    if "grpo" in cases:
        for rows in (2, 32):
            batch = packed(small, rows, PROMPT + REPLY, PROMPT / (PROMPT + REPLY), documents=1)
            found.append(fitted(f"GRPO update, SmolLM2-135M, {rows} × (960 + 64)", small, batch, Ratios()))
    if "rl" in cases:
        found += [step(small, prompts) for prompts in (1, 8)]
    del small
    if "sft" in cases and find_spec("peft"):
        model = large()
        found.append(fitted("cold start, 8 B Llama, LoRA 16, 4 × 2,048", model, packed(model, 4, 2048, 0.6)))
    return found


def large() -> Any:
    """8 B random weights with an adapter on them, blocks computed again in the backward pass."""
    with torch.device("cuda"):
        plain = LlamaForCausalLM._from_config(LARGE, dtype=torch.bfloat16, attn_implementation="sdpa")  # noqa: SLF001
    plain.requires_grad_(False)
    model = adapted(plain, Lora())
    model.gradient_checkpointing_enable({"use_reentrant": False})
    model.enable_input_require_grads()
    return model.train()


def packed(model: Any, rows: int, width: int, prompts: float, documents: int = DOCUMENTS) -> Batch:
    """Rows of random tokens, documents of the same length in them, of each of which `prompts` carries no loss."""
    torch.manual_seed(0)
    ids = torch.randint(5, model.config.vocab_size - 5, (rows, width), device="cuda")
    steps = torch.arange(width, device="cuda").expand(rows, width)
    length = width // documents
    targets = ids.roll(-1, 1).masked_fill(steps % length < round(prompts * length), IGNORED)
    targets = targets.masked_fill(steps % length == length - 1, IGNORED)
    places = torch.where(targets == IGNORED, int(Place.PROMPT), int(Place.ANSWER))
    return Batch(ids, steps % length, steps // length, targets, places)


def fitted(what: str, model: Any, batch: Batch, objective: Any = None) -> Line:
    """Forward, backward and AdamW on fp32 masters."""
    loss = LossModel(model, objective or CrossEntropy())
    totals = loss.counts(batch)
    seconds, peak = timed(model, lambda: loss(batch, totals).total.backward())
    speed = batch.ids.numel() / seconds
    return Line(what, seconds, speed, speed * operations(model, batch) / (_peak() or float("nan")), peak)


def operations(model: Any, batch: Batch) -> float:
    """Of a token, as PaLM counts them (arXiv 2204.02311, appendix B), the head's only where there is loss."""
    config = model.config
    total = sum(weight.numel() for weight in model.parameters())
    tables = config.vocab_size * config.hidden_size * (1 if config.tie_word_embeddings else 2)
    head = config.vocab_size * config.hidden_size * batch.tokens / batch.ids.numel()
    passes = 3 if all(weight.requires_grad for weight in model.parameters()) else 2
    reach = float((batch.positions + 1).float().mean())
    attention = 2 * config.num_hidden_layers * config.hidden_size * reach  # keys and values, for one multiplication
    found: float = 2 * passes * (total - tables + head + attention)
    return found


def step(model: Any, prompts: int) -> Line:
    """A whole step: 8 replies of 64 tokens to each prompt of 960, their reward, the update. Tokens are the rows'."""
    loss = LossModel(model, Ratios())
    ids = packed(model, prompts, PROMPT, 0.0, documents=1).ids.tolist()
    asks = [Ask(tuple(prompt)) for prompt in ids for _ in range(8)]

    def update() -> None:
        drawn = Sampler(model, (), 0).draw(asks, Limits(REPLY))
        rows = torch.tensor([[*ask.prompt, *one.ids] for ask, one in zip(asks, drawn, strict=True)], device="cuda")
        steps = torch.arange(rows.shape[1], device="cuda").expand_as(rows)
        targets = rows.roll(-1, 1).masked_fill((steps < PROMPT - 1) | (steps == rows.shape[1] - 1), IGNORED)
        places = torch.where(targets == IGNORED, int(Place.PROMPT), int(Place.ANSWER))
        batch = Batch(rows, steps, torch.zeros_like(rows), targets, places)
        loss(batch, loss.counts(batch)).total.backward()

    seconds, peak = timed(model, update)
    speed = len(asks) * (PROMPT + REPLY) / seconds
    return Line(f"whole RL step, SmolLM2-135M, {len(asks)} replies of 64", seconds, speed, float("nan"), peak)


def timed(model: Any, backward: Callable[[], None]) -> tuple[float, float]:
    """Median seconds of an update with AdamW on fp32 masters, and the peak of memory in MiB."""
    masters = Masters(model.parameters())
    optimizer = torch.optim.AdamW(masters.parameters, lr=1e-6, fused=True)
    torch.cuda.reset_peak_memory_stats()
    taken = []
    for _ in range(WARM + TIMES):
        torch.cuda.synchronize()
        began = time.perf_counter()
        backward()
        optimizer.step()
        masters.give_back()
        optimizer.zero_grad()
        torch.cuda.synchronize()
        taken.append(time.perf_counter() - began)
    masters.close()
    return statistics.median(taken[WARM:]), torch.cuda.max_memory_allocated() / MIB


def table(found: Sequence[Line]) -> Iterator[str]:
    """Markdown, with the marks of others below."""
    yield "| update | s | tokens/s | of the peak | peak MiB |"
    yield "|---|---|---|---|---|"
    for one in found:
        share = f"{one.share:.0%}" if one.share == one.share else ""
        yield f"| {one.what} | {one.seconds:.3f} | {one.speed:,.0f} | {share} | {one.peak:,.0f} |"
    yield ""
    yield from (f"{mark.line}  " for mark in MARKS)


def about() -> str:
    """One line about the GPU."""
    return f"{torch.cuda.get_device_name()}, torch {torch.__version__}"


def _peak() -> float:
    name = torch.cuda.get_device_name()
    return next((peak for part, peak in PEAKS.items() if part in name), 0.0)
