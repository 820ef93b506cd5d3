"""Fitting an MTP module to a model's own main head: it learns to say earlier what the model will say.

The module is applied k = 1…K times with shared weights (FastMTP, arXiv 2509.18362):

    h_k[t] = Module(h_{k-1}[t], Emb(x[t+k]));   logits_k[t] = Head(h_k[t])   is fitted to the model's logits at t+k

so that the model's row at t+k is the exact target of step k, and no step needs another one. Neither the embedding nor
the head is trained, since the model's own are used when the module drafts for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from training.head import Head, summed
from training.losses import TopKL, mtp_weights
from training.models.mtp import MtpModule, before_norm
from training.settings import Layout

SOFT = 0.5
"""r: the share of KD, beside cross-entropy with the model's likeliest token. A greedy draft is accepted where the
likeliest token is met, so both count; our choice."""


class States(NamedTuple):
    """What a model's blocks give, (B, T, H) each: `raw` before its final norm, `normed` behind it."""

    raw: Tensor
    normed: Tensor

    def of(self, layout: Layout) -> Tensor:
        """What a module of this layout goes on from when vLLM runs it."""
        return self.normed if layout == "eagle" else self.raw


class Rows(NamedTuple):
    """A distribution at each of N positions: its k likeliest tokens, the likeliest first, and their log-probs."""

    ids: Tensor
    logp: Tensor


@dataclass(frozen=True, slots=True)
class Fitted:
    """What step `ahead` of a layout gave over its `count` positions: mean loss, and the share of positions whose
    likeliest token is the model's; `met` says it for each position, (N,)."""

    layout: Layout
    ahead: int
    count: int
    loss: Tensor
    met: Tensor

    @property
    def agreed(self) -> float:
        """The share of positions that a greedy draft is accepted at, if all steps before it were."""
        return float(self.met.mean()) if self.count else 0.0


@torch.no_grad()  # type: ignore[untyped-decorator]
def read(model: Any, ids: Tensor, positions: Tensor | None = None) -> States:
    """What a causal language model makes of texts, (B, T) ids.

    Packed rows name their positions, which restart at 0 with each document.
    """
    with before_norm(model) as raw:
        normed = model.get_decoder()(input_ids=ids, position_ids=positions, use_cache=False).last_hidden_state
    return States(raw[0], normed)


@torch.no_grad()  # type: ignore[untyped-decorator]
def rows(hidden: Tensor, head: Head, top: int, chunk: int) -> Rows:
    """The `top` likeliest tokens at each position, from hidden states (N, H) behind the final norm; float32."""
    found = [_likeliest(head.logits(part), top) for part in hidden.split(chunk)]
    return Rows(torch.cat([ids for ids, _ in found]), torch.cat([logp for _, logp in found]))


def _likeliest(logits: Tensor, top: int) -> tuple[Tensor, Tensor]:
    values, ids = logits.topk(min(top, logits.shape[-1]), -1)
    return ids, values - logits.logsumexp(-1, keepdim=True)


class Drafting(nn.Module):  # type: ignore[misc]
    """Modules that are fitted to one frozen model at once, by layout: they are all that is trained.

    Step k weighs ∝ `decay`^(k-1), over `depth` steps; the `top` likeliest tokens of each row are the target.
    """

    def __init__(
        self, model: nn.Module, modules: Mapping[Layout, MtpModule], *, depth: int = 3, decay: float = 0.6,
        top: int = 64, chunk: int = 1024, soft: float = SOFT,
    ) -> None:  # fmt: skip
        super().__init__()
        self.drafters = nn.ModuleDict(dict(modules))
        self._model = [model.requires_grad_(False)]  # in a list: it is neither saved nor sharded with the modules
        self.depth, self.top, self.chunk, self.soft = depth, top, chunk, soft
        self.weights = mtp_weights(depth, decay)

    @property
    def model(self) -> Any:
        """The frozen model."""
        return self._model[0]

    def forward(self, ids: Tensor, positions: Tensor | None = None, documents: Tensor | None = None) -> list[Fitted]:
        """Every step of every layout on texts of (B, T) ids; `documents` as in `packing.Batch`, None: one a row."""
        head = Head(self.model.get_output_embeddings().weight.detach())
        states = read(self.model, ids, positions)
        targets = rows(states.normed.flatten(0, 1), head, self.top, self.chunk)
        if positions is None:
            positions = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
        places = [_places(positions, documents, ahead) for ahead in range(1, self.depth + 1)]
        embeddings = self.model.get_input_embeddings()(ids).detach()
        return [
            self._fitted(layout, ahead, hidden, head, targets, *places[ahead - 1])
            for layout in self.drafters
            for ahead, hidden in self._steps(layout, states, embeddings, positions)
        ]

    def total(self, fitted: list[Fitted]) -> Tensor:
        """The steps' losses by their weights, summed over the layouts."""
        return torch.stack([self.weights[one.ahead - 1] * one.loss for one in fitted]).sum()

    def _steps(
        self, layout: Any, states: States, embeddings: Tensor, positions: Tensor
    ) -> Iterator[tuple[int, Tensor]]:
        module = self.drafters[layout]
        return enumerate(module.unrolled(states.of(layout), embeddings, positions, self.depth), 1)

    def _fitted(
        self, layout: Any, ahead: int, hidden: Tensor, head: Head, targets: Rows, drafted: Tensor | None, at: Tensor
    ) -> Fitted:
        flat = hidden.flatten(0, 1) if drafted is None else hidden.flatten(0, 1)[drafted]
        ids, count = targets.ids[at], max(1, len(at))
        weights = tuple(flat.new_full((len(at),), w / count, dtype=torch.float32) for w in (self.soft, 1 - self.soft))
        extras = (ids[:, 0], ids, targets.logp[at])
        loss, (_, _, met) = summed(TopKL(), flat, head, weights, *extras, chunk=self.chunk)
        return Fitted(layout, ahead, len(at), loss, met)


@torch.no_grad()  # type: ignore[untyped-decorator]
def _places(positions: Tensor, documents: Tensor | None, ahead: int) -> tuple[Tensor | None, Tensor]:
    """Which rows of a step's flattened (B, T-k) states count (None: all), and where in (B, T) their targets are."""
    where = torch.arange(positions.numel(), device=positions.device).view_as(positions)[:, ahead:].flatten()
    if documents is None:
        return None, where
    mine = documents[:, : documents.shape[1] - ahead]
    same = ((documents[:, ahead:] == mine) & (mine >= 0)).flatten()
    return same, where[same]
