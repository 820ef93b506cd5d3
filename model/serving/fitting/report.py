"""What a plan's speed and cost come to, as lines for people and figures for programs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from model.serving.fitting import cost
from model.serving.fitting.cost import Decode, Price, Saving
from model.serving.plan import Plan

TYPICAL = 16_384
"""Tokens of context that a step is reckoned with where the user names none; our choice."""
_UNKNOWN = "speed     not reckoned, as the bandwidth here is not known; kat doctor --engine URL measures it"


@dataclass(frozen=True, slots=True)
class Report:
    """A plan's figures; all but the plan are None where bandwidth or peak of the GPUs are not known.

    `alone` is a step for one user, `together` one for all; `served` says how many get `speed` tokens a second each.
    """

    plan: Plan
    alone: Decode | None
    together: Decode | None
    prefill: float | None
    speed: float
    served: int | None
    price: Price | None
    savings: tuple[Saving, ...]
    measured: bool

    @property
    def lines(self) -> tuple[str, ...]:
        """For people."""
        return tuple(_lines(self))

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        plan = self.plan
        steps = {name: _step(step) for name, step in (("alone", self.alone), ("together", self.together)) if step}
        return {
            **plan.figures,
            "contexts": round(plan.users, 2),
            "licence": plan.model.licence,
            "lines": plan.lines,
            "steps": steps,
            "prefill_tokens_per_second": self.prefill and round(self.prefill),
            "users_at_speed": self.served,
            "speed": self.speed,
            "price": self.price and asdict(self.price),
            "savings": [asdict(each) for each in self.savings],
        }


def reported(
    plan: Plan, users: int, hour: float | None, speed: float, saved: float | None, context: int | None = None
) -> Report:
    """The figures of a plan for so many users; `hour` is the price of all GPUs, `saved` AutoThink's measured saving.

    `context` is how many tokens each conversation is reckoned with.
    """
    shares = cost.PUBLISHED_SAVING if saved is None else (saved,)
    if not cost.known_speed(plan):
        savings = tuple(cost.saving(share, None) for share in shares)
        return Report(plan, None, None, None, speed, None, None, savings, saved is not None)
    context = context or min(plan.context, TYPICAL)
    together = cost.decode(plan, users, context)
    price = None if hour is None else cost.price(plan, together, hour)
    return Report(
        plan=plan,
        alone=cost.decode(plan, 1, context),
        together=together,
        prefill=cost.prefill(plan, context) * plan.data_parallel,
        speed=speed,
        served=cost.served(plan, context, speed) * plan.data_parallel,
        price=price,
        savings=tuple(cost.saving(share, price) for share in shares),
        measured=saved is not None,
    )


def _step(step: Decode) -> dict[str, Any]:
    return {
        "users": step.users,
        "context": step.context,
        "tokens_per_second_each": round(step.each, 1),
        "tokens_per_second": round(step.all, 1),
        "limit": step.limit,
        "seconds": step.seconds,
    }


def _lines(report: Report) -> Iterator[str]:
    if report.alone is None or report.together is None or report.prefill is None:
        yield _UNKNOWN
    else:
        yield from _speed(report.plan, report.alone, report.together, report.prefill)
        yield (
            f"users     {report.served} at {report.speed:g} tokens/s each, "
            f"with {report.alone.context:,} tokens of context"
        )
    if report.price:
        yield (
            f"price     {report.price.hour:g} an hour = {report.price.written:.2f} for a million tokens written, "
            f"{report.price.read:.2f} for a million of prompts read"
        )
    yield from _savings(report)


def _speed(plan: Plan, alone: Decode, together: Decode, prefill: float) -> Iterator[str]:
    shape, gpu = plan.model.architecture, plan.machine.gpus[0]
    assert shape is not None
    read = cost.weights_read(shape, plan.quantization, 1) / 1e9
    tensor = f" × {plan.tensor_parallel} GPUs" if plan.tensor_parallel > 1 else ""
    faster = f" × {cost.FASTER_IN_FP8:g} in fp8" if cost.computes_in_fp8(plan) else ""
    reached = f"({gpu.bandwidth:,.0f} GB/s{tensor} × {cost.READ:g})"
    yield f"a step    reads {read:.1f} GB of weights and each user's cache / {reached} = {1e3 * alone.memory:.1f} ms"
    peak = f"({gpu.flops:,.0f} TFLOP/s{tensor} × {cost.MATH:g}{faster})"
    count = f"2 × {shape.active / 1e9:.1f} B operations and the attention's"
    yield f"          or {count} / {peak} = {1e3 * alone.arithmetic:.2f} ms; the longer counts"
    yield f"speed     {alone.each:.0f} tokens/s for one user ({alone.limit} limits), prompts {prefill:,.0f} tokens/s"
    if together.users > 1:
        words = f"{together.each:.0f} for each of {together.users} ({together.limit} limits)"
        yield f"          {words}, {together.all:.0f} together"


def _savings(report: Report) -> Iterator[str]:
    if report.plan.model.dialect != "kat":
        return
    shares = " to ".join(f"{100 * each.share:.0f}" for each in report.savings)
    source = "measured" if report.measured else "published for KAT-V1 against DeepSeek-R1"
    tokens = " to ".join(f"{each.tokens:,.0f}" for each in report.savings)
    money = [each.money for each in report.savings if each.money is not None]
    worth = f", worth {' to '.join(f'{each:.2f}' for each in money)}" if money else ""
    yield f"AutoThink {shares} % fewer tokens ({source}): {tokens} of each million{worth}"
