"""Keeps named benchmarks out of the data, by lists of hashes of their words, so that no benchmark need be shipped.

A list is one file of JSON: hashes of all runs of `n` words of a benchmark's texts, or a part of them that is chosen by
the hash itself, so that both sides choose alike (Manber 1994); and signatures of functions. Thirteen words are GPT-3's
choice (arXiv 2005.14165, appendix C). `hashes` and `write` make a list from texts that a user has.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from assistant.errors import UserError
from training.data.flow.shards import Place, system_of
from training.data.guards.hashing import RECIPE, Hashes, of_runs
from training.data.guards.texts import TaskOrSample, fixed_of, words_of
from training.data.schema import Refused, Sample, Task
from training.data.stage import Context, place

WORDS = 13
_WORD = re.compile(r"[^\W\d_\u3400-\u9fff]+|\d+|[\u3400-\u9fff]")
_DEFINED = re.compile(r"\bdef[ \t]+(\w+)[ \t]*\(([^()]*(?:\([^()]*\)[^()]*)*)\)")
_NESTED = re.compile(r"\[[^\[\]]*\]|\([^()]*\)|\{[^{}]*\}")
_PARAMETER = re.compile(r"\s*\**(\w+)")
_VERSION = 1
_OURS = "benchmark_hashes"


@dataclass(frozen=True, slots=True)
class HashList:
    """A benchmark, as hashes. `one_in` says which part of them was kept: those that it divides.

    `functions` are signatures (`signature`), where the benchmark is known by the names of its functions.
    """

    name: str
    n: int
    one_in: int
    hashes: Hashes
    functions: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Contamination:
    """Refuses what holds a part of a benchmark (`contaminated`).

    Of any one text of a record, a `share` of its runs of words may be in a list, and `most` of them at all (counted as
    if lists were complete); both are our choice. `lists` are files as `write` makes them, `ours` adds those that come
    with the program: HumanEval, and the functions of QuixBugs.
    """

    lists: tuple[str, ...] = place(())
    share: float = 0.1
    most: int = 16
    ours: bool = True

    name: ClassVar[str] = "contamination"
    version: ClassVar[int] = 1
    reads: ClassVar[Any] = Task | Sample
    writes: ClassVar[Any] = Task | Sample
    whole: ClassVar[bool] = False

    def __call__(self, records: Iterable[TaskOrSample], context: Context) -> Iterator[TaskOrSample | Refused]:
        """The records that hold nothing of the benchmarks.

        Raises:
            UserError: a list cannot be read.
        """
        known = [*(shipped() if self.ours else ()), *map(read, self.lists)]
        for record in records:
            why = self.objection(record, known)
            yield Refused(record.id, "contaminated", why) if why else record

    def objection(self, record: Task | Sample, known: Sequence[HashList]) -> str:
        """What of which benchmark a record holds, or an empty string."""
        texts = dict.fromkeys(text for text in (*words_of(record), *fixed_of(record)) if text)
        return next((why for text in texts for one in known if (why := self._held(text, one))), "")

    def _held(self, text: str, one: HashList) -> str:
        if one.functions and (same := [name for key, name in _signatures(text) if key in one.functions]):
            return f"{same[0]} is a function of {one.name}."
        if not len(one.hashes):
            return ""
        mine = _kept(_runs(text, one.n), one.one_in)
        found = int((one.hashes[np.searchsorted(one.hashes, mine).clip(max=len(one.hashes) - 1)] == mine).sum())
        if found and (found * one.one_in >= self.most or found >= self.share * len(mine)) and found > 1:
            return f"{found} of {len(mine)} runs of {one.n} words are in {one.name}."
        return ""


def hashes(texts: Iterable[str], n: int = WORDS, one_in: int = 1) -> Hashes:
    """The hashes of all runs of `n` words of the texts that `one_in` divides, sorted."""
    found = [_runs(text, n) for text in texts]
    return _kept(np.concatenate(found), one_in) if found else np.zeros(0, dtype=np.uint64)


def signature(name: str, parameters: Iterable[str]) -> str:
    """A function as lists name it: its name, and its parameters without types and defaults, hashed."""
    plain = f"{name}({','.join(parameters)})"
    return hashlib.blake2b(plain.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def write(path: Path, one: HashList) -> None:
    """Write a list: the same bytes each time."""
    record = {
        "version": _VERSION,
        "name": one.name,
        "n": one.n,
        "hash": RECIPE,
        "one_in": one.one_in,
        "hashes": base64.b64encode(one.hashes.astype("<u8").tobytes()).decode(),
        "functions": sorted(one.functions),
    }
    path.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read(path: Place) -> HashList:
    """Read a list, from any file system.

    Raises:
        UserError: it is not there, or is none.
    """
    try:
        system, there = system_of(path)
        return _read(system.cat_file(there).decode())
    except OSError as error:
        raise UserError(f"the hash list {path} cannot be read: {error.strerror or 'it is not there'}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UserError(f"{path} is no hash list of version {_VERSION} ({RECIPE}); make it anew") from None


@lru_cache(1)
def shipped() -> tuple[HashList, ...]:
    """The lists that come with the program."""
    folder = files("training.data.guards").joinpath(_OURS)
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".json"))
    return tuple(_read(folder.joinpath(name).read_text("utf-8")) for name in names)


def _read(text: str) -> HashList:
    record = json.loads(text)
    if (record["version"], record["hash"]) != (_VERSION, RECIPE):
        raise ValueError("another version")
    values = np.frombuffer(base64.b64decode(record["hashes"], validate=True), dtype="<u8").astype(np.uint64)
    return HashList(record["name"], int(record["n"]), int(record["one_in"]), values, frozenset(record["functions"]))


@lru_cache(4_096)
def _runs(text: str, n: int) -> Hashes:
    return np.unique(of_runs([word.lower() for word in _WORD.findall(text)], n))


def _kept(values: Hashes, one_in: int) -> Hashes:
    return np.unique(values[values % np.uint64(one_in) == 0])


@lru_cache(4_096)
def _signatures(text: str) -> tuple[tuple[str, str], ...]:
    """Each function that a text defines, as lists name it and by its name."""
    return tuple((signature(name, _parameters(inside)), name) for name, inside in _DEFINED.findall(text))


def _parameters(inside: str) -> Iterator[str]:
    """The names between the brackets of a definition."""
    plain = inside
    while plain != (plain := _NESTED.sub("", plain)):
        pass
    yield from (found[1] for part in plain.split(",") if (found := _PARAMETER.match(part)))
