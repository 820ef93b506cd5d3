"""How long a stage takes: operations of a token, and what share of the peak is reached.

operations of a token = passes × (2 × active weights) + passes × 2 × layers × queries × row
passes                = 1 forward, 1 for gradients of activations, 1 for those of weights where all are trained,
                        and 1 more where blocks are computed again (PaLM, arXiv 2204.02311, appendix B)
seconds of an update  = tokens of the update × operations / (processes × peak × REACHED)
a rollout             = tokens × seconds of a step of decoding, as `kat models size` reckons them
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil

from model.architecture import Architecture
from model.serving.fitting.cost import MATH, READ
from model.serving.hardware.gpus import GpuType
from model.serving.hardware.processor import emulates_bf16
from training.estimating.memory import PROMPT, row_of
from training.estimating.weights import Weights, block
from training.settings import Distill, Fit, Recipe, Rl, StageName

REACHED = 0.36
"""The share of a GPU's bf16 peak that training reaches: torchtitan's 8 B model gets 33 to 39 % on H100s."""
WRITES = 10e9
"""Bytes a second that a core of a server reads from memory; our choice, to be measured by `kat train doctor`."""
CORES: Mapping[str, float] = {"amx_bf16": 230e9, "avx512_bf16": 90e9, "": 30e9}
"""Operations a second that training reaches on a core in bf16, by what the core can do.

The first was measured: SmolLM2-135M, one thread, 2 × 1,024 tokens in 6.47 s. The others are guesses from the width of
the units; `kat train doctor` measures this machine.
"""


EMULATED = 1e9
"""Operations a second of a core that has none of these units, in bf16: measured for products of matrices on an x86 core
with AVX2, where fp32 reached 69e9."""


@dataclass(frozen=True, slots=True)
class Device:
    """What computes: `flops` operations a second that are reached in training by one process, `peak` on paper.

    `bandwidth` is in bytes a second; `words` name it.
    """

    words: str
    flops: float
    peak: float
    bandwidth: float


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a stage goes: seconds of an update, `rollout` of them for replies, and `tokens` trained on in it."""

    tokens: int
    operations: float
    seconds: float
    rollout: float
    passes: int

    def rate(self, processes: int) -> float:
        """Tokens a second of one process."""
        return self.tokens / self.seconds / processes


def gpu_device(kind: GpuType) -> Device:
    """A GPU of a known type."""
    peak = (kind.flops or 0.0) * 1e12
    return Device(f"{kind.title} at {REACHED:.0%} of its peak", peak * REACHED, peak, kind.bandwidth * 1e9)


def cpu_device(threads: int, flags: frozenset[str], dtype: str) -> Device:
    """So many cores; fp32 takes twice as long as bf16 where the cores have units for that."""
    kind = next((name for name in CORES if name in flags), "") if dtype == "bfloat16" else ""
    slow = dtype == "bfloat16" and emulates_bf16(flags)
    core = EMULATED if slow else CORES[kind] * (0.5 if dtype == "float32" and "amx_bf16" in flags else 1.0)
    having = f" with {kind}" if kind else " that emulate bf16" * slow
    return Device(
        f"{threads} core{'s' * (threads > 1)}{having}", core * threads, core * threads / MATH, WRITES * threads
    )


def pace(recipe: Recipe, stage: StageName, fit: Fit, kept: Weights, device: Device) -> Pace:
    """How fast the stage goes on such devices."""
    passes = _passes(recipe, stage, fit, kept)
    each = passes * _forward(kept.shape, row_of(recipe, stage)) + _drafting(recipe, fit, kept)
    tokens = fit.prompts * fit.group * (PROMPT + fit.tokens) if isinstance(fit, Rl) else fit.batch
    processes = recipe.hardware.processes
    rollout = _rollout(fit, kept.shape, device, _servers(recipe, fit)) if isinstance(fit, Rl) else 0.0
    return Pace(tokens, each, tokens * each / (device.flops * processes) + rollout, rollout, passes)


def updates(fit: Fit, tokens: int | None) -> int | None:
    """How many updates there will be; None where it depends on data that are not there yet."""
    if fit.steps:
        return fit.steps
    return ceil(tokens * fit.epochs / fit.batch) if tokens else None


def _passes(recipe: Recipe, stage: StageName, fit: Fit, kept: Weights) -> int:
    if stage == "distill" and isinstance(fit, Distill) and fit.drafter_only:
        return 1
    return 2 + (kept.frozen == 0) + recipe.model.checkpointing


def _forward(shape: Architecture, row: int) -> float:
    """Operations of one token forward; on average it sees half of its row."""
    return 2 * shape.active + 2 * shape.attention_layers * shape.heads * shape.head_dim * row


def _drafting(recipe: Recipe, fit: Fit, kept: Weights) -> float:
    """Operations of the module for multi-token prediction, which reads each token `depth` times, and the head again."""
    if not isinstance(fit, Distill) or recipe.model.mtp is None:
        return 0.0
    shape = kept.shape
    once = block(shape) + 2 * shape.hidden**2 + shape.vocabulary * shape.hidden
    return 3 * 2 * recipe.model.mtp.depth * once


def _servers(recipe: Recipe, fit: Rl) -> int:
    """How many devices write replies."""
    return recipe.hardware.processes if fit.engine == "local" else max(1, recipe.hardware.serving)


def _rollout(fit: Rl, shape: Architecture, device: Device, servers: int) -> float:
    """Seconds until all replies of an update are written, each as long as it may be."""
    every, context = fit.prompts * fit.group / servers, PROMPT + fit.tokens / 2
    rounds = ceil(every / fit.rows) if fit.engine == "local" else 1
    users = every / rounds
    size = (shape.read(ceil(users)) + shape.vocabulary * shape.hidden) * 2
    memory = (size + users * context * shape.kv_elements * 2) / (device.bandwidth * READ)
    operations = users * (2 * shape.active + 4 * shape.attention_layers * shape.heads * shape.head_dim * context)
    reading = fit.prompts / servers * PROMPT * 2 * shape.active / (device.peak * MATH)
    return rounds * fit.tokens * max(memory, operations / (device.peak * MATH)) + reading
