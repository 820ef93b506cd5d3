"""What a reply earns: for being right, for its form, for its choice of the mode, and for its length.

`Score` says it of one reply; the functions below are on tensors of groups, (N, G), and are put together by a
recipe's `Rewards`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from model.format import Mode
from model.prompt import Dialect
from training.advantages import OFF, ON, UNKNOWN
from training.budgets import Written
from training.settings import Rewards

USUAL = Rewards()


@dataclass(frozen=True, slots=True)
class Score:
    """What a rollout was worth. `accuracy` is 0 to 1, by tests or a checker; None where nothing can tell. `format` is
    1 for a reply that follows the grammar; `why` says what was wrong."""

    accuracy: float | None
    format: float = 1.0
    why: str = ""


def well_formed(written: Written, dialect: Dialect) -> float:
    """1 for a reply that came to its end and is what the dialect would write for its parts, else 0."""
    reply = written.reply
    whole = written.drawn.finish == "stop" and reply.closed and reply.mode is not None
    says = bool(reply.answer.strip() or reply.calls) and bool(reply.think.strip()) is (reply.mode is Mode.ON)
    if not (whole and says) or any(call.error for call in reply.calls):
        return 0.0
    return float(dialect.write(reply).split() == written.text.split())


def outcome(accuracy: torch.Tensor, form: torch.Tensor, weights: Rewards = USUAL) -> torch.Tensor:
    """r = acc + 0.2 format (HiPO, arXiv 2509.23967); NaN where the accuracy is."""
    return accuracy + weights.format * form


def right_modes(
    accuracy: torch.Tensor, modes: torch.Tensor, wishes: torch.Tensor, weights: Rewards = USUAL
) -> torch.Tensor:
    """(N,) int64: the mode that each task calls for, or `UNKNOWN` where nothing tells.

    The user's wish (N,) wins. Else thinking is right where it solves the task more often, by over `margin`; not
    thinking, where it solves it as often, and in at least `solid` of the tries: a lucky guess says nothing. Else, and
    where all rollouts are of one mode, nobody knows.
    """
    thinking, direct = _mean(accuracy, modes == ON), _mean(accuracy, modes == OFF)
    needed = thinking - direct > weights.margin
    by_evidence = torch.where(needed, ON, OFF)
    known = (needed | (direct >= weights.solid)) & ~thinking.isnan() & ~direct.isnan()
    return torch.where(wishes != UNKNOWN, wishes, torch.where(known, by_evidence, UNKNOWN))


def judged(modes: torch.Tensor, right: torch.Tensor, weights: Rewards = USUAL) -> torch.Tensor:
    """(N, G): what each judge earns: 1 for the right mode (N,), `over` for thinking without need, `under` for not
    thinking where it was needed, and for no mode at all; NaN where nobody knows the right one."""
    wanted = right.unsqueeze(-1)
    earned = torch.where(modes == ON, weights.over, weights.under)
    earned = torch.where(modes == wanted, 1.0, earned)
    return torch.where(wanted == UNKNOWN, torch.nan, earned).to(torch.float32)


def shorter(lengths: torch.Tensor, accuracy: torch.Tensor) -> torch.Tensor:
    """(N, G): 0.5 - (len - min) / (max - min) for right replies, at most 0 for wrong ones (Kimi k1.5, 2501.12599)."""
    least, most = lengths.amin(-1, keepdim=True), lengths.amax(-1, keepdim=True)
    part = 0.5 - (lengths - least) / (most - least).clamp(min=1.0)
    part = torch.where(most > least, part, torch.zeros_like(part))
    return torch.where(accuracy >= 1, part, part.clamp(max=0.0))


def total(accuracy: torch.Tensor, form: torch.Tensor, lengths: torch.Tensor, weights: Rewards = USUAL) -> torch.Tensor:
    """(N, G): what the whole rollout earns."""
    found = outcome(accuracy, form, weights)
    return found + weights.length * shorter(lengths, accuracy) if weights.length else found


def number(mode: Mode | None) -> int:
    """A mode in tensors."""
    return {Mode.ON: ON, Mode.OFF: OFF, None: UNKNOWN}[mode]


def _mean(values: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
    return torch.where(there, values, torch.nan).nanmean(-1)
