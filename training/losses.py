"""Losses of tokens and of distributions: tensors in, tensors out, logits a chunk at a time (`training.projection`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from training.examples import IGNORED, Place
from training.head import TokenLogprob, compact
from training.packing import Batch
from training.projection import CHUNK, Head, Scores, summed
from training.runtime.fitting import Losses as Losses

_FAR = 80.0
"""Beyond e^80, how much the tail outweighs the student's is cut, so that fp32 stays finite."""


@dataclass(frozen=True, slots=True)
class TopKL:
    """Forward KL of a teacher's top k tokens and one bucket for all others; and cross-entropy beside it.

    Extras: targets (n,), teacher ids (n, k), teacher log-probabilities (n, k), all ids of a row different. With p of
    the teacher, q of the student, and p_T, q_T the mass outside of the k::

        KD = Σ_j p_j (ln p_j - ln q_j) + p_T (ln p_T - ln q_T)        CE = -ln q_target

    Values: KD, CE, and whether the student's first choice is the target. KD is 0 where the student equals the teacher
    on the k, and never more than the full KL.
    """

    graded: int = 2

    def values(self, scores: Scores, *extras: Tensor) -> tuple[Tensor, ...]:
        """KD, CE and agreement, (n,) each."""
        targets, ids, logprobs = extras
        teacher, tail = _buckets(logprobs.to(scores.logits.dtype), scores.logits.shape[-1])
        top = scores.logits.gather(-1, ids)
        own_tail = _tail(scores.logits, ids) - scores.lse
        kd = _weighted(teacher, top - scores.lse[:, None]).sum(-1) + _weighted(tail, own_tail)
        chosen = scores.logits.gather(-1, targets[:, None])[:, 0]
        right = (chosen == scores.logits.amax(-1)).float()
        return kd, scores.lse - chosen, right

    def gradient(self, scores: Scores, weights: tuple[Tensor, ...], *extras: Tensor) -> Tensor:
        """KD: q_v - p_v on the k, q_v (1 - p_T / q_T) elsewhere. CE: q_v - 1[v = target]."""
        (kd, ce), (targets, ids, logprobs) = weights, extras
        teacher, tail = _buckets(logprobs.to(scores.logits.dtype), scores.logits.shape[-1])
        outweighs = tail * (scores.lse - _tail(scores.logits, ids)).clamp(max=_FAR).exp()
        top = scores.probabilities.gather(-1, ids) * (kd + ce)[:, None] - kd[:, None] * teacher
        found = scores.probabilities.mul_((kd * (1 - outweighs) + ce)[:, None])
        found.scatter_(1, ids, top)
        return found.scatter_add_(1, targets[:, None], -ce[:, None])


def _buckets(logprobs: Tensor, vocabulary: int) -> tuple[Tensor, Tensor]:
    """The teacher's k probabilities (n, k) and its tail (n,), together 1; stored ones may be off by rounding."""
    top = logprobs.exp()
    mass = top.sum(-1)
    whole = (mass >= 1) | (top.shape[-1] >= vocabulary)
    top = torch.where(whole[:, None], top / mass[:, None], top)
    return top, torch.where(whole, 0.0, 1 - mass)


def _tail(logits: Tensor, ids: Tensor) -> Tensor:
    """Log of the sum of exp(logits) outside of `ids`, (n,)."""
    top = logits.gather(-1, ids)
    logits.scatter_(1, ids, -torch.inf)  # in place, and back: a copy would be as large as all logits
    found = logits.logsumexp(-1)
    logits.scatter_(1, ids, top)
    return found


def _weighted(p: Tensor, log_q: Tensor) -> Tensor:
    """p (ln p - ln q), 0 where p is 0."""
    return torch.where(p > 0, p * (p.clamp(min=torch.finfo(p.dtype).tiny).log() - log_q), 0.0)


def mtp_weights(depth: int, decay: float = 0.6) -> tuple[float, ...]:
    """w_k ∝ decay^(k-1) for k = 1..depth, together 1 (the decay of FastMTP, arXiv 2509.18362, is our choice too)."""
    raw = [decay**step for step in range(depth)]
    return tuple(weight / sum(raw) for weight in raw)


def segment_weights(batch: Batch, judge_share: float) -> Tensor:
    """Weights (B, T) of positions that carry loss, on average 1, so that judge and mark hold `judge_share` of the loss.

    All ones where the share is 0, or the batch has only judges or none; 0 where no loss is carried.
    """
    carries = batch.targets != IGNORED
    judge = carries & (batch.places == Place.JUDGE)
    count, judges = carries.sum(), judge.sum()
    if not judge_share or not 0 < judges < count:
        return carries.float()
    rest = torch.where(carries, (1 - judge_share) * count / (count - judges), 0.0)
    return torch.where(judge, judge_share * count / judges, rest)


@dataclass(frozen=True, slots=True)
class CrossEntropy:
    """Next-token cross-entropy, a mean over tokens; with `balance` judge and mark hold that share of each batch's loss.

    Parts: ``loss_ce`` (unweighted, nats), ``entropy``, and ``loss_judge`` and the like by segment.
    """

    chunk: int = CHUNK
    balance: float = 0.0

    def counts(self, batch: Batch) -> Mapping[str, float]:
        """Tokens that carry loss, in all and by segment."""
        found = {"tokens": float(batch.tokens)}
        return found | {name: float(mask.sum()) for name, mask in _segments(batch.places)}

    def __call__(self, hidden: Tensor, head: Head, batch: Batch, totals: Mapping[str, float]) -> Losses:
        """The contribution of a batch to an update."""
        rows, targets = compact(hidden, batch.targets)
        weights, _ = compact(segment_weights(batch, self.balance), batch.targets)
        tokens = max(1.0, totals["tokens"])
        total, (logprobs, entropy) = summed(TokenLogprob(), rows, head, (-weights / tokens,), targets, chunk=self.chunk)
        parts = {"loss_ce": -logprobs.sum() / tokens, "entropy": entropy.sum() / tokens}
        places, _ = compact(batch.places, batch.targets)
        for name, mask in _segments(places):
            parts[f"loss_{name}"] = -logprobs[mask].sum() / max(1.0, totals[name])
        return Losses(total, parts)


def _segments(places: Tensor) -> list[tuple[str, Tensor]]:
    """Masks of the segments that carry loss, by name."""
    return [(place.name.lower(), places == place) for place in Place if place is not Place.PROMPT]
