"""How well the arithmetic of `kat models size` agrees with what others measured on real GPUs; needs no GPU itself.

    python benchmarks/published.py [--json]

The H100's figures are facts out of the data set github.com/tgarg01/silybench-data (CC BY 4.0, commit 93e4887,
`perf_points.csv` and `runs.csv`): Qwen3-8B, which is HiPO-8B's shape, on one H100 80GB SXM with vLLM 0.30.0,
`--gpu-memory-utilization 0.9 --max-model-len 16384`, in bf16 and with `--quantization fp8`; prompts and replies have
exactly the lengths named. A step is the median time between two tokens, a prompt's time the 95th percentile of the wait
for the first token of a single user. The L4's are from the model card of ishita-codes-ai/Qwen3-1.7B-FP8-Dynamic: the
same with Qwen3-1.7B and vLLM 0.30.0.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass

from model.catalog import resolve
from model.serving.fitting import cost
from model.serving.fitting.sizing import plan as planned
from model.serving.hardware.devices import asked_machine
from model.serving.plan import Plan, Wish

CONTEXT = 16_384
SHARE = 0.9


@dataclass(frozen=True, slots=True)
class Setting:
    """What was measured: a model of the catalogue, a GPU, the precision of the weights (`none` is bf16)."""

    model: str
    gpu: str
    quantization: str

    def plan(self) -> Plan:
        """As `kat serve` would run it, with the options of those who measured."""
        wish = Wish(context=CONTEXT, quantization=self.quantization, memory_share=SHARE)
        return planned(resolve(self.model), asked_machine(self.gpu), wish)


@dataclass(frozen=True, slots=True)
class Check:
    """A figure that was measured and the one of our arithmetic."""

    what: str
    measured: float
    ours: float

    @property
    def error(self) -> float:
        """How far ours is off; 0.1 is a tenth too much."""
        return self.ours / self.measured - 1


H100 = {q: Setting("HiPO-8B", "h100:1", q) for q in ("none", "fp8")}
L4 = {q: Setting("HiPO-1.7B", "l4:1", q) for q in ("none", "fp8")}
CACHE = {"none": 377_024, "fp8": 430_272}
"""Tokens of KV cache that vLLM reported on the H100."""
STEPS: dict[str, dict[tuple[int, int, int], float]] = {
    "none": {
        (1, 128, 1_024): 6.858, (16, 128, 1_024): 7.530, (64, 128, 1_024): 9.494, (256, 128, 1_024): 18.084,
        (1, 2_048, 2_048): 6.998, (16, 2_048, 2_048): 9.464, (64, 2_048, 2_048): 17.053,
        (1, 8_192, 512): 7.301, (4, 8_192, 512): 8.617, (10, 8_192, 512): 11.779,
    },
    "fp8": {
        (1, 128, 1_024): 4.662, (16, 128, 1_024): 5.251, (64, 128, 1_024): 7.260, (256, 128, 1_024): 16.129,
        (1, 2_048, 2_048): 4.796, (16, 2_048, 2_048): 7.217, (64, 2_048, 2_048): 14.806,
        (1, 8_192, 512): 5.104, (4, 8_192, 512): 6.425, (10, 8_192, 512): 9.506,
    },
}  # fmt: skip
"""Milliseconds of a step on the H100, by users and tokens of prompt and reply."""
PROMPTS = {"none": {2_048: 61.3, 8_192: 253.9}, "fp8": {2_048: 50.3, 8_192: 205.1}}
"""Milliseconds until the first token of one user on the H100, by tokens of the prompt."""
ON_L4 = {"none": (14.72, 692.0), "fp8": (10.08, 566.0)}
"""Milliseconds of a step of one user on the L4, and until the first token of a prompt of 8,192 tokens."""


def checks() -> list[Check]:
    """Everything that was measured, beside ours."""
    found = []
    for quantization, setting in H100.items():
        plan, name = setting.plan(), f"{setting.model} {quantization.replace('none', 'bf16')} {setting.gpu}"
        found.append(Check(f"{name}: tokens in the cache", CACHE[quantization], plan.kv_tokens))
        for (users, prompt, written), step in STEPS[quantization].items():
            ours = cost.decode(plan, users, prompt + written // 2).seconds * 1e3
            found.append(Check(f"{name}: ms a step, {users} × {prompt:,}+{written:,}", step, round(ours, 2)))
        found += [_prompt(name, plan, tokens, first) for tokens, first in PROMPTS[quantization].items()]
    for quantization, (step, first) in ON_L4.items():
        plan, name = L4[quantization].plan(), f"HiPO-1.7B {quantization.replace('none', 'bf16')} l4:1"
        found.append(Check(f"{name}: ms a step, 1 user", step, round(cost.decode(plan, 1, 512).seconds * 1e3, 2)))
        found.append(_prompt(name, plan, 8_192, first))
    return found


def _prompt(name: str, plan: Plan, tokens: int, first: float) -> Check:
    """A prompt takes its reading, and the step that writes the first token."""
    ours = 1e3 * (tokens / cost.prefill(plan, tokens) + cost.decode(plan, 1, tokens).seconds)
    return Check(f"{name}: ms to the first token behind {tokens:,}", first, round(ours, 1))


def main() -> int:
    """Print a line for each figure, and the largest error of each kind."""
    found = checks()
    if "--json" in sys.argv:
        print(json.dumps([{**asdict(check), "error": round(check.error, 3)} for check in found]))
        return 0
    for check in found:
        print(f"{check.what:62}{check.measured:>10,.10g}{check.ours:>10,.10g}{check.error:>+7.0%}")
    for kind in ("cache", "step", "first"):
        worst = max(abs(check.error) for check in found if kind in check.what.partition(":")[2])
        print(f"largest error, {kind}: {worst:.0%}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
