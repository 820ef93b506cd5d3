"""Whether a run ends with a step, and what to say of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from assistant.draft import Draft
from assistant.events import RunStatus
from assistant.think import TOO_LONG

_REPORTS = {
    "empty": "The model's reply held no answer, twice in a row; is --dialect right for this model?",
    "leaked_call": "The model wrote a tool call as text, twice in a row; is --dialect right for this model?",
    TOO_LONG: "The reply reached its limit of tokens, twice in a row; raise max_tokens, or ask for less at once.",
    "broken_call": "The model's calls cannot be read, twice in a row; is --dialect right for this model?",
}


@dataclass(frozen=True, slots=True)
class Limits:
    """What one message may take: steps, tokens that the model writes, and seconds; None: no limit."""

    steps: int
    tokens: int | None = None
    seconds: float | None = None


@dataclass(slots=True)
class Ending:
    """Watches one run. What is wrong with a reply is mended once by asking again, then it is reported."""

    limits: Limits
    clock: Callable[[], float] = time.monotonic
    started: float = field(init=False)
    steps: int = 0
    tokens: int = 0
    repaired: bool = False

    def __post_init__(self) -> None:
        self.started = self.clock()

    def of(self, draft: Draft, *, more: bool, draining: bool, elsewhere: int = 0) -> tuple[RunStatus | None, str]:
        """How the run ends with this step; None goes on. `more` says that the user has said something meanwhile.

        `elsewhere` are the tokens that sub-agents of this run have written so far.
        """
        self.steps += 1
        self.tokens += draft.tokens.written
        if (end := self._at_once(draft)) is not None:
            return end
        fault = _fault(draft)
        if fault and self.repaired:
            return RunStatus.FAILED, _REPORTS[fault]
        self.repaired = bool(fault)
        if not fault and not more and (draft.farewell is not None or not draft.calls):
            return RunStatus.DONE, draft.farewell or ""
        if draining:
            return RunStatus.STOPPED, f"Stopped after step {draft.index}."
        return self._limited(elsewhere)

    def left(self, steps: int, elsewhere: int) -> Limits:
        """What is left of the limits for a sub-agent that may take so many steps."""
        limits = self.limits
        tokens = None if limits.tokens is None else max(0, limits.tokens - self.tokens - elsewhere)
        seconds = None if limits.seconds is None else max(0.0, limits.seconds - (self.clock() - self.started))
        return Limits(steps, tokens, seconds)

    def given_up(self, draft: Draft) -> tuple[RunStatus, str]:
        """The run went round in circles, and the user had enough or could not be asked."""
        return RunStatus.STOPPED, f"Stopped after step {draft.index}, because the run went round in circles."

    def _at_once(self, draft: Draft) -> tuple[RunStatus, str] | None:
        if draft.cut == "stopped" or any(outcome.outcome == "stopped" for outcome in draft.outcomes):
            return RunStatus.STOPPED, "Stopped; what came is kept."
        if draft.cut is not None and not draft.fault:
            return RunStatus.FAILED, f"The reply was cut: {draft.cut}."
        return None

    def _limited(self, elsewhere: int) -> tuple[RunStatus | None, str]:
        limits = self.limits
        if self.steps >= limits.steps:
            return RunStatus.LIMIT, "The limit on steps is reached; say 'go on' to continue."
        if limits.tokens is not None and self.tokens + elsewhere >= limits.tokens:
            return RunStatus.LIMIT, f"The limit of {limits.tokens:,} tokens is reached; say 'go on' to continue."
        if limits.seconds is not None and self.clock() - self.started >= limits.seconds:
            return RunStatus.LIMIT, f"The limit of {limits.seconds:g} s is reached; say 'go on' to continue."
        return None, ""


def _fault(draft: Draft) -> str:
    """What was wrong with the reply: nothing in it, a call as text, or no call that can be read."""
    broken = bool(draft.calls) and all(planned.call.error is not None for planned in draft.calls)
    return "broken_call" if broken else draft.fault
