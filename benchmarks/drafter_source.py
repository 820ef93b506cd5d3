"""Python source of this machine as rows of tokens, for the drafter: what is trained on, and what is held out.

Whole packages are held out, so that no file of one is on both sides. Tests and benchmarks of packages, copies that
packages carry of others, and held-out files that share more than a little with the rest are left out.
"""

from __future__ import annotations

import sysconfig
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from training.seeds import derived, rng

SEED = 8
LEFT_OUT = {"test", "tests", "testing", "benchmark", "benchmarks", "idle_test", "__pycache__", "site-packages"}
COPIES = {"vendor", "vendored", "_vendor", "_vendored", "extern", "externals", "third_party", "thirdparty"}
SIZES = range(600, 150_000)
"""Bytes of a file: smaller ones say little, larger ones are mostly tables."""
HELD = 16
"""One package in so many is held out."""
END = 2
"""The token that ends a text, in the small model's vocabulary."""
ROW = 512
WINDOW = 24
MOST = 8
"""Of the beginnings, no package has more than one in so many."""
SHARED = 0.1
"""A held-out file goes if more than this share of its windows of tokens are in the rest: a copy, or nearly."""


def files() -> list[tuple[str, Path]]:
    """Packages and their Python files, of the standard library and of what is installed here; in a fixed order."""
    found: list[tuple[str, Path]] = []
    for root in map(Path, dict.fromkeys((sysconfig.get_path("stdlib"), sysconfig.get_path("purelib")))):
        for file in sorted(root.rglob("*.py")):
            parts = file.relative_to(root).parts
            if not LEFT_OUT.union(COPIES).intersection(parts) and file.stat().st_size in SIZES:
                found.append((parts[0].removesuffix(".py"), file))
    rng(SEED, "files").shuffle(found)
    return found


def held_out(package: str) -> bool:
    """Whether a package is held out; the same on every machine."""
    return derived(SEED, "held", package) % HELD == 0


def collected(tokenizer: Path, tokens: int, held: int) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Training tokens, held-out rows as (rows, 512) of the beginnings of files, and the held-out packages.

    `tokenizer` is a tokenizer.json; each file ends with `END`.
    """
    encode = Tokenizer.from_file(str(tokenizer))
    encode.encode_special_tokens = True
    chosen, count = [], 0
    for _, ids in _encoded(encode, [each for each in files() if not held_out(each[0])]):
        chosen.append(np.append(ids, np.uint16(END)))
        count += len(chosen[-1])
        if count >= tokens:
            break
    train = np.concatenate(chosen)
    rows, packages = beginnings(encode, np.unique(_windows(train)), held)
    return train, rows, packages


def beginnings(encode: Tokenizer, known: np.ndarray, count: int) -> tuple[np.ndarray, list[str]]:
    """Beginnings of held-out files, in a row each, and their packages; `known` are the windows of the rest, sorted."""
    rows, packages = [], Counter[str]()
    for package, ids in _encoded(encode, [each for each in files() if held_out(each[0])]):
        fits = len(rows) < count and packages[package] < count // MOST and len(ids) >= ROW
        if fits and _known(_windows(ids), known) <= SHARED:
            rows.append(ids[:ROW])
            packages[package] += 1
    return np.stack(rows), sorted(packages)


def _encoded(encode: Tokenizer, those: Sequence[tuple[str, Path]]) -> Iterator[tuple[str, np.ndarray]]:
    """The packages and tokens of files that are whole UTF-8."""
    for some in batched(those, 64):
        texts = [(package, file.read_text("utf-8", errors="replace")) for package, file in some]
        whole = [(package, text) for package, text in texts if "\ufffd" not in text]
        found = encode.encode_batch([text for _, text in whole], add_special_tokens=False)
        yield from ((package, np.array(each.ids, np.uint16)) for (package, _), each in zip(whole, found, strict=True))


def batched(those: Sequence[tuple[str, Path]], size: int) -> Iterator[Sequence[tuple[str, Path]]]:
    """Stretches of so many."""
    return (those[start : start + size] for start in range(0, len(those), size))


def _known(windows: np.ndarray, known: np.ndarray) -> float:
    """The share of windows that are among the sorted known ones."""
    places = np.searchsorted(known, windows).clip(max=len(known) - 1)
    return float((known[places] == windows).mean())


def _windows(ids: np.ndarray) -> np.ndarray:
    """A hash of each window of tokens."""
    found = np.zeros(max(0, len(ids) - WINDOW + 1), np.uint64)
    for place in range(WINDOW):
        found = found * np.uint64(0x9E3779B97F4A7C15) + ids[place : place + len(found)].astype(np.uint64)
    return found
