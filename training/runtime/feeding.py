"""Samples as a stream of updates: stored compactly, shuffled and packed anew each epoch, taken up where it stopped."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from model.format import Mode
from training.examples import Example, Place
from training.packing import Batch, collate, rows
from training.runtime.world import World
from training.seeds import derived, rng

_CARRIES = 0x10
"""The bit of a token's flags that says it carries loss; the others are its place."""


class Stored:
    """Examples in five bytes a token. A sequence: what is taken from it is an `Example` as it was put in."""

    def __init__(self, examples: Iterable[Example] = ()) -> None:
        self._ids, self._flags, self._ends = array("i"), bytearray(), array("q", [0])
        self._about: list[tuple[str, Mode, str]] = []
        for each in examples:
            self.add(each)

    def add(self, example: Example) -> None:
        """Put one in."""
        self._ids.extend(example.ids)
        flags = (
            place | (_CARRIES if carries else 0) for place, carries in zip(example.places, example.loss, strict=True)
        )
        self._flags.extend(flags)
        self._ends.append(len(self._ids))
        self._about.append((example.id, example.mode, example.family))

    def __len__(self) -> int:
        return len(self._about)

    def __getitem__(self, number: int) -> Example:
        span = slice(self._ends[number], self._ends[number + 1])
        flags = self._flags[span]
        loss, places = tuple(bool(one & _CARRIES) for one in flags), tuple(_PLACES[one & 7] for one in flags)
        name, mode, family = self._about[number]
        return Example(name, tuple(self._ids[span]), loss, places, mode, family)

    def __iter__(self) -> Iterator[Example]:
        return map(self.__getitem__, range(len(self)))

    @property
    def tokens(self) -> int:
        """Of all examples."""
        return len(self._ids)

    def digest(self) -> str:
        """The SHA-256 of ids and masks, in order."""
        import hashlib

        return hashlib.sha256(self._ids.tobytes() + bytes(self._flags)).hexdigest()


_PLACES = tuple(Place)


class PackedUpdates:
    """Updates of packed rows, a row a micro-batch. Epoch after epoch, each in an order of its own, for ever.

    An update has `count` rows, as many for each process: `batch` tokens divided by those of a row, at least one a
    process. The rows are the same for any number of processes that divides them, so that the loss is too.
    """

    def __init__(self, examples: Stored, batch: int, row: int, world: World, seed: int, pad_id: int) -> None:
        self._examples, self._row, self._world, self._seed, self._pad = examples, row, world, seed, pad_id
        self.count = max(1, batch // (row * world.size)) * world.size
        self._epoch, self._taken = 0, 0
        self._rows = self._of(0)

    @property
    def epoch(self) -> int:
        """How many rows an epoch has; those of one differ a little from those of the next."""
        return sum(1 for _ in self._of(0))

    def __iter__(self) -> PackedUpdates:
        return self

    def __next__(self) -> list[Batch]:
        taken = [self._next_row() for _ in range(self.count)]
        return [collate([row], self._pad) for row in taken[self._world.rank :: self._world.size]]

    def largest(self) -> Batch:
        """A row that is full, all of it carrying loss."""
        width = self._row
        full = Example("largest", (self._pad,) * width, (True,) * width, (Place.ANSWER,) * width)
        return collate([[full]], self._pad)

    def state_dict(self) -> dict[str, Any]:
        """The epoch, and the rows taken from it."""
        return {"epoch": self._epoch, "taken": self._taken}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self._epoch, self._taken = state["epoch"], state["taken"]
        self._rows = islice(self._of(self._epoch), self._taken, None)

    def _next_row(self) -> list[Example]:
        while (row := next(self._rows, None)) is None:
            self._epoch, self._taken = self._epoch + 1, 0
            self._rows = self._of(self._epoch)
        self._taken += 1
        return row

    def _of(self, epoch: int) -> Iterator[list[Example]]:
        order = list(range(len(self._examples)))
        rng(self._seed, "order", epoch).shuffle(order)
        return rows(map(self._examples.__getitem__, order), self._row, derived(self._seed, "rows", epoch))


def updates_of(rows: int, count: int, epochs: float) -> int:
    """How many updates of `count` rows go over `rows` rows `epochs` times; at least one."""
    return max(1, -(-round(rows * epochs) // count))
