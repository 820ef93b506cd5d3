"""What each segment of each rollout is worth against the others of its group; by name, tensors in and tensors out.

A group is the rollouts of one task. A rollout has two segments that are judged apart: the judge with the mark of the
mode (`Segments.judge`), and what follows it, thought, answer and calls (`Segments.answer`). `by_token` then lays both
on the tokens. Nothing here knows of a trainer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import cos, pi

import torch

from training.examples import Place
from training.settings import AdvantageName

ON, OFF, UNKNOWN = 1, 0, -1
"""Modes in tensors; a reply that ended before it chose has none."""
EPSILON = 1e-4
"""Added to standard deviations, as in TRL's GRPO (1.16)."""


@dataclass(frozen=True, slots=True)
class Groups:
    """N groups of G rollouts. All tensors are (N, G).

    `rewards` float32: what the whole rollout earned, NaN where nothing can tell. `accuracy` float32: 0 to 1, or NaN.
    `modes` int64: `ON`, `OFF` or `UNKNOWN`. `lengths` float32: tokens of the reply. `judges` float32: what the judge
    earned for its choice, NaN where nothing can tell. `forced` bool: the mode was prefilled.
    """

    rewards: torch.Tensor
    accuracy: torch.Tensor
    modes: torch.Tensor
    lengths: torch.Tensor
    judges: torch.Tensor
    forced: torch.Tensor

    @classmethod
    def of(cls, rewards: torch.Tensor, **more: torch.Tensor) -> Groups:
        """Groups of which little is known: what is not given is as if every rollout were of one mode, and free."""
        known = {
            "accuracy": rewards,
            "modes": torch.full_like(rewards, UNKNOWN, dtype=torch.long),
            "lengths": torch.ones_like(rewards),
            "judges": torch.full_like(rewards, torch.nan),
            "forced": torch.zeros_like(rewards, dtype=torch.bool),
        }
        return cls(rewards, **(known | more))

    def mean(self, values: torch.Tensor, mode: int) -> torch.Tensor:
        """(N, 1): the mean of `values` (N, G) over the rollouts of one mode; NaN where there is none."""
        return _only(values, self.modes == mode).nanmean(-1, keepdim=True)

    @property
    def single(self) -> torch.Tensor:
        """(N,) bool: all rollouts of the group chose one mode, so that they say nothing of the choice."""
        return ~((self.modes == ON).any(-1) & (self.modes == OFF).any(-1))


@dataclass(frozen=True, slots=True)
class Segments:
    """Advantages (N, G) of the judge and of what follows it; zero where nothing is to be learned, never NaN."""

    judge: torch.Tensor
    answer: torch.Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Constants of the formulas.

    `bias` (w) and `outcome` (g) are HiPO's (arXiv 2509.23967); `bonus` (delta) is AdaptThink's (2505.13417); `control`
    is Thinkless's weight of the control token (2505.13379). `share` and `slope` (AutoThink's balance) and `most`
    (Step-SRPO's) are our choice. `progress` is the share of the run that is done, for ARM's decay (2505.20258).
    """

    bias: float = 0.01
    outcome: float = 0.3
    bonus: float = 0.05
    control: float = 1e-3
    share: float = 0.5
    slope: float = 2.0
    most: float = 4.0
    progress: float = 0.0


Advantage = Callable[[Groups, Rules], Segments]


def normalised(values: torch.Tensor) -> torch.Tensor:
    """(x - mean) / (std + 1e-4) along the last dimension, NaN left out; zero where x is NaN or alone, or all are equal.

    The standard deviation is the sample's (n - 1), as in TRL, operation for operation: the same bits come out.
    """
    mean, deviation = _moments(values)
    found = torch.nan_to_num((values - mean) / (deviation + EPSILON), nan=0.0, posinf=0.0, neginf=0.0)
    return torch.where(_spread(values), found, torch.zeros_like(found))


def centred(values: torch.Tensor) -> torch.Tensor:
    """x - mean along the last dimension, NaN left out; zero where x is NaN."""
    return torch.nan_to_num(values - torch.nanmean(values, dim=-1, keepdim=True), nan=0.0)


def within_modes(groups: Groups, values: torch.Tensor) -> torch.Tensor:
    """`values` (N, G) normalised among the rollouts of the same mode; one that is alone in its mode gets zero."""
    found = torch.zeros_like(values)
    for mode in (ON, OFF, UNKNOWN):
        there = groups.modes == mode
        found = torch.where(there, normalised(_only(values, there)), found)
    return found


def grpo(groups: Groups, rules: Rules) -> Segments:
    """GRPO (arXiv 2402.03300): A_i = (r_i - mean r) / (std r + eps), the same for all tokens."""
    advantage = normalised(groups.rewards)
    return Segments(advantage, advantage)


def hipo(groups: Groups, rules: Rules) -> Segments:
    """HiPO (arXiv 2509.23967).

    R_on, R_off are the mean rewards of each mode and R that of all; where 0 <= R_on - R_off <= w R_on, R_off is raised
    by w R_on. Judge: A_i = (R_{m_i} - R) + g (r_i - R) / std r. Answer: A_i = (r_i - R_{m_i}) / std of r in mode m_i,
    with the raised R_off in both. A group of one mode has no first term; one without spread has no advantage.
    """
    rewards, modes = groups.rewards, groups.modes
    everyone = rewards.nanmean(-1, keepdim=True)
    thinking, direct = groups.mean(rewards, ON), groups.mean(rewards, OFF)
    gap = thinking - direct
    raised = torch.where((gap >= 0) & (gap <= rules.bias * thinking), rules.bias * thinking, torch.zeros_like(gap))
    of_mode = torch.where(modes == ON, thinking, torch.where(modes == OFF, direct + raised, everyone))
    judge = torch.nan_to_num(of_mode - everyone, nan=0.0) * ~groups.single.unsqueeze(-1)
    spread = _deviation(groups, rewards)
    lift = torch.where(modes == OFF, raised, torch.zeros_like(raised)).nan_to_num(nan=0.0)
    answer = within_modes(groups, rewards) - lift / (spread + EPSILON) * (spread > 0)
    return Segments(judge + rules.outcome * normalised(rewards), answer)


def step_srpo(groups: Groups, rules: Rules) -> Segments:
    """Step-SRPO: the choice of the mode and what follows it are rewarded apart, each normalised in its group.

    Judge: A_i = b z(j)_i + g z(r)_i, where j is the judge's own reward (`training.rewards.judged`), z normalises over
    the group, and b is `balanced`. Answer: A_i = z of r among the rollouts of the same mode. KAT-V1's report (arXiv
    2507.08297) names the step and gives no formula: the second term and the answer's are HiPO's, the first is our
    choice. Where all rollouts are of one mode and no judge was rewarded this is GRPO, bit for bit, but for g on the
    judge.
    """
    rewards = groups.rewards
    judge = balanced(groups, rules) * normalised(groups.judges) + rules.outcome * normalised(rewards)
    return Segments(judge, within_modes(groups, rewards))


def balanced(groups: Groups, rules: Rules) -> torch.Tensor:
    """(N, 1): weights by which tasks that call for a thought teach the choice as much as those that call for none.

    K / 2 K_m for one of the K_m of the batch's K groups whose right mode m was seen, at most `most`; 1 where only one
    mode was seen, or none. Thoughts that fail as yet prove a need less often than easy tasks prove that there is none:
    unbalanced, the first updates may end all thinking (our choice; AutoThink balances rewards for the same reason).
    """
    right = groups.judges == 1
    seen = torch.stack([(right & (groups.modes == mode)).any(-1) for mode in (ON, OFF)])
    often = seen.sum(-1, keepdim=True)
    weights = torch.where(seen, (often.sum() / (2 * often)).clamp(max=rules.most), 0.0).sum(0)
    return torch.where(seen.any(0) & (often > 0).all(), weights, 1.0).unsqueeze(-1)


def adaptthink(groups: Groups, rules: Rules) -> Segments:
    """AdaptThink (arXiv 2505.13417): A_i = acc_i - acc_ref + delta [off]; half of the rollouts are forced.

    acc_ref is the accuracy of the reference model, sampled beforehand; here it is that of the group (our choice). The
    paper weighs the first token of forced rollouts by importance, so that they teach the choice as well; here forced
    marks carry no loss, and only rollouts that chose for themselves teach it.
    """
    accuracy = groups.accuracy
    off = (groups.modes == OFF).to(accuracy.dtype)
    advantage = torch.nan_to_num(accuracy - accuracy.nanmean(-1, keepdim=True) + rules.bonus * off, nan=0.0)
    return Segments(advantage, advantage)


def thinkless(groups: Groups, rules: Rules) -> Segments:
    """Thinkless (arXiv 2505.13379): 1 where short and right, 0.5 where long and right, -1 where wrong, less the mean.

    A reply that chose no mode is wrong (our choice; the paper's replies always have one).

    Its loss is the mean over replies of alpha times the control token's and the mean of the others'. `by_token` gives
    every token the same weight; so that alpha is as published, balance by segments is to be off.
    """
    right = (groups.accuracy >= 1) & (groups.modes != UNKNOWN)
    earned = torch.where(right, torch.where(groups.modes == ON, 0.5, 1.0), -1.0)
    advantage = centred(_only(earned, ~groups.accuracy.isnan()))
    return Segments(rules.control * advantage * groups.lengths, advantage)


def autothink(groups: Groups, rules: Rules) -> Segments:
    """AutoThink (arXiv 2505.10832), first stages: +1 / 0 with a thought, +2 / -1 without, normalised in the group.

    A mode that holds more than `share` of the batch earns less for being right, by `slope` times the excess and at
    most all of it; the paper balances batches too, this form of it is our choice. A reply that chose no mode earns what
    a wrong one without a thought does (our choice).
    """
    on, off = groups.modes == ON, groups.modes == OFF
    right = (groups.accuracy >= 1) & (on | off)
    less_on = ((on.float().mean() - rules.share) * rules.slope).clamp(0, 1)
    less_off = ((off.float().mean() - rules.share) * rules.slope).clamp(0, 1)
    thinking = torch.where(right, 1 - less_on, torch.zeros_like(groups.rewards))
    direct = torch.where(right, 2 - 3 * less_off, -torch.ones_like(groups.rewards))
    earned = torch.where(on, thinking, direct)
    advantage = normalised(_only(earned, ~groups.accuracy.isnan()))
    return Segments(advantage, advantage)


def arm(groups: Groups, rules: Rules) -> Segments:
    """ARM's Ada-GRPO (arXiv 2505.20258): r'_i = a_i r_i, a_i = G / F(m_i) · decay_i, then as GRPO.

    F is how often the group has the mode; decay_i = F/G + (1 - F/G) / 2 · (1 + cos(pi t / T)) takes the rarity back as
    the run goes on, until r' = r.
    """
    everyone = groups.modes.shape[-1]
    same = groups.modes.unsqueeze(-1) == groups.modes.unsqueeze(-2)
    often = same.sum(-1).to(groups.rewards.dtype)
    part = often / everyone
    decay = part + 0.5 * (1 - part) * (1 + cos(pi * rules.progress))
    advantage = normalised(everyone / often * decay * groups.rewards)
    return Segments(advantage, advantage)


ADVANTAGES: Mapping[AdvantageName, Advantage] = {
    "step_srpo": step_srpo,
    "grpo": grpo,
    "hipo": hipo,
    "adaptthink": adaptthink,
    "thinkless": thinkless,
    "autothink": autothink,
    "arm": arm,
}
TWO_SEGMENTS: frozenset[AdvantageName] = frozenset({"step_srpo", "hipo"})
"""Those that judge the two segments apart, and whose judge is balanced against what follows it."""


def advantages(name: AdvantageName, groups: Groups, rules: Rules = Rules()) -> Segments:
    """The advantages by the name of their formula."""
    return ADVANTAGES[name](groups, rules)


def balance(judges: int, tokens: int, share: float) -> tuple[float, float]:
    """Weights of judge tokens and of all others, so that the judge's hold `share` of a mean over tokens.

    `judges` of the `tokens` that carry loss are of judges. The sum of weights is the number of tokens. (1, 1) where
    `share` is none, or where all tokens are of one segment.
    """
    if share <= 0 or judges in (0, tokens):
        return 1.0, 1.0
    return share * tokens / judges, (1 - share) * tokens / (tokens - judges)


def by_token(segments: Segments, places: torch.Tensor, weights: tuple[float, float] = (1.0, 1.0)) -> torch.Tensor:
    """(B, T) advantages from those of segments, whose B = N G rollouts lie one group after the other.

    `weights` are those of judge tokens and of all others, as `balance` gives them.
    """
    judge, answer = segments.judge.reshape(-1, 1), segments.answer.reshape(-1, 1)
    if weights != (1.0, 1.0):
        judge, answer = judge * weights[0], answer * weights[1]
    return torch.where(places == Place.JUDGE, judge, answer)


def _only(values: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
    return torch.where(there, values, torch.full_like(values, torch.nan))


def _spread(values: torch.Tensor) -> torch.Tensor:
    """(…, 1) bool: not all values along the last dimension are equal; a rounded mean would make noise of them."""
    largest = values.nan_to_num(nan=-torch.inf).amax(-1, keepdim=True)
    return largest > values.nan_to_num(nan=torch.inf).amin(-1, keepdim=True)


def _moments(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(…, 1) each: mean and sample standard deviation along the last dimension, NaN left out."""
    mean = torch.nanmean(values, dim=-1, keepdim=True)
    count = (~torch.isnan(values)).sum(-1, keepdim=True)
    variance = torch.nanmean((values - mean) ** 2, dim=-1, keepdim=True)
    return mean, torch.sqrt(variance * (count / (count - 1)))


def _deviation(groups: Groups, values: torch.Tensor) -> torch.Tensor:
    """(N, G): the standard deviation of `values` among the rollouts of the same mode; 0 where one is alone, or all
    are equal."""
    found = torch.zeros_like(values)
    for mode in (ON, OFF, UNKNOWN):
        there = groups.modes == mode
        some = _only(values, there)
        found = torch.where(there & _spread(some), _moments(some)[1], found)
    return found
