"""Tokenizers from a tokenizer.json."""

from __future__ import annotations

from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from model.engine import EngineRefused


class FileTokenizer:
    """A tokenizer.json, read when it is first needed. Raises `EngineRefused` if it cannot be read."""

    def __init__(self, path: Path) -> None:
        # The cache must not hold `self`: a cycle would keep the vocabulary until a collection, which may be off.
        self._encode = lru_cache(maxsize=512)(partial(_encode, _Loaded(path)))

    def encode(self, text: str, *, specials: bool) -> list[int]:
        """Token ids; with `specials` false, ``<|im_end|>`` and its kind become ordinary tokens."""
        return list(self._encode(text, specials))


class _Loaded:
    """The file as a tokenizer, once with control tokens and once without."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._tokenizers: dict[bool, Any] = {}

    def tokenizer(self, specials: bool) -> Any:
        if specials not in self._tokenizers:
            from tokenizers import Tokenizer

            try:
                tokenizer = Tokenizer.from_file(str(self._path))
            except Exception as error:  # the Rust library raises plain Exception
                raise EngineRefused(f"{self._path} is no tokenizer.json ({error}); name the model's own") from error
            tokenizer.encode_special_tokens = not specials
            self._tokenizers[specials] = tokenizer
        return self._tokenizers[specials]


def _encode(loaded: _Loaded, text: str, specials: bool) -> tuple[int, ...]:
    return tuple(loaded.tokenizer(specials).encode(text, add_special_tokens=False).ids)
