"""What is kept of a step: its record, its tokens and seconds, its calls, and how it went the other way."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from model.budget import Reason
from model.format import Mode, ThinkRequest


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens of a step by segment; `cached` is a part of `prompt`, a tool call counts as answer."""

    prompt: int = 0
    cached: int = 0
    judge: int = 0
    think: int = 0
    answer: int = 0

    @property
    def written(self) -> int:
        """Tokens that the model wrote."""
        return self.judge + self.think + self.answer

    def __add__(self, other: Tokens) -> Tokens:
        return Tokens(*(getattr(self, n) + getattr(other, n) for n in ("prompt", "cached", "judge", "think", "answer")))


@dataclass(frozen=True, slots=True)
class Seconds:
    """Where the time of a step went."""

    queue: float = 0.0
    first_token: float = 0.0
    decode: float = 0.0
    tools: float = 0.0


@dataclass(frozen=True, slots=True)
class CallOutcome:
    """A tool call and what became of it: `ok`, `failed`, `denied`, `invalid`, `held`, `stopped` or `unknown`.

    A `held` call was not run: the model is to think first.
    """

    id: str
    tool: str
    arguments: dict[str, Any]
    outcome: str
    summary: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Intervention:
    """Something that stepped into a reply when its open segment had `tokens` tokens; `text` is the fact."""

    reason: Reason
    tokens: int
    text: str = ""


@dataclass(frozen=True, slots=True)
class StepRecord:
    """One step, as the journal keeps it and `kat stats` adds it up.

    `request` is what the policy asked, `sent` what the prompt really asked of the model (a dialect may have no
    switch), and `mode` what came back. `sent` is None in records from before it was kept. `fault` says what was wrong
    with the reply as a whole, so that the model was asked again: `empty`, `leaked_call` or `too_long`.
    """

    index: int
    request: ThinkRequest
    rule: str
    judge: str
    mode: Mode | None
    forced: bool
    cut: str | None = None
    sent: ThinkRequest | None = None
    why: str = ""
    interventions: tuple[Intervention, ...] = ()
    fault: str = ""
    tokens: Tokens = field(default_factory=Tokens)
    seconds: Seconds = field(default_factory=Seconds)
    calls: tuple[CallOutcome, ...] = ()
    tree_before: str | None = None
    tree_after: str | None = None

    @property
    def obeyed(self) -> bool:
        """Whether the mode that came back is the one that was sent, where one was."""
        return self.sent in (None, ThinkRequest.AUTO) or self.mode is None or self.mode.value == self.sent


@dataclass(frozen=True, slots=True)
class PlanItem:
    """A thing to do, as the model keeps track of it."""

    text: str
    state: Literal["open", "doing", "done"] = "open"


@dataclass(frozen=True, slots=True)
class Branch:
    """One way a step went: its record, its texts, what its calls gave, and what they changed, as a patch."""

    record: StepRecord
    thought: str
    answer: str
    outputs: tuple[str, ...] = ()
    patch: str = ""


Choice = Literal["original", "other"]
