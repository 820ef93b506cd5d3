"""AdamW on fp32 masters for trainers of others, which know one optimiser and nothing of masters."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from training.models.masters import Masters
from training.settings import Fit


class MasteredAdamW(torch.optim.AdamW):  # type: ignore[misc]
    """AdamW (arXiv 1711.05101) for the trained weights of a model in bf16; clipping is its own.

    Gradients are in the masters, where a trainer does not look for them: so its own clipping is to be off. `norm` is
    the gradients' norm at the last step; a step whose norm is no number changes nothing.
    """

    def __init__(self, model: nn.Module, fit: Fit) -> None:
        self._masters = Masters(model.parameters())
        self._clip = fit.clip or math.inf
        self.norm = 0.0
        super().__init__(self._masters.parameters, lr=fit.lr, betas=fit.betas, weight_decay=fit.decay)

    def step(self, closure: Callable[[], float] | None = None) -> None:
        """Apply the gradients, and round the masters into the model."""
        self.norm = float(nn.utils.clip_grad_norm_(self._masters.parameters, self._clip))
        if math.isfinite(self.norm):
            super().step(closure)
            self._masters.give_back()
        for master in self._masters.parameters:
            master.grad = None  # trainers clear the model's gradients, and know of no others

    def state_dict(self) -> dict[str, Any]:
        """Moments and masters."""
        return {**super().state_dict(), **self._masters.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take both back."""
        self._masters.load_state_dict({"masters": state_dict["masters"]})
        super().load_state_dict({name: value for name, value in state_dict.items() if name != "masters"})


def needs_masters(model: nn.Module) -> bool:
    """Whether trained weights are in less than fp32, where small updates would be lost."""
    return any(each.requires_grad and each.dtype != torch.float32 for each in model.parameters())
