"""Packing: several documents in a row of a batch, none of which sees another; and batches as tensors.

Rows are filled by best fit, the longest first (as Ding et al., arXiv 2404.10830): nothing is cut, little is padding.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import chain, islice
from typing import Any

import torch
from torch import Tensor

from training.examples import IGNORED, Example, Place
from training.seeds import rng

WINDOW = 1024
"""Examples that are packed together; our choice: enough that rows are over 99 % full."""
PADDING = -1
"""The document of a position that is padding."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of packed documents; each field is a tensor of shape (B, T), of dtype int64.

    `positions` restart at 0 with each document, by which attention knows them apart; in the padding they go on, for
    causal attention keeps it from all that stands before. `documents` is the index of the document in its row.
    `targets` is the next token of the same document where it carries loss, else -100. `places` is the segment (`Place`)
    of the target, PROMPT where there is none.
    """

    ids: Tensor
    positions: Tensor
    documents: Tensor
    targets: Tensor
    places: Tensor

    def to(self, device: Any) -> Batch:
        """The same on another device."""
        return Batch(*(getattr(self, field.name).to(device, non_blocking=True) for field in fields(self)))

    @property
    def tokens(self) -> int:
        """How many positions carry loss."""
        return int((self.targets != IGNORED).sum())

    @property
    def filled(self) -> float:
        """The share of positions that are no padding."""
        return float((self.documents != PADDING).float().mean())

    @property
    def lengths(self) -> tuple[tuple[int, ...], ...]:
        """The lengths of each row's documents; padding at its end is one more."""
        return tuple(tuple(row.unique_consecutive(return_counts=True)[1].tolist()) for row in self.documents)

    @property
    def attention(self) -> dict[str, Any]:
        """What a model of transformers is called with.

        No mask and no cache: only then are documents told apart by where positions restart; a model that keeps a cache
        lets each see those before it, without a word.
        """
        return {"input_ids": self.ids, "position_ids": self.positions, "use_cache": False}


def rows(
    examples: Iterable[Example],
    row: int,
    seed: int,
    window: int = WINDOW,
    left_out: Callable[[Example], None] = lambda _: None,
) -> Iterator[list[Example]]:
    """Examples in rows of at most `row` tokens; the same examples and seed give the same rows in the same order.

    Each `window` of examples is packed for itself and its rows shuffled; the emptiest is packed again with the next.
    `left_out` is told of those that no row can hold.
    """
    rest: list[Example] = []
    for number, some in enumerate(_windows(examples, window)):
        for example in some:
            (rest.append if len(example) <= row else left_out)(example)
        packed = _best_fit(rest, row)
        rest = packed.pop() if packed else []
        rng(seed, "rows", number).shuffle(packed)
        yield from packed
    if rest:
        yield rest


def collate(rows: Sequence[Sequence[Example]], pad_id: int, width: int | None = None) -> Batch:
    """Rows as tensors, padded on the right to `width`, by default to the longest.

    Raises:
        ValueError: a row is longer than `width`, or there is none.
    """
    longest = max(sum(map(len, row)) for row in rows)
    width = longest if width is None else width
    if longest > width:
        raise ValueError(f"a row has {longest} tokens, more than the {width} it is to be padded to")
    return Batch(
        _filled(rows, lambda example, _: example.ids, width, pad_id),
        _positions(rows, width),
        _filled(rows, lambda example, index: [index] * len(example), width, PADDING),
        _filled(rows, lambda example, _: example.targets, width, IGNORED),
        _filled(rows, lambda example, _: _places(example), width, Place.PROMPT),
    )


def _windows(examples: Iterable[Example], window: int) -> Iterator[list[Example]]:
    stream = iter(examples)
    while some := list(islice(stream, window)):
        yield some


def _best_fit(examples: Iterable[Example], row: int) -> list[list[Example]]:
    """Rows, the fullest first: each example goes where it leaves least free, from the longest to the shortest."""
    packed: list[list[Example]] = []
    free: list[tuple[int, int]] = []
    for example in sorted(examples, key=lambda one: (-len(one), one.id)):
        place = bisect_left(free, (len(example), 0))
        left, index = free.pop(place) if place < len(free) else (row, len(packed))
        if index == len(packed):
            packed.append([])
        packed[index].append(example)
        insort(free, (left - len(example), index))
    return [packed[index] for _, index in free]


def _filled(
    rows: Sequence[Sequence[Example]], values: Callable[[Example, int], Sequence[int]], width: int, padding: int
) -> Tensor:
    """A tensor (B, width) of what `values` gives for each document, by its index in the row."""
    found = torch.full((len(rows), width), padding, dtype=torch.int64)
    for line, row in zip(found, rows, strict=True):
        joined = list(chain.from_iterable(values(example, index) for index, example in enumerate(row)))
        line[: len(joined)] = torch.tensor(joined, dtype=torch.int64)
    return found


def _positions(rows: Sequence[Sequence[Example]], width: int) -> Tensor:
    """Positions within documents; the last document's go on to the end of the row."""
    found = torch.arange(width).repeat(len(rows), 1)
    for line, row in zip(found, rows, strict=True):
        start = 0
        for example in row:
            line[start:] = torch.arange(width - start)
            start += len(example)
    return found


def _places(example: Example) -> list[int]:
    """The segment of each position's target."""
    pairs = zip(example.targets, (*example.places[1:], Place.PROMPT), strict=True)
    return [int(place) if target != IGNORED else int(Place.PROMPT) for target, place in pairs]
