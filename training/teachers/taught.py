"""Batches with what a teacher says of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from training.examples import IGNORED, Example, Place
from training.packing import Batch, collate
from training.runtime.feeding import PackedUpdates
from training.teachers.store import Said

Say = Callable[[Sequence[int]], "Said | None"]
"""What a teacher says of a text; None: nothing is known."""
Rewrite = Callable[[Sequence[Example], int], list[Example]]
"""The student's own replies in place of those of examples, in the update of this number."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What a teacher says: its `top` likeliest tokens at each place, or with `spans` of stretches, how likely they are
    (`training.teachers.across`); `top` is 1 then."""

    top: int
    spans: bool = False


@dataclass(frozen=True, slots=True)
class Taught:
    """A batch of (B, T), and of each position the teacher's k likeliest next tokens: `top` and `logp` (B, T, k).

    `known` (B, T) is where there are such; elsewhere the rows are of k different tokens that have no probability. With
    `spans` k is 1, `top` at the end of a stretch is its number of tokens, else 0, `logp` there is of the whole stretch,
    and `known` is where a token belongs to one. `mtp` is m, the weight of multi-token prediction in this update.
    """

    batch: Batch
    top: Tensor
    logp: Tensor
    known: Tensor
    mtp: float = 0.0
    spans: bool = False

    def to(self, device: Any) -> Taught:
        """The same on another device."""
        top, logp, known = (each.to(device, non_blocking=True) for each in (self.top, self.logp, self.known))
        return replace(self, batch=self.batch.to(device), top=top, logp=logp, known=known)

    @property
    def ids(self) -> Tensor:
        """The tokens, (B, T)."""
        return self.batch.ids

    @property
    def tokens(self) -> int:
        """How many positions carry loss."""
        return self.batch.tokens


def taught(batch: Batch, say: Say, kind: Kind, mtp: float = 0.0) -> Taught:
    """Put what a teacher says of a batch's documents beside it; stretches count where all of their tokens do."""
    shape = (*batch.ids.shape, kind.top)
    found = torch.arange(kind.top, dtype=torch.int32).expand(shape).clone()
    logp = torch.full(shape, -torch.inf)
    known = torch.zeros(batch.ids.shape, dtype=torch.bool)
    for row, span in _documents(batch):
        said = say(batch.ids[row, span].tolist())
        if said is None or not len(said.top):
            continue
        where = slice(span.start, span.stop - 1)
        found[row, where] = torch.from_numpy(said.top.copy())
        logp[row, where] = torch.from_numpy(said.logp.astype("float32"))
        known[row, where] = True
    if kind.spans:
        known = _within(found[..., 0], batch.targets != IGNORED)
    return Taught(batch, found, logp, known, mtp, kind.spans)


def _within(sizes: Tensor, carries: Tensor) -> Tensor:
    """Where tokens belong to stretches, (B, T), from the size of that which ends there; `sizes` forgets stretches that
    have a token without loss."""
    known = torch.zeros_like(carries)
    for row, end in sizes.nonzero().tolist():
        span = slice(end - int(sizes[row, end]) + 1, end + 1)
        if carries[row, span].all():
            known[row, span] = True
        else:
            sizes[row, end] = 0
    return known


def _documents(batch: Batch) -> Iterator[tuple[int, slice]]:
    """The rows and spans of a batch's documents."""
    for row, line in enumerate(batch.documents.tolist()):
        start = 0
        while start < len(line) and line[start] >= 0:
            end = start
            while end < len(line) and line[end] == line[start]:
                end += 1
            yield row, slice(start, end)
            start = end


class TaughtUpdates:
    """Updates of packed rows with a teacher's rows beside; a share of them on the student's own texts.

    m goes from `mtp[0]` to `mtp[1]` over `steps` updates. With `rewrite`, the replies of every 1/`on_policy`-th update
    are the student's as it is then (GKD, arXiv 2306.13649), and `live` says what the teacher says of them.
    """

    def __init__(
        self, packed: PackedUpdates, say: Say, kind: Kind, *, mtp: tuple[float, float] = (0.0, 0.0), steps: int = 1,
        on_policy: float = 0.0, rewrite: Rewrite | None = None, live: Say | None = None, pad_id: int = 0,
    ) -> None:  # fmt: skip
        self._packed, self._say, self._kind, self._mtp, self._steps = packed, say, kind, mtp, steps
        self._share, self._rewrite, self._live, self._pad = on_policy if rewrite else 0.0, rewrite, live, pad_id
        self._step = 0

    def __iter__(self) -> TaughtUpdates:
        return self

    def __next__(self) -> list[Taught]:
        step, batches = self._step, next(self._packed)
        self._step += 1
        weight = self._weight(step)
        if self._rewrite and int((step + 1) * self._share) > int(step * self._share):
            own = [self._own(batch, step) for batch in batches]
            return [_of_own(taught(batch, self._live or self._say, self._kind, weight)) for batch in own]
        return [taught(batch, self._say, self._kind, weight) for batch in batches]

    def largest(self) -> Taught:
        """A full row, of which everything is known."""
        full = taught(self._packed.largest(), lambda ids: None, self._kind, max(self._mtp))
        even = torch.full_like(full.logp, -float(torch.tensor(2.0 * self._kind.top).log()))
        sizes = torch.ones_like(full.top) if self._kind.spans else full.top
        return replace(full, top=sizes, logp=even, known=torch.ones_like(full.known))

    def state_dict(self) -> dict[str, Any]:
        """Where it is."""
        return {"packed": self._packed.state_dict(), "step": self._step}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self._packed.load_state_dict(state["packed"])
        self._step = state["step"]

    def _weight(self, step: int) -> float:
        first, last = self._mtp
        return first + (last - first) * min(1.0, step / max(1, self._steps - 1))

    def _own(self, batch: Batch, step: int) -> Batch:
        assert self._rewrite is not None
        examples = [document_of(batch, row, span) for row, span in _documents(batch)]
        return collate([self._rewrite(examples, step)], self._pad, batch.ids.shape[1])


def _of_own(given: Taught) -> Taught:
    """Without loss where nothing is known: a student learns nothing from its own words alone."""
    targets = given.batch.targets.masked_fill(~given.known, IGNORED)
    return replace(given, batch=replace(given.batch, targets=targets))


def document_of(batch: Batch, row: int, span: slice) -> Example:
    """A document of a batch as an example again."""
    ids = tuple(batch.ids[row, span].tolist())
    targets = batch.targets[row, span].tolist()
    places = batch.places[row, span].tolist()
    loss = (False, *(target != IGNORED for target in targets[:-1]))
    return Example(f"{row}.{span.start}", ids, loss, (Place.PROMPT, *(Place(place) for place in places[:-1])))
