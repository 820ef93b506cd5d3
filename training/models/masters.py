"""bf16 compute with fp32 master weights, in one process and under FSDP2.

A bf16 weight has 8 bits of fraction: an update under 1/256 of it is lost (arXiv 1710.03740 keeps a copy in fp32 for
that). In one process the model stays in bf16, and `Masters` holds the copies that the optimiser works on. Under FSDP2
the shards themselves are the masters: `in_full` makes what is trained fp32 before `fully_shard`, whose
``MixedPrecisionPolicy(param_dtype=bfloat16, reduce_dtype=float32)`` gathers it in bf16; there `Masters` copies nothing.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn


class Masters:
    """fp32 weights for an optimiser, of those that a model computes with.

    `parameters` are what the optimiser and the clipping of gradients take: a copy of each bf16 weight that is trained,
    and the weight itself where it is in fp32. Gradients of micro-batches are added up in fp32, in the copy's `grad`,
    as soon as the backward pass has them; the weight's own is freed then.
    """

    def __init__(self, trained: Iterable[nn.Parameter]) -> None:
        self._trained = [parameter for parameter in trained if parameter.requires_grad]
        self.parameters = [_master(parameter) for parameter in self._trained]
        self._pairs = [(t, m) for t, m in zip(self._trained, self.parameters, strict=True) if t is not m]
        self._hooks = [t.register_post_accumulate_grad_hook(_Into(m)) for t, m in self._pairs]

    def give_back(self) -> None:
        """Round the masters into the model; call it behind each step of the optimiser, and behind loading its state."""
        with torch.no_grad():
            for trained, master in self._pairs:
                trained.copy_(master)

    def state_dict(self) -> dict[str, list[Tensor]]:
        """The copies in fp32, in the order of the weights; empty where there are none."""
        return {"masters": [master.detach() for _, master in self._pairs]}

    def load_state_dict(self, state: dict[str, list[Tensor]]) -> None:
        """Take the copies back, and round them into the model. Raises ValueError if they are not of these weights."""
        with torch.no_grad():
            for (_, master), kept in zip(self._pairs, state["masters"], strict=True):
                master.copy_(kept)
        self.give_back()

    def close(self) -> None:
        """Leave the model's gradients to the model again."""
        for hook in self._hooks:
            hook.remove()


def in_full(model: nn.Module) -> None:
    """Make all weights that are trained fp32, as FSDP2 wants its shards; call it before `fully_shard`."""
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()


def _master(parameter: nn.Parameter) -> nn.Parameter:
    if parameter.dtype == torch.float32:
        return parameter
    return nn.Parameter(parameter.detach().float().clone())


class _Into:
    """A hook that adds a weight's gradient to its master's."""

    __slots__ = ("_master",)

    def __init__(self, master: nn.Parameter) -> None:
        self._master = master

    def __call__(self, trained: Tensor) -> None:
        grad, trained.grad = trained.grad, None
        if grad is None:
            return
        if self._master.grad is None:
            self._master.grad = grad.float()
        else:
            self._master.grad.add_(grad)
