"""The tokenizer of a model that transformers loaded."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import cached_property
from typing import Any

END_OF_TURN = ("<|im_end|>", "<|endoftext|>")


class Tokens:
    """Text to token ids and back; `ends` are the tokens that end a reply, `size` is that of the model's vocabulary."""

    def __init__(self, tokenizer: Any, generation: Any, size: int) -> None:
        self._tokenizer = tokenizer
        self._lock = threading.Lock()
        self._size = max(size, len(tokenizer))
        self.ends = frozenset(_ends(tokenizer, generation))

    def encode(self, text: str, *, specials: bool) -> list[int]:
        """Token ids; with `specials` false, ``<|im_end|>`` and its kind become ordinary tokens."""
        with self._lock:  # the choice is kept in the tokenizer, and others encode meanwhile
            found = self._tokenizer(text, add_special_tokens=False, split_special_tokens=not specials)
        return list(found["input_ids"])

    def decode(self, ids: Sequence[int]) -> str:
        """The text, with U+FFFD for bytes that are no UTF-8."""
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))

    def grammar_tokens(self) -> Any:
        """The vocabulary as llguidance wants it; the first call takes about half a second."""
        return self._grammar_tokens

    @cached_property
    def _grammar_tokens(self) -> Any:
        from llguidance.hf import from_tokenizer

        return from_tokenizer(self._tokenizer, n_vocab=self._size, eos_token=sorted(self.ends))


def _ends(tokenizer: Any, generation: Any) -> list[int]:
    """The ends that the model names, that of the tokenizer, and those of ChatML where they are single tokens."""
    named = getattr(generation, "eos_token_id", None)
    found = [*named] if isinstance(named, list | tuple) else [named]
    vocabulary = tokenizer.get_vocab()
    found += [tokenizer.eos_token_id, *(vocabulary.get(word) for word in END_OF_TURN)]
    return [token for token in found if isinstance(token, int)]
