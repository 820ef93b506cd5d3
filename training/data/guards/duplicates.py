"""Near-duplicates within the training split, and overlap with what is held out.

Two records are near-duplicates when their prompts and their replies are alike, both by the Jaccard similarity of
shingles of tokens; candidates come from MinHash signatures cut into bands (Broder 1997; Indyk and Motwani 1998). A
training record overlaps with a held-out one when the prompts alone are alike: there, another reply to what is asked in
the test is a leak too.
"""

from __future__ import annotations

import re
import zlib
from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from training.data.guards.hashing import of_runs
from training.data.repositories.diffs import changed
from training.data.schema import Refused, Sample, Task
from training.data.stage import Context

Shingles = NDArray[np.uint32]

_ROWS, _BANDS = 5, 25
"""125 permutations. Two prompts at a similarity of 0.8 are missed once in 20,000 pairs, at 0.3 compared in 6 of 100.
Where long replies differ too, both at 0.8, 6 of 100 are missed, and both at 0.85 one of 240."""
_SIZE = 5
"""Tokens in a shingle of code or words; our choice."""
_FEW = 24
"""Tokens below which replies must be equal to be alike: one character is much of a short one. Our choice."""
_TOKEN = re.compile(r"[^\W\d_\u3400-\u9fff]+|\d+|_|[\u3400-\u9fff]|[^\w\s]")


@dataclass(frozen=True, slots=True)
class _Text:
    """A text as shingles (sorted, each once), the beginnings of its bands, and its hash where it is short."""

    shingles: Shingles
    bands: tuple[bytes, ...]
    exact: int

    def like(self, other: _Text, threshold: float) -> bool:
        if self.exact or other.exact:
            return self.exact == other.exact
        return similarity(self.shingles, other.shingles) >= threshold


@dataclass(frozen=True, slots=True)
class Duplicates:
    """Keeps the first of near-duplicates in the training split (`duplicate`), and none of what is held out (`overlap`).

    `threshold` is the Jaccard similarity from which on texts are alike. Samples of different modes are no duplicates.
    """

    threshold: float = 0.8
    seed: int = 0

    name: ClassVar[str] = "duplicates"
    version: ClassVar[int] = 1
    reads: ClassVar[Any] = Task | Sample
    writes: ClassVar[Any] = Task | Sample
    whole: ClassVar[bool] = True

    def __call__(self, records: Iterable[Task | Sample], context: Context) -> Iterator[Task | Sample | Refused]:
        """The records that stay, in order."""
        rows = list(records)
        held_out, kept = _Index(self.threshold), _Index(self.threshold)
        for record in rows:
            if record.split != "train":
                held_out.add(record.id, _prompt(record, self.seed))
        for record in rows:
            yield record if record.split != "train" else self._judged(record, held_out, kept)

    def _judged(self, record: Task | Sample, held_out: _Index, kept: _Index) -> Task | Sample | Refused:
        prompt = _prompt(record, self.seed)
        if twin := held_out.find(prompt):
            return Refused(record.id, "overlap", f"its prompt is much like that of {twin}, which is held out.")
        reply, kind = _text(reply_of(record), self.seed), record.mode if isinstance(record, Sample) else record.kind
        if twin := kept.find(prompt, reply, kind):
            return Refused(record.id, "duplicate", f"it is much like {twin}.")
        kept.add(record.id, prompt, reply, kind)
        return record


class _Index:
    """What was seen, by bands of the prompt and, where one is given, of the reply at the same place."""

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self._places: defaultdict[Hashable, list[int]] = defaultdict(list)
        self._seen: list[tuple[str, _Text, _Text | None]] = []

    def add(self, name: str, prompt: _Text, reply: _Text | None = None, kind: str = "") -> None:
        for key in _keys(prompt, reply, kind):
            self._places[key].append(len(self._seen))
        self._seen.append((name, prompt, reply))

    def find(self, prompt: _Text, reply: _Text | None = None, kind: str = "") -> str:
        """The first record seen that is like this one, or an empty string."""
        places = {place for key in _keys(prompt, reply, kind) for place in self._places.get(key, ())}
        return next((self._seen[place][0] for place in sorted(places) if self._like(place, prompt, reply)), "")

    def _like(self, place: int, prompt: _Text, reply: _Text | None) -> bool:
        _, other, other_reply = self._seen[place]
        if reply is not None and other_reply is not None and not reply.like(other_reply, self._threshold):
            return False
        return prompt.like(other, self._threshold)


def prompt_of(record: Task | Sample) -> str:
    """What is asked: of a sample, the first words of the user and the last message, between which lies only history."""
    if isinstance(record, Task):
        return "\n".join(
            (record.statement, record.context, *(row for sign in " -+" for row in changed(record.start, sign)))
        )
    asked = [message.content for message in record.messages if message.role != "system"]
    return "\n".join(asked[:1] + asked[1:][-1:])


def reply_of(record: Task | Sample) -> str:
    """What is to be learned, without judge and thought, which say the same in other words."""
    if isinstance(record, Task):
        return "\n".join((record.answer, *changed(record.solution, "-"), *changed(record.solution, "+")))
    return "\n".join((record.answer, *(f"{call.name} {sorted(call.arguments.items())}" for call in record.calls)))


def similarity(one: Shingles, two: Shingles) -> float:
    """The Jaccard similarity of two sorted sets; of two empty ones, 1."""
    both = len(np.intersect1d(one, two, assume_unique=True))
    union = len(one) + len(two) - both
    return both / union if union else 1.0


def shingles(text: str) -> Shingles:
    """Hashes of all runs of `_SIZE` tokens, sorted, each once; a shorter text is one shingle."""
    tokens = _TOKEN.findall(text)
    return np.unique((of_runs(tokens, min(_SIZE, len(tokens))) >> np.uint64(32)).astype(np.uint32))


def _prompt(record: Task | Sample, seed: int) -> _Text:
    return _text(prompt_of(record), seed)


def _text(text: str, seed: int) -> _Text:
    found = shingles(text)
    short = len(found) + _SIZE - 1 < _FEW
    exact = zlib.crc32(" ".join(_TOKEN.findall(text)).encode("utf-8", "surrogatepass")) + 1 if short else 0
    if short:
        return _Text(found, (exact.to_bytes(8, "big"),) * _BANDS, exact)
    values = _signature(found, seed)
    return _Text(found, tuple(values[at : at + _ROWS].tobytes() for at in range(0, len(values), _ROWS)), 0)


def _signature(found: Shingles, seed: int) -> NDArray[np.uint32]:
    from datasketch import MinHash

    sketch = MinHash(_ROWS * _BANDS, seed=1, hashfunc=int, scheme="affine32", permutations=_permutations(seed))
    sketch.update_batch(found)
    values: NDArray[np.uint32] = sketch.hashvalues
    return values


@lru_cache(4)
def _permutations(seed: int) -> Any:
    from datasketch import MinHash

    return MinHash(_ROWS * _BANDS, seed=seed % 2**32, scheme="affine32").permutations


def _keys(prompt: _Text, reply: _Text | None, kind: str) -> Iterator[Hashable]:
    for place, band in enumerate(prompt.bands):
        yield (place, band, reply.bands[place] if reply is not None else b"", kind)
