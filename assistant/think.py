"""Whether the next step thinks: the user's words, then a pinned mode, then the model's own judge.

A policy is an ordered list of named rules; the first that speaks decides.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from model.format import ThinkRequest

_OFF_WORDS = (
    r"不要思考|不用思考|无需思考|别思考|直接(?:回答|告诉|给出|说)|"
    r"\banswer (?:me )?directly\b|\b(?:don'?t|do not|without) think(?:ing)?\b|\bno thinking\b|\bjust answer\b"
)
_ON_WORDS = (
    r"一步一步|逐步(?:思考|推理|分析)|仔细(?:思考|推理|想)|深入思考|认真思考|"
    r"\bthink (?:it through|hard(?:er)?|carefully|step[- ]by[- ]step)\b|\bstep[- ]by[- ]step reasoning\b|"
    r"\breason (?:carefully|step[- ]by[- ]step)\b"
)
_OFF = re.compile(_OFF_WORDS, re.IGNORECASE)
_ON = re.compile(_ON_WORDS, re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Situation:
    """What a rule may look at: the user's last message, the pinned mode, and the step within the run, from 0."""

    words: str
    pinned: ThinkRequest
    step: int


@dataclass(frozen=True, slots=True)
class ThinkDecision:
    """What to ask of the model. `why` stands in the judge where the mode is forced."""

    request: ThinkRequest
    rule: str
    why: str


Rule = Callable[[Situation], ThinkDecision | None]


def users_words(situation: Situation) -> ThinkDecision | None:
    """The user said it, in English or Chinese; where both are said, the later one counts."""
    off = max((m.start() for m in _OFF.finditer(situation.words)), default=-1)
    on = max((m.start() for m in _ON.finditer(situation.words)), default=-1)
    if off < 0 and on < 0:
        return None
    if on > off:
        return ThinkDecision(ThinkRequest.ON, "user_words", "The user asks to reason step by step.")
    return ThinkDecision(ThinkRequest.OFF, "user_words", "The user asks for a direct answer.")


def pinned_mode(situation: Situation) -> ThinkDecision | None:
    """The mode that the user set for the session."""
    match situation.pinned:
        case ThinkRequest.AUTO:
            return None
        case ThinkRequest.ON:
            return ThinkDecision(ThinkRequest.ON, "pinned", "Thinking is switched on.")
        case ThinkRequest.OFF:
            return ThinkDecision(ThinkRequest.OFF, "pinned", "Thinking is switched off.")


def model_judges(_: Situation) -> ThinkDecision:
    """Nobody else spoke."""
    return ThinkDecision(ThinkRequest.AUTO, "model", "The model judges for itself.")


RULES: tuple[Rule, ...] = (users_words, pinned_mode)


def decide(situation: Situation, rules: Sequence[Rule] = RULES) -> ThinkDecision:
    """The decision of the first rule that speaks."""
    for rule in rules:
        decision = rule(situation)
        if decision is not None:
            return decision
    return model_judges(situation)
