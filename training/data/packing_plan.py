"""Which samples share a row of a batch, so that little of it is padding: best fit, the longest first."""

from __future__ import annotations

import json
from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from assistant.errors import UserError
from model.dialects import dialect
from model.prompt import Dialect, Tokenizer
from training.data.flow.shards import Place, put
from training.data.lengths import PER_TOKEN
from training.data.masking import END_OF_TURN
from training.data.schema import Sample

FILE = "packing.jsonl"


class Length(NamedTuple):
    """A sample's id, and its tokens: prompt, reply and the end of the turn."""

    id: str
    tokens: int


@dataclass(frozen=True, slots=True)
class Packing:
    """Rows of sample ids, each of `capacity` tokens at most; `long` are those that no row can hold."""

    capacity: int
    rows: tuple[tuple[str, ...], ...]
    tokens: int
    long: tuple[str, ...] = ()

    @property
    def fill(self) -> float:
        """The share of all rows' tokens that samples fill."""
        return self.tokens / (self.capacity * len(self.rows)) if self.rows else 0.0

    def said(self) -> str:
        """The plan in one line."""
        count = sum(map(len, self.rows))
        rest = f"; {len(self.long):,} samples are longer" if self.long else ""
        return f"{count:,} samples in {len(self.rows):,} rows of {self.capacity:,} tokens, {self.fill:.2%} full{rest}"


def lengths(samples: Iterable[Sample], tokenizer: Tokenizer | None = None, speech: str = "kat") -> Iterator[Length]:
    """How long each sample is in a dialect; without a tokenizer, by its characters."""
    spoken = dialect(speech)
    for sample in samples:
        yield Length(sample.id, _tokens(sample, tokenizer, spoken))


def plan(lengths: Iterable[Length], capacity: int) -> Packing:
    """The rows: each sample goes where it leaves least free, from the longest to the shortest; a new row if nowhere.

    The same lengths give the same plan, in whatever order they come.

    Raises:
        UserError: the capacity is none.
    """
    if capacity < 1:
        raise UserError("a row holds a token or more; give a capacity above 0")
    rows: list[list[str]] = []
    free: list[tuple[int, int]] = []
    long, tokens = [], 0
    for one in sorted(lengths, key=lambda length: (-length.tokens, length.id)):
        if one.tokens > capacity:
            long.append(one.id)
            continue
        place = bisect_left(free, (one.tokens, 0))
        left, row = free.pop(place) if place < len(free) else (capacity, len(rows))
        if row == len(rows):
            rows.append([])
        rows[row].append(one.id)
        tokens += one.tokens
        insort(free, (left - one.tokens, row))
    return Packing(capacity, tuple(map(tuple, rows)), tokens, tuple(long))


def write(packing: Packing, place: Place) -> None:
    """Put the plan beside the shards: what it is, and then a row of ids a line."""
    head = {"capacity": packing.capacity, "tokens": packing.tokens, "rows": len(packing.rows), "long": packing.long}
    lines = [json.dumps(head), *(json.dumps(row) for row in packing.rows)]
    put(place, FILE, "".join(f"{line}\n" for line in lines))


def _tokens(sample: Sample, tokenizer: Tokenizer | None, spoken: Dialect) -> int:
    prompt = spoken.render(sample.messages, sample.tools, sample.request, sample.judge)
    reply = spoken.write(sample.reply) + END_OF_TURN
    opening = prompt.opening.text if reply.startswith(prompt.opening.text) else ""
    reply = reply.removeprefix(opening)
    if tokenizer is None:
        return max(1, (len(prompt.text) + len(reply)) // PER_TOKEN)
    return len(prompt.token_ids(tokenizer)) + len(tokenizer.encode(reply, specials=True))
