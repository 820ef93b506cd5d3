"""Which attempts there are: how many, how each is drawn, which run at once, and what is told to the next ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from assistant.fix.report import AttemptLine
from assistant.fix.stages import Reproduction
from model.engine import EngineInfo
from model.format import ThinkRequest

SAMPLES = 64
"""Single lines that are drawn from a small model; our choice."""
_BATCHED = 4
_FEW = 2
"""Attempts of the agent: more where the engine serves several at the price of one; our choice."""
_COOLEST, _WARMER = 0.6, 0.2
"""Temperatures: the engine's own first, then rising from here in such steps up to 1; our choice."""
_OUTPUT_SHOWN = 2_000
"""Characters of failing output that the agent is shown at once (our choice); it can run the tests for the rest."""
_FAILING_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Plan:
    """How an attempt is drawn; `temperature` None leaves it to the settings and the engine."""

    think: ThinkRequest
    temperature: float | None = None


def attempts_for(info: EngineInfo, *, batches: bool) -> int:
    """How many attempts the agent has with this engine."""
    if info.name == "embedded":
        return 1
    return _BATCHED if batches else _FEW


def plans(count: int, think: ThinkRequest) -> list[Plan]:
    """Attempts from cool to warm; where the model may decide, the first ones do not think and the later ones do.

    A single attempt is the model's own: it decides at every step.
    """
    found = []
    for place in range(count):
        mode = think
        if think is ThinkRequest.AUTO and count > 1:
            mode = ThinkRequest.OFF if place < (count + 1) // 2 else ThinkRequest.ON
        found.append(Plan(mode, min(1.0, round(_COOLEST + _WARMER * place, 2)) if place else None))
    return found


def waves(planned: Sequence[Plan], *, batches: bool) -> list[list[Plan]]:
    """Those that run at once: all of one mode where the engine batches, so that the next can learn; else one by one."""
    if not batches:
        return [[plan] for plan in planned]
    modes = dict.fromkeys(plan.think for plan in planned)
    return [[plan for plan in planned if plan.think is mode] for mode in modes]


def fix_prompt(found: Reproduction, issue: str | None, suspects: str, tried: Sequence[AttemptLine]) -> str:
    """What the agent is told: the issue, what fails, where it may lie, and what did not work."""
    parts = []
    if issue:
        parts.append(f"The issue:\n{issue.strip()}")
    if found.failing:
        names = "\n".join(found.failing[:_FAILING_SHOWN])
        output = found.before.output.strip()[-_OUTPUT_SHOWN:]
        parts.append(f"These tests fail:\n{names}\n\nThe end of their output:\n{output}")
    if suspects:
        parts.append(f"Where the fault may lie, most suspect first:\n{suspects}")
    if failed := [attempt for attempt in tried if not attempt.fixed]:
        rows = "\n".join(f"- {lesson(attempt)}" for attempt in failed[-8:])
        parts.append(f"Earlier attempts that did not work; do something else:\n{rows}")
    parts.append("Find the cause in the code and mend it. Do not change the tests. Run the tests, then finish.")
    return "\n\n".join(parts)


def lesson(attempt: AttemptLine) -> str:
    """A failed attempt in one line."""
    changed = ", ".join(attempt.files[:3]) or "nothing"
    return " ".join(f"It changed {changed}: {attempt.why}".split())[:300]


def issue_prompt(issue: str, hint: str = "") -> str:
    """What the agent is told where no test shows the issue yet; `hint` says what was wrong with the test before."""
    return (
        f"The issue:\n{issue.strip()}\n\nAll tests pass, so none shows it yet. Write one new test, in the style and "
        "the folder of those there are, that fails because of this issue and would pass once it is mended. Change "
        f"nothing but tests. Run it to see that it fails for the right reason, then finish.\n\n{hint}".rstrip()
    )
