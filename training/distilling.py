"""The loss of MTP-enhanced distillation, with the model it is of: all within one forward pass.

    L = a·T²·KD_0 + (1-a)·CE_0 + m·Σ_k w_k·[r·T²·KD_k + (1-r)·CE_k],    w_k ∝ decay^(k-1)

KD is the forward KL on the teacher's k likeliest tokens with all others as one, both at the temperature T, whose square
keeps its gradients at the size of those of CE (arXiv 1503.02531); CE is at temperature 1, as the model is used. Step k
of the module predicts at t what the teacher says at t+k, so one stored row serves all steps. Where nothing is stored a
and r are 0. Where the teacher has another tokenizer, KD_0 is that of stretches which both cut out, as `likelihood`
compares them, and r is 0. The constants are our choice: KAT-V1's report (arXiv 2507.08297) names the method, and gives
none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from training.alignment import likelihood, span_sums
from training.attending import attend_by_document
from training.drafting import States, rows
from training.examples import IGNORED
from training.head import Head, TokenLogprob, each, head_of, last_hidden, summed
from training.losses import TopKL, mtp_weights
from training.models.mtp import MtpModule, before_norm
from training.packing import Batch
from training.runtime.fitting import Losses
from training.settings import Distill
from training.teachers.taught import Taught


class _Wanted(NamedTuple):
    """What is fitted at N positions: the tokens (N,), the teacher's rows (N, k), and where there are such (N,)."""

    targets: Tensor
    top: Tensor
    logp: Tensor
    known: Tensor


class Distilling(nn.Module):  # type: ignore[misc]
    """A causal LM, and the MTP module on it where there is one.

    With `settings.drafter_only` the model is frozen, and the module is fitted to the model's own head at every place of
    the texts: the teacher is the model, and L is the sum over k with m = 1 and T = 1.
    """

    def __init__(self, model: Any, settings: Distill, module: MtpModule | None = None, *, depth: int = 3,
                 decay: float = 0.6) -> None:  # fmt: skip
        super().__init__()
        attend_by_document(model)
        self.alone = settings.drafter_only
        self.model = model.requires_grad_(False) if self.alone else model
        self.module = module
        self._settings = settings
        self._temperature = 1.0 if self.alone else settings.temperature
        self._weights = mtp_weights(depth, decay) if module is not None else ()

    def train(self, mode: bool = True) -> Distilling:
        """As of any module; a frozen model stays as it is in use, without dropout."""
        super().train(mode)
        if self.alone:
            self.model.eval()
        return self

    def counts(self, given: Taught) -> Mapping[str, float]:
        """Tokens that carry loss; those a teacher said something of; and those that each step of the module drafts."""
        carries = given.batch.targets != IGNORED
        steps = {f"mtp_{k}": float(self._drafted(given.batch, k).sum()) for k in self._ahead()}
        taught = {} if self.alone else {"kd": float((carries & given.known).sum())}
        return {"tokens": float(carries.sum()), **taught, **steps}

    def forward(self, given: Taught, totals: Mapping[str, float]) -> Losses:
        """The contribution of a micro-batch to an update whose counts sum to `totals`.

        Parts: ``loss_ce`` and ``loss_kd`` (nats); the shares of tokens that are the model's first choice (``right``)
        and that a teacher said something of (``taught``); ``draft_k``: that of step k's first choices that are right.
        """
        states, head = self._read(given.batch), head_of(self.model)
        if self.alone:
            given = self._own(given, states, head)
            total, parts = states.normed.new_zeros((), dtype=torch.float32), dict[str, Tensor]()
        else:
            total, parts = self._main(given, states, head, totals)
        frozen = Head(head.weight.detach(), head.bias, head.scale, head.softcap, head.temperature)
        for k, hidden in self._steps(given.batch, states):
            loss, part = self._drafts(given, k, hidden, frozen, totals)
            total, parts = total + loss, parts | part
        return Losses(total, parts)

    def _read(self, batch: Batch) -> States:
        with ExitStack() as kept:
            if self.alone:
                kept.enter_context(torch.no_grad())
            raw = kept.enter_context(before_norm(self.model)) if self._wants_raw else None
            normed = last_hidden(self.model, batch)
        return States(raw[0] if raw else normed, normed)

    @property
    def _wants_raw(self) -> bool:
        return self.module is not None and self.module.layout == "mimo"

    def _main(
        self, given: Taught, states: States, head: Head, totals: Mapping[str, float]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        carries = given.batch.targets != IGNORED
        wanted = _Wanted(*(one[carries] for one in (given.batch.targets, given.top, given.logp, given.known)))
        tokens, known = max(1.0, totals["tokens"]), wanted.known
        said = {"taught": known.sum() / tokens}
        if given.spans:
            total, (kd, ce) = self._across(states.normed[carries], head, wanted, 1 / tokens)
            return total, said | {"loss_ce": ce.sum() / tokens, "loss_kd": kd.sum() / totals["kd"]}
        total, (kd, ce, right) = self._summed(states.normed[carries], head, wanted, self._settings.share, 1 / tokens)
        parts = {"loss_ce": ce.sum() / tokens, "right": right.sum() / tokens}
        return total, said | parts | {"loss_kd": kd[known].sum() / totals["kd"]}

    def _across(
        self, hidden: Tensor, head: Head, wanted: _Wanted, weight: float
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """weight · [a·Σ_spans KL + Σ_tokens (1-a)·CE], a being 0 for tokens of no span. Spans are of tokens that all
        carry loss, so that they are whole among the rows as well."""
        logprobs, _ = each(TokenLogprob(), hidden, head, wanted.targets, chunk=self._settings.chunk)
        ends = wanted.top[:, 0].nonzero()[:, 0]
        pairs = zip(ends.tolist(), wanted.top[ends, 0].tolist(), strict=True)
        sums = span_sums(logprobs, [range(end - size + 1, end + 1) for end, size in pairs])
        kd, share = likelihood(sums, wanted.logp[ends, 0]), self._settings.share
        total = share * kd.sum() - ((1 - share * wanted.known.float()) * logprobs).sum()
        return weight * total, (kd.detach(), -logprobs.detach())

    def _drafts(
        self, given: Taught, k: int, hidden: Tensor, head: Head, totals: Mapping[str, float]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        where, count = self._drafted(given.batch, k), totals[f"mtp_{k}"]
        later = [one[:, k:][where] for one in (given.batch.targets, given.top, given.logp, given.known)]
        wanted = _Wanted(*later)
        if given.spans:  # they say nothing of a single token
            wanted = wanted._replace(top=torch.zeros_like(wanted.top), known=torch.zeros_like(wanted.known))
        if self.alone:
            wanted = wanted._replace(targets=wanted.top[:, 0].long())
        weight = (1.0 if self.alone else given.mtp) * self._weights[k - 1] / count
        total, (_, _, right) = self._summed(hidden[where], head, wanted, self._settings.mtp_share, weight)
        return total, {f"draft_{k}": right.sum() / count}

    def _summed(
        self, hidden: Tensor, head: Head, wanted: _Wanted, share: float, weight: float
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """weight · Σ [s·T²·KD + (1-s)·CE], s being the share where the teacher said something, else 0."""
        mine, chunk = wanted.known.float() * share, self._settings.chunk
        extras = (wanted.targets, wanted.top.long(), wanted.logp)
        kd, ce = weight * self._temperature**2 * mine, weight * (1 - mine)
        if self._temperature == 1.0:
            return summed(TopKL(), hidden, head, (kd, ce), *extras, chunk=chunk)
        none, soft = torch.zeros_like(mine), replace(head, temperature=self._temperature)
        one, (apart, _, _) = summed(TopKL(), hidden, soft, (kd, none), *extras, chunk=chunk)
        two, (_, *rest) = summed(TopKL(), hidden, head, (none, ce), *extras, chunk=chunk)
        return one + two, (apart, *rest)

    def _own(self, given: Taught, states: States, head: Head) -> Taught:
        """The model itself as the teacher, at every place."""
        shape = given.batch.ids.shape
        found = rows(states.normed.flatten(0, 1), head, self._settings.top, self._settings.chunk)
        top, logp = found.ids.view(*shape, -1), found.logp.view(*shape, -1)
        return Taught(given.batch, top, logp, torch.ones_like(given.known), given.mtp)

    def _steps(self, batch: Batch, states: States) -> Iterator[tuple[int, Tensor]]:
        if self.module is None:
            return iter(())
        embeddings = self.model.get_input_embeddings()(batch.ids).detach()
        depth = len(self._weights)
        unrolled = self.module.unrolled(states.of(self.module.layout), embeddings, batch.positions, depth)
        return enumerate(unrolled, 1)

    def _ahead(self) -> range:
        return range(1, len(self._weights) + 1)

    def _drafted(self, batch: Batch, k: int) -> Tensor:
        """(B, T-k): where step k has something to predict in the same document."""
        mine, later = batch.documents[:, : batch.ids.shape[1] - k], batch.documents[:, k:]
        same = (mine == later) & (mine >= 0)
        return same if self.alone else same & (batch.targets[:, k:] != IGNORED)
