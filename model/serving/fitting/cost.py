"""How fast a plan answers, and what its tokens cost: from bandwidth and arithmetic limits, with the formula shown.

A step reads the weights once and each user's cache, and multiplies each user's token with the active weights:

    seconds of a step = max(bytes read / (bandwidth × READ), operations / (peak × MATH))
    bytes read        = weights read + users × context × bytes of a token in the cache
    operations        = users × (2 × active weights + 4 × layers × heads × head size × context)
"""

from __future__ import annotations

from dataclasses import dataclass

from model.architecture import Architecture
from model.serving.fitting.footprint import KV_BYTES, bits_of
from model.serving.plan import Plan

READ = 0.65
"""The share of a GPU's bandwidth that a step of decoding reaches, measured by others (benchmarks/published.py).

On an H100, 0.65 to 0.77 for 8 B weights in bf16 and 0.53 to 0.75 in fp8, on an L4 0.79 and 0.69: a step has a part that
does not shrink with the weights. With 0.65 the 22 published steps are met within 22 %; none is of a model of 40 B.
"""
MATH = 0.5
"""The share of a GPU's 16-bit peak that reading a long prompt reaches, measured by others (benchmarks/published.py).

In bf16 0.58 on an H100, 0.44 on an L4. With 0.5 and `FASTER_IN_FP8` the 6 published waits are met within 18 %.
"""
FASTER_IN_FP8 = 1.25
"""How much faster prompts are read with weights in fp8, on GPUs that have it: 1.22 to 1.24 times by the same source.

Their peak is twice that of 16 bits; where the rest goes was not published.
"""
PUBLISHED_SAVING = (0.19, 0.40)
"""The shares of tokens that KAT-V1 is said to save against DeepSeek-R1-0528, by articles on its report; second-hand."""


@dataclass(frozen=True, slots=True)
class Decode:
    """A step that writes one token for each user, in seconds by what limits it; tokens a second of one and of all."""

    users: int
    context: int
    memory: float
    arithmetic: float
    copies: int

    @property
    def seconds(self) -> float:
        """The whole step."""
        return max(self.memory, self.arithmetic)

    @property
    def each(self) -> float:
        """Tokens a second that one user sees."""
        return 1 / self.seconds

    @property
    def all(self) -> float:
        """Tokens a second of all users together."""
        return self.users / self.seconds * self.copies

    @property
    def limit(self) -> str:
        """What limits the step."""
        return "bandwidth" if self.memory >= self.arithmetic else "arithmetic"


@dataclass(frozen=True, slots=True)
class Price:
    """What a million tokens cost at a price for an hour of all GPUs, in the currency of that price."""

    hour: float
    written: float
    read: float


@dataclass(frozen=True, slots=True)
class Saving:
    """What thinking only where it pays is worth: for a million tokens that a model that always thinks would write."""

    share: float
    tokens: float
    money: float | None


def known_speed(plan: Plan) -> bool:
    """Whether bandwidth and peak of the GPUs are known, and the model's shape."""
    gpus = plan.machine.gpus
    return bool(gpus and plan.model.architecture and all(gpu.bandwidth and gpu.flops for gpu in gpus))


def decode(plan: Plan, users: int, context: int) -> Decode:
    """A step for so many users of one copy, each with so many tokens of context. `known_speed` must hold."""
    shape = _shape(plan)
    cache = users * context * shape.kv_elements * KV_BYTES[plan.kv_dtype]
    heads = 4 * shape.attention_layers * shape.heads * shape.head_dim * context
    memory = (weights_read(shape, plan.quantization, users) + cache) / (_bandwidth(plan) * READ)
    arithmetic = users * (2 * shape.active + heads) / (_peak(plan) * MATH)
    return Decode(users, context, memory, arithmetic, plan.data_parallel)


def prefill(plan: Plan, context: int) -> float:
    """Tokens of a prompt that a copy reads in a second; on average, each sees half of the context."""
    shape = _shape(plan)
    heads = 4 * shape.attention_layers * shape.heads * shape.head_dim * context / 2
    return _peak(plan) * plan.pipeline_parallel * MATH / (2 * shape.active + heads)


def weights_read(shape: Architecture, quantization: str | None, users: int) -> float:
    """Bytes of weights that a step reads; of a mixture of experts, those that some user's token is sent to."""
    head = shape.vocabulary * shape.hidden
    return shape.read(users) * bits_of(quantization) / 8 + (head + shape.vectors) * 2


def served(plan: Plan, context: int, least: float) -> int:
    """How many users of a copy each get at least so many tokens a second, and have room for their context."""
    few, many = 0, plan.kv_tokens // context
    while few < many:
        middle = (few + many + 1) // 2
        few, many = (middle, many) if decode(plan, middle, context).each >= least else (few, middle - 1)
    return few


def price(plan: Plan, step: Decode, hour: float) -> Price:
    """The price of a million tokens while all users write, or while only prompts are read."""
    read = prefill(plan, step.context) * plan.data_parallel
    return Price(hour, 1e6 * hour / 3600 / step.all, 1e6 * hour / 3600 / read)


def saving(share: float, cost: Price | None) -> Saving:
    """What a share of fewer tokens is worth."""
    return Saving(share, share * 1e6, share * cost.written if cost else None)


def _shape(plan: Plan) -> Architecture:
    if plan.model.architecture is None:
        raise ValueError(f"the shape of {plan.model.name} is not known")
    return plan.model.architecture


def computes_in_fp8(plan: Plan) -> bool:
    """Whether the GPUs multiply in fp8; others only keep such weights in it."""
    return plan.quantization == "fp8" and all(gpu.fp8 for gpu in plan.machine.gpus)


def _bandwidth(plan: Plan) -> float:
    """Bytes a second of the GPUs that work at once on a step: one stage of a pipeline."""
    slowest = min((gpu.bandwidth or 0.0 for gpu in plan.machine.gpus), default=0.0)
    return slowest * 1e9 * plan.tensor_parallel


def _peak(plan: Plan) -> float:
    """Operations a second of those GPUs, as the precision allows."""
    slowest = min((gpu.flops or 0.0 for gpu in plan.machine.gpus), default=0.0)
    return slowest * 1e12 * plan.tensor_parallel * (FASTER_IN_FP8 if computes_in_fp8(plan) else 1)
