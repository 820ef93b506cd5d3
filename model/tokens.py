"""Tokenizers from a tokenizer.json."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from model.engine import EngineRefused


class FileTokenizer:
    """A tokenizer.json, read when it is first needed. Raises `EngineRefused` if it cannot be read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._encode = lru_cache(maxsize=512)(self._encode_now)
        self._loaded: dict[bool, Any] = {}

    def encode(self, text: str, *, specials: bool) -> list[int]:
        """Token ids; with `specials` false, ``<|im_end|>`` and its kind become ordinary tokens."""
        return list(self._encode(text, specials))

    def _encode_now(self, text: str, specials: bool) -> tuple[int, ...]:
        return tuple(self._tokenizer(specials).encode(text, add_special_tokens=False).ids)

    def _tokenizer(self, specials: bool) -> Any:
        if specials not in self._loaded:
            from tokenizers import Tokenizer

            try:
                tokenizer = Tokenizer.from_file(str(self._path))
            except Exception as error:  # the Rust library raises plain Exception
                raise EngineRefused(f"{self._path} is no tokenizer.json ({error}); name the model's own") from error
            tokenizer.encode_special_tokens = not specials
            self._loaded[specials] = tokenizer
        return self._loaded[specials]
