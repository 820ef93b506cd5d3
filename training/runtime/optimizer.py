"""AdamW (arXiv 1711.05101) over what is trained, its rate by the update, and its state as named tensors."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from assistant.errors import UserError
from training.models.masters import Masters
from training.settings import Fit

_MOMENTS = ("exp_avg", "exp_avg_sq")


def rate(fit: Fit, step: int, steps: int) -> float:
    """The learning rate of update `step` (0-based) of `steps`: linear warm-up, then the schedule, down to 0."""
    if step < fit.warmup:
        return fit.lr * (step + 1) / fit.warmup
    done = min(1.0, (step - fit.warmup) / max(1, steps - fit.warmup))
    match fit.schedule:
        case "cosine":
            return fit.lr * 0.5 * (1 + math.cos(math.pi * done))
        case "linear":
            return fit.lr * (1 - done)
        case "constant":
            return fit.lr


class Optimizer:
    """Updates the trained weights of a module, of which fp32 masters are kept where it computes in less.

    Matrices decay, norms and biases do not. The moments exist from the start, so that memory is known before the
    first update, and a checkpoint of step 0 is as large as any.
    """

    def __init__(self, module: nn.Module, fit: Fit) -> None:
        trained = {name: weight for name, weight in module.named_parameters() if weight.requires_grad}
        if not trained:
            raise UserError("nothing of the model is trained; give the recipe [model.lora], or no [model.expand]")
        self._masters = Masters(trained.values())
        self.weights: dict[str, Tensor] = dict(zip(trained, self._masters.parameters, strict=True))
        self._clip = fit.clip
        self._adamw = torch.optim.AdamW(_groups(self.weights.values(), fit.decay), lr=0.0, betas=fit.betas, fused=True)
        for tensor in self.weights.values():
            state = {name: torch.zeros_like(tensor, requires_grad=False) for name in _MOMENTS}
            self._adamw.state[tensor] = {"step": torch.zeros((), device=tensor.device), **state}

    def step(self, rate: float) -> float:
        """Apply the gradients and drop them; gives their norm before clipping. A norm that is none applies nothing."""
        norm = self._clipped()
        if math.isfinite(norm):
            for group in self._adamw.param_groups:
                group["lr"] = rate
            self._adamw.step()
            self._masters.give_back()
        self.clear()
        return norm

    def clear(self) -> None:
        """Drop the gradients."""
        for tensor in self.weights.values():
            tensor.grad = None

    def tensors(self) -> dict[str, Tensor]:
        """Weights and moments by name, as they are in memory: what a checkpoint holds and is loaded into."""
        found = {f"weight.{name}": tensor.detach() for name, tensor in self.weights.items()}
        for name, tensor in self.weights.items():
            state = self._adamw.state[tensor]
            found |= {f"{moment}.{name}": state[moment] for moment in (*_MOMENTS, "step")}
        return found

    def loaded(self) -> None:
        """Take over what was loaded into `tensors`."""
        self._masters.give_back()

    def _clipped(self) -> float:
        norm: Any = nn.utils.clip_grad_norm_(list(self.weights.values()), self._clip or math.inf, foreach=False)
        return float(norm.full_tensor() if hasattr(norm, "full_tensor") else norm)


def _groups(weights: Iterable[Tensor], decay: float) -> list[dict[str, Any]]:
    every = list(weights)
    matrices, rest = [each for each in every if each.dim() > 1], [each for each in every if each.dim() < 2]
    groups = ({"params": matrices, "weight_decay": decay}, {"params": rest, "weight_decay": 0.0})
    return [group for group in groups if group["params"]]
