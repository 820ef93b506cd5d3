"""What the loop fits, and what it is fed with: two protocols, and the loss of a micro-batch.

An update is several micro-batches in several processes. So that its loss is a mean over all of their tokens, whoever
computes them, a loss first counts what it divides by (`counts`, from the batch alone), the loop sums that over the
update, and `forward` divides by the sums. Contributions then add up to the loss, and gradients to its gradient.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from torch import Tensor


class Losses(NamedTuple):
    """What a micro-batch contributes to an update: `total` is a scalar with a gradient. FSDP2 looks for it in tuples.

    `parts` are scalars for the metrics (loss_ce, entropy, …), each divided by one of the totals too, so that their sum
    over micro-batches and processes is the figure. They carry no gradient.
    """

    total: Tensor
    parts: Mapping[str, Tensor] = {}


class LossModel(Protocol):
    """A module (`torch.nn.Module`) that holds the model and computes its loss inside `forward`, so that the hooks of
    FSDP2 see all of its weights in use."""

    def counts(self, batch: Any) -> Mapping[str, float]:
        """What the loss of this batch is divided by, by name (``tokens`` among them); the model is not asked."""

    def __call__(self, batch: Any, totals: Mapping[str, float]) -> Losses:
        """The contribution of a micro-batch to an update whose counts sum to `totals`, over all processes."""


class Updates(Protocol):
    """A stream of updates: each is this process's micro-batches, as many in every process; it goes on for ever."""

    def __next__(self) -> Sequence[Any]:
        """The micro-batches of the next update, each with `.to(device)`."""

    def largest(self) -> Any | None:
        """A micro-batch as large as any that may come, to try first whether memory suffices; None: not known."""

    def state_dict(self) -> dict[str, Any]:
        """Where the stream is, as JSON can hold it."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
