"""From a model's hidden states to log-probabilities: the positions that carry loss alone, within one forward pass.

`compact` leaves the positions that carry loss; `training.projection` does the rest. `LossModel` and `scoring` put both
inside a forward pass, where whatever wraps the model (DDP, FSDP2, accelerate) has its weights at hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from assistant.errors import UserError
from training.attending import NAME, attend_by_document
from training.examples import IGNORED
from training.packing import Batch
from training.projection import CHUNK as CHUNK
from training.projection import Head as Head
from training.projection import RowLoss as RowLoss
from training.projection import Scores as Scores
from training.projection import each as each
from training.projection import summed as summed
from training.runtime.fitting import Losses


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """The log-probability of the target (first extra, (n,)), and the entropy, which has no gradient; in nats."""

    graded: int = 1

    def values(self, scores: Scores, *extras: Tensor) -> tuple[Tensor, ...]:
        """Log-probability and entropy, (n,) each."""
        (targets,) = extras
        chosen = scores.logits.gather(-1, targets[:, None])[:, 0]
        mean = torch.einsum("nv,nv->n", scores.probabilities, scores.logits)
        return chosen - scores.lse, scores.lse - mean

    def gradient(self, scores: Scores, weights: tuple[Tensor, ...], *extras: Tensor) -> Tensor:
        """w · (1[v = target] - p_v)."""
        (weight,), (targets,) = weights, extras
        found = scores.probabilities.mul_(-weight[:, None])
        return found.scatter_add_(1, targets[:, None], weight[:, None])


def token_logprobs(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    chunk: int = CHUNK,
    temperature: float = 1.0,
    bias: Tensor | None = None,
    softcap: float = 0.0,
    scale: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """Log-probabilities of `targets` (N,) and entropies (N,) without gradient, in nats and fp32.

    `hidden` is (N, H), `weight` (V, H); `temperature` is what logits are divided by.
    """
    head = Head(weight, bias, scale, softcap, temperature)
    logprobs, entropy = each(TokenLogprob(), hidden, head, targets, chunk=chunk)
    return logprobs, entropy


def compact(hidden: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """The positions that carry loss: hidden states (B, T, H) and targets (B, T) to (N, H) and (N,), row by row."""
    carries = targets != IGNORED
    return hidden[carries], targets[carries]


def spread(values: Tensor, targets: Tensor, empty: float = 0.0) -> Tensor:
    """Undo `compact`: values (N,) back to where they belong in (B, T), `empty` elsewhere; gradients flow."""
    blank = values.new_full(targets.shape, empty)
    return blank.masked_scatter(targets != IGNORED, values)


def backbone(model: Any) -> Any:
    """The part of a causal LM, plain or wrapped by peft, that gives the last hidden states, behind its last norm."""
    inner = _unwrapped(model)
    found = getattr(inner, getattr(inner, "base_model_prefix", "") or "model", None)
    if found is None or found is inner:
        raise UserError(f"{type(inner).__name__} has no decoder beside its head; name a causal language model")
    return found


def head_weight(model: Any) -> Tensor:
    """The weight (V, H) of the LM head, tied or not."""
    return head_of(model).weight


def head_of(model: Any, temperature: float = 1.0) -> Head:
    """The LM head of a causal LM, plain or wrapped by peft, with what its kind does to logits (Gemma, Granite, Cohere).

    Raises:
        UserError: it has none, or an adapter lies on it.
        RuntimeError: its weights are shards: this is not the forward pass of what FSDP2 wraps.
    """
    inner = _unwrapped(model)
    layer = inner.get_output_embeddings()
    if not isinstance(getattr(layer, "weight", None), Tensor) or hasattr(layer, "base_layer"):
        raise UserError(f"{type(inner).__name__} has no plain LM head; adapters on the head cannot be trained here")
    if hasattr(layer.weight, "full_tensor"):
        raise RuntimeError("the head's weights are shards; compute the loss within the forward pass of the root module")
    config = inner.config.get_text_config()
    scale = getattr(config, "logit_scale", None) or 1 / (getattr(config, "logits_scaling", None) or 1.0)
    softcap = getattr(config, "final_logit_softcapping", None) or 0.0
    return Head(layer.weight, getattr(layer, "bias", None), float(scale), float(softcap), temperature)


def last_hidden(model: Any, batch: Batch) -> Tensor:
    """The last hidden states (B, T, H), behind the last norm; documents of a row do not see each other."""
    decoder = backbone(model)
    kwargs, attention = batch.attention, str(getattr(decoder.config, "_attn_implementation", ""))
    if attention == NAME:
        kwargs["document_lengths"] = batch.lengths
    if "flash" in attention:
        kwargs = {name: _in_one_row(value) for name, value in kwargs.items()}  # it tells them apart in one row only
    found = decoder(**kwargs).last_hidden_state
    return found.view(*batch.ids.shape, -1)


class Objective(Protocol):
    """What a model is fitted to."""

    def counts(self, batch: Batch) -> Mapping[str, float]:
        """What the loss of this batch is divided by, by name (``tokens`` among them)."""

    def __call__(self, hidden: Tensor, head: Head, batch: Batch, totals: Mapping[str, float]) -> Losses:
        """The contribution of a batch, from its last hidden states (B, T, H), to an update of these counts."""


class LossModel(nn.Module):  # type: ignore[misc]
    """A causal LM together with what it is fitted to: the loss is computed inside `forward`, where FSDP2's hooks have
    gathered the head's weights."""

    def __init__(self, model: Any, objective: Objective, temperature: float = 1.0) -> None:
        super().__init__()
        attend_by_document(model)
        self.model = model
        self._objective = objective
        self._temperature = temperature

    def counts(self, batch: Batch) -> Mapping[str, float]:
        """What the loss of this batch is divided by."""
        return self._objective.counts(batch)

    def forward(self, batch: Batch, totals: Mapping[str, float]) -> Losses:
        """The contribution of a micro-batch to an update whose counts sum to `totals`."""
        hidden = last_hidden(self.model, batch)
        return self._objective(hidden, head_of(self.model, self._temperature), batch, totals)


def scoring(model: Any, chunk: int = CHUNK) -> Any:
    """Let a causal LM's own `forward` take `targets` (B, T) and `temperature`, and then give (log-probabilities,
    entropies) of shape (B, T), 0 where there is no target; without `targets` it does what it did. Returns the model.

    For trainers of others: whatever wraps the model (DDP, FSDP2, accelerate) sees a forward pass as always.
    """
    inner = _unwrapped(model)
    plain = inner.forward

    @wraps(plain)  # generation looks at its parameters
    def forward(*args: Any, targets: Tensor | None = None, temperature: float = 1.0, **kwargs: Any) -> Any:
        if targets is None:
            return plain(*args, **kwargs)
        hidden = backbone(inner)(*args, **kwargs).last_hidden_state
        rows, chosen = compact(hidden, targets)
        found = each(TokenLogprob(), rows, head_of(inner, temperature), chosen, chunk=chunk)
        return tuple(spread(values, targets) for values in found)

    inner.forward = forward
    return model


def _unwrapped(model: Any) -> Any:
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def _in_one_row(value: Any) -> Any:
    return value.reshape(1, -1) if isinstance(value, Tensor) else value
