"""Rows of a teacher: of each text its k likeliest next tokens at every position, in Parquet, made once.

A record is a text. With k = 64 a token takes at most 384 bytes before compression, against 98 kB of full logits in
bf16 for a vocabulary of 49,152. Parts are written whole and renamed, so that a run that was killed goes on behind the
last of them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from assistant.errors import UserError
from training.runtime.folder import put

ABOUT = "teacher.json"
_SCHEMA = pa.schema(
    [("key", pa.string()), ("ids", pa.list_(pa.int32())), ("top", pa.list_(pa.int32())), ("logp", pa.binary())]
)
"""Log-probabilities are float16 in the order of `top`, as bytes."""
_PROBE = "def f(x):\n\treturn {'a': x + 1}  # Ünïcode 思考 <think> <|im_end|>\n"
"""A text on which tokenizers that split differently do; our choice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """Whose rows they are. `tokenizer` is the student's hash by `tokenizer_hash`, `top` is k.

    `spans`: the teacher's tokens are others, and rows are of stretches (`training.teachers.across`).
    """

    teacher: str
    revision: str
    tokenizer: str
    top: int
    temperature: float = 1.0
    spans: bool = False


class Said(NamedTuple):
    """What a teacher says of a text of T ids: `top` (T-1, k) int32, the likeliest first, and `logp` (T-1, k) float16.

    Row t is of the token behind the first t+1.
    """

    top: np.ndarray[Any, Any]
    logp: np.ndarray[Any, Any]


class Store:
    """The folder of one teacher's rows. Several processes may add to it, each by a `rank` of its own.

    Raises UserError where it holds those of another teacher, or made with another tokenizer.
    """

    def __init__(self, folder: Path, about: About, rank: int = 0) -> None:
        self.folder, self.about, self._rank = folder, about, rank
        _expect_same(folder, about)
        self._where: dict[str, tuple[Path, int]] = {}
        self._parts = 0
        for part in sorted(folder.glob("part-*.parquet")):
            self._index(part)
        self._read = lru_cache(maxsize=4)(_table)

    def __len__(self) -> int:
        return len(self._where)

    def __contains__(self, ids: Sequence[int]) -> bool:
        return key(ids) in self._where

    def add(self, said: Iterable[tuple[Sequence[int], Said]]) -> None:
        """Write a part with these texts."""
        rows = [
            {"key": key(ids), "ids": list(ids), "top": each.top.ravel(), "logp": each.logp.astype("<f2").tobytes()}
            for ids, each in said
        ]
        part = self.folder / f"part-{self._parts:06d}-{self._rank}.parquet"
        unfinished = part.with_suffix(".unfinished")
        pq.write_table(pa.Table.from_pylist(rows, _SCHEMA), unfinished, compression="zstd")
        unfinished.replace(part)
        self._index(part)

    def get(self, ids: Sequence[int]) -> Said | None:
        """What the teacher says of a text; None: not stored."""
        found = self._where.get(key(ids))
        if found is None:
            return None
        part, row = found
        table = self._read(part)
        shape = (max(0, len(ids) - 1), -1)
        logp = np.frombuffer(table["logp"][row].as_py(), "<f2")
        top = table["top"][row].values.to_numpy(zero_copy_only=False)
        return Said(top.reshape(shape) if len(top) else top.reshape(0, 1), _shaped(logp, shape))

    def _index(self, part: Path) -> None:
        keys = pq.read_table(part, columns=["key"])["key"].to_pylist()
        self._where |= {one: (part, row) for row, one in enumerate(keys)}
        self._parts = max(self._parts, int(part.stem.split("-")[1]) + 1)


def key(ids: Sequence[int]) -> str:
    """What a text is found by."""
    return hashlib.sha256(np.asarray(ids, "<i4").tobytes()).hexdigest()[:32]


def tokenizer_hash(tokenizer: Any) -> str:
    """The hash of a transformers tokenizer: of its vocabulary, and of how it splits a text."""
    split = tokenizer(_PROBE, add_special_tokens=False)["input_ids"]
    said = json.dumps([sorted(tokenizer.get_vocab().items()), list(split)], ensure_ascii=True)
    return hashlib.sha256(said.encode()).hexdigest()[:16]


def probe() -> str:
    """The text whose ids tell tokenizers apart where a vocabulary cannot be asked for."""
    return _PROBE


def _expect_same(folder: Path, about: About) -> None:
    """Raise where the folder is of another teacher; begin it where it is of none."""
    file = folder / ABOUT
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        put(file, json.dumps(asdict(about), indent=1) + "\n")
        return
    there = About(**json.loads(file.read_text("utf-8")))
    if there.tokenizer != about.tokenizer:
        raise UserError(
            f"the store {folder} was made for a model with another tokenizer than the one that is trained; name another"
            " folder in distill.store"
        )
    if there != about:
        differs = [name for name, value in asdict(about).items() if getattr(there, name) != value]
        raise UserError(f"the store {folder} differs in {', '.join(differs)}; name another folder in distill.store")


def _table(part: Path) -> Any:
    return pq.read_table(part, columns=["top", "logp"])


def _shaped(values: np.ndarray[Any, Any], shape: tuple[int, int]) -> np.ndarray[Any, Any]:
    return values.reshape(shape) if len(values) else values.reshape(0, 1)
