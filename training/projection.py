"""The LM head where it is needed only: a chunk of positions at a time, logits never kept.

Off Triton, trainers project every position, prompts included, and keep (B, T, V) logits for the backward pass; that is
most of their memory. Here a `RowLoss` is made of a chunk of logits at a time: `each` makes the logits again in the
backward pass; `summed` needs no second time, as it is told before what each value weighs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.functional import linear

CHUNK = 1024
"""Positions projected at once at most; our choice."""


class Scores:
    """Logits (n, V), in fp32 at least, and what several values need of them, computed once."""

    def __init__(self, logits: Tensor) -> None:
        self.logits = logits

    @cached_property
    def probabilities(self) -> Tensor:
        """Softmax of the logits, (n, V)."""
        return self.logits.softmax(-1)

    @cached_property
    def lse(self) -> Tensor:
        """Log of the sum of exp(logits), (n,), from the likeliest token: its probability is never tiny."""
        return self.logits.amax(-1) - self.probabilities.amax(-1).log()


class RowLoss(Protocol):
    """Values made of rows of logits, and how they change with them.

    `extras` are tensors with a row for each row of logits: targets, or what a teacher said. `graded` says how many of
    the values, from the first on, have a gradient.
    """

    @property
    def graded(self) -> int:
        """How many values have a gradient."""

    def values(self, scores: Scores, *extras: Tensor) -> tuple[Tensor, ...]:
        """Values of shape (n,)."""

    def gradient(self, scores: Scores, weights: tuple[Tensor, ...], *extras: Tensor) -> Tensor:
        """To the logits, (n, V): of the graded values' sum, weighted by `weights`, (n,) each. May overwrite `scores`,
        which are not looked at again."""


@dataclass(frozen=True, slots=True)
class Head:
    """How hidden states become logits: (h Wᵀ + b) · scale, softly capped to ±`softcap` (Gemma 2), over temperature.

    `weight` has the shape (V, H), `bias` (V,).
    """

    weight: Tensor
    bias: Tensor | None = None
    scale: float = 1.0
    softcap: float = 0.0
    temperature: float = 1.0

    def logits(self, hidden: Tensor) -> Tensor:
        """Logits (n, V), in fp32 at least, of hidden states (n, H)."""
        found = _exact(linear(hidden.to(self.weight.dtype), self.weight, self.bias))
        if self.scale != 1.0:
            found = found * self.scale
        if self.softcap:
            found = torch.tanh(found / self.softcap) * self.softcap
        return found / self.temperature if self.temperature != 1.0 else found

    def inward(self, gradient: Tensor, capped: Tensor | None) -> Tensor:
        """The gradient to h Wᵀ + b from that to the logits; `capped` are the logits where there is a softcap."""
        factor = self.scale / self.temperature
        if capped is not None:
            gradient = gradient * (1 - (capped * (self.temperature / self.softcap)) ** 2)
        return gradient * factor if factor != 1.0 else gradient


class _Sums:
    """Gradients to hidden states, weight and bias, chunk after chunk; that of the weight is summed in fp32."""

    def __init__(self, head: Head, wanted: tuple[bool, ...]) -> None:
        self._head, self._wanted = head, wanted
        self._hidden: list[Tensor] = []
        self._weight: Tensor | None = None
        self._bias: Tensor | None = None

    def add(self, hidden: Tensor, gradient: Tensor) -> None:
        """Take a chunk's gradient to h Wᵀ + b, (n, V)."""
        low = gradient.to(self._head.weight.dtype)
        if self._wanted[0]:
            self._hidden.append((low @ self._head.weight).to(hidden.dtype))
        if self._wanted[1]:
            new = low.T @ hidden.to(low.dtype)
            self._weight = new if self._weight is None else _exact(self._weight).add_(new)
        if self._wanted[2]:
            bias = gradient.sum(0)
            self._bias = bias if self._bias is None else self._bias + bias

    def gradients(self) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """To hidden states, weight and bias; None where not wanted."""
        dtype = self._head.weight.dtype
        hidden = torch.cat(self._hidden) if self._hidden else None
        weight, bias = (None if part is None else part.to(dtype) for part in (self._weight, self._bias))
        return hidden, weight, bias


class _Each(torch.autograd.Function):  # type: ignore[misc]
    """Values of each row; logits of a chunk at a time, made again in the backward pass."""

    @staticmethod
    def forward(
        ctx: Any, loss: RowLoss, head: Head, chunk: int, hidden: Tensor, weight: Tensor, bias: Any, *extras: Tensor
    ) -> tuple[Tensor, ...]:
        parts = [loss.values(Scores(head.logits(some)), *more) for some, *more in _chunks(chunk, hidden, *extras)]
        found = tuple(torch.cat(part) for part in zip(*parts, strict=True))
        ctx.loss, ctx.head, ctx.chunk = loss, head, chunk
        ctx.save_for_backward(hidden, weight, bias, *extras)
        ctx.mark_non_differentiable(*found[loss.graded :])
        return found

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, bias, *extras = ctx.saved_tensors
        graded = ctx.loss.graded
        head = replace(ctx.head, weight=weight, bias=bias)
        sums = _Sums(head, ctx.needs_input_grad[3:6])
        for some, *more in _chunks(ctx.chunk, hidden, *gradients[:graded], *extras):
            scores = Scores(head.logits(some))
            sums.add(some, _raw_gradient(ctx.loss, head, scores, tuple(more[:graded]), more[graded:]))
        return None, None, None, *sums.gradients(), *(None for _ in extras)


class _Summed(torch.autograd.Function):  # type: ignore[misc]
    """The weighted sum of values; its gradient is made with it, while the logits are there."""

    @staticmethod
    def forward(
        ctx: Any, loss: RowLoss, head: Head, chunk: int, learns: bool, hidden: Tensor, weight: Tensor, bias: Any,
        *rest: Tensor,
    ) -> tuple[Tensor, ...]:  # fmt: skip
        graded, values = loss.graded, []
        total = _exact(hidden.new_zeros(()))
        sums = _Sums(head, ctx.needs_input_grad[4:7])
        for some, *more in _chunks(chunk, hidden, *rest):
            weights, extras = tuple(more[:graded]), more[graded:]
            scores = Scores(head.logits(some))
            values.append(loss.values(scores, *extras))
            total += sum(((w * v).sum() for w, v in zip(weights, values[-1], strict=False)), total.new_zeros(()))
            if learns:
                sums.add(some, _raw_gradient(loss, head, scores, weights, extras))
        ctx.gradients = sums.gradients()
        found = tuple(torch.cat(part) for part in zip(*values, strict=True))
        ctx.mark_non_differentiable(*found)
        ctx.rest = len(rest)
        return total, *found

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        found = (None if one is None else one.mul_(gradient.to(one.dtype)) for one in ctx.gradients)
        return None, None, None, None, *found, *(None for _ in range(ctx.rest))


def each(loss: RowLoss, hidden: Tensor, head: Head, *extras: Tensor, chunk: int = CHUNK) -> tuple[Tensor, ...]:
    """The values of each row, (N,) in fp32, with gradients to `hidden` (N, H) and to the head's weight and bias.

    Four products of N·V·H multiplications with their gradient (with a frozen head three), and memory for one chunk of
    logits and their gradient.
    """
    found: tuple[Tensor, ...] = _Each.apply(loss, head, chunk, hidden, head.weight, head.bias, *extras)
    return found


def summed(
    loss: RowLoss, hidden: Tensor, head: Head, weights: tuple[Tensor, ...], *extras: Tensor, chunk: int = CHUNK
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The sum of the graded values over all rows, weighted by `weights` (N,) each; and the values, without gradient.

    As `each`, with one product less; the gradient can be taken once only.
    """
    inputs = (hidden, head.weight, head.bias)
    learns = torch.is_grad_enabled() and any(one is not None and one.requires_grad for one in inputs)
    total, *values = _Summed.apply(loss, head, chunk, learns, hidden, head.weight, head.bias, *weights, *extras)
    return total, tuple(values)


def _exact(tensor: Tensor) -> Tensor:
    """In fp32, or fp64 where it is."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def _chunks(chunk: int, *tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Tensors with as many rows each, `chunk` rows at a time; no row is a chunk too."""
    return zip(*(tensor.split(chunk) for tensor in tensors), strict=True)


def _raw_gradient(
    loss: RowLoss, head: Head, scores: Scores, weights: tuple[Tensor, ...], extras: list[Tensor]
) -> Tensor:
    """The gradient to h Wᵀ + b, (n, V)."""
    capped = scores.logits.clone() if head.softcap else None
    alike = tuple(weight.to(scores.logits.dtype) for weight in weights)
    return head.inward(loss.gradient(scores, alike, *extras), capped)
