"""A teacher with another tokenizer: where both cut the same text, and losses that compare what lies between.

Two tokenizations of a text agree at some bytes; from one such border to the next is a `Span`, of one token or a few on
each side (byte offsets, as TRL's GOLD trainer finds them). Two things are comparable without a common vocabulary: how
likely each model thinks the whole span (`likelihood`), and how its distribution is shaped where a span begins (`ULD`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor

from training.projection import Scores

_LARGEST = -1e-6
"""Log-probabilities of spans are kept under this, so that 1 - p has a logarithm; our choice."""


class Span(NamedTuple):
    """Tokens of the student and of the teacher, by index, that are the same bytes."""

    student: range
    teacher: range


def ends(ids: Sequence[int], size: Callable[[int], int]) -> list[int]:
    """Where each token ends, in bytes of the text; `size` gives a token's bytes."""
    return list(accumulate(map(size, ids)))


def aligned(student: Sequence[int], teacher: Sequence[int]) -> Iterator[Span]:
    """The smallest spans that both tokenizations cut out, from the byte each token ends at.

    Tokens of no bytes belong to the span that ends where they stand. What stands behind the last common border is left
    out: there the texts are cut differently.
    """
    later = dict[int, int]()
    for index, end in enumerate(teacher):
        later[end] = index + 1
    before = (0, 0)
    for index, end in enumerate(student):
        last = index + 1 == len(student) or student[index + 1] != end
        if last and later.get(end, 0) > before[1]:
            yield Span(range(before[0], index + 1), range(before[1], later[end]))
            before = index + 1, later[end]


def span_sums(logprobs: Tensor, spans: Sequence[range]) -> Tensor:
    """The log-probability of each span, (S,), from those of its tokens, (N,); gradients flow."""
    sizes = torch.tensor([len(span) for span in spans], dtype=torch.int64, device=logprobs.device)
    owner = torch.arange(len(spans), device=logprobs.device).repeat_interleave(sizes)
    index = torch.tensor([token for span in spans for token in span], dtype=torch.int64, device=logprobs.device)
    return logprobs.new_zeros(len(spans)).index_add(0, owner, logprobs[index])


def likelihood(student: Tensor, teacher: Tensor) -> Tensor:
    """KL of 'this span' against 'any other', teacher to student, (S,), from log-probabilities of spans, (S,) each::

        p (ln p - ln q) + (1 - p) (ln (1 - p) - ln (1 - q))

    Approximate likelihood matching (arXiv 2503.20083) with the forward KL.
    """
    log_p, log_q = (one.clamp(max=_LARGEST) for one in (teacher, student))
    return log_p.exp() * (log_p - log_q) - log_p.expm1() * (_log1mexp(log_p) - _log1mexp(log_q))


def _log1mexp(x: Tensor) -> Tensor:
    """ln (1 - e^x) for x < 0."""
    return (-x.expm1()).log()


@dataclass(frozen=True, slots=True)
class ULD:
    """Universal logit distillation (arXiv 2402.12030): Σ_i |p_(i) - q_(i)| over probabilities sorted downwards.

    Extra: the teacher's k largest log-probabilities (n, k); beyond them both sides have one bucket for all others.
    Value: the distance, (n,), from 0 to 2.
    """

    graded: int = 1

    def values(self, scores: Scores, *extras: Tensor) -> tuple[Tensor, ...]:
        """The distance."""
        _, top_gap, tail_gap = self._gaps(scores, extras[0])
        return (top_gap.abs().sum(-1) + tail_gap.abs(),)

    def gradient(self, scores: Scores, weights: tuple[Tensor, ...], *extras: Tensor) -> Tensor:
        """q_v (s_v - Σ_u s_u q_u), with s the sign of q - p in the bucket that a token is in."""
        ids, top_gap, tail_gap = self._gaps(scores, extras[0])
        signs = tail_gap.sign()[:, None].expand_as(scores.logits).clone().scatter_(1, ids, top_gap.sign())
        mean = torch.einsum("nv,nv->n", signs, scores.probabilities)
        return signs.sub_(mean[:, None]).mul_(scores.probabilities).mul_(weights[0][:, None])

    def _gaps(self, scores: Scores, teacher: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The student's likeliest k, by how much each is above the teacher's, and by how much the tail is."""
        count = min(teacher.shape[-1], scores.logits.shape[-1])
        own, ids = scores.probabilities.topk(count, dim=-1)
        theirs = teacher.to(own.dtype).exp().sort(-1, descending=True).values[:, :count]
        return ids, own - theirs, theirs.sum(-1) - own.sum(-1)
