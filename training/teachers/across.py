"""A teacher with another tokenizer: it reads the same texts in its own tokens, and says how likely it finds stretches
of them that both tokenizers cut out (`training.alignment`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from training.alignment import aligned, ends
from training.teachers.store import About, Said

_BYTES = frozenset(map(chr, (*range(33, 127), *range(161, 173), *range(174, 324))))
"""The letters by which byte-level BPE writes a byte each (GPT-2's table)."""
_BLANK = "▁"
"""How SentencePiece writes a blank."""
_BROKEN = "\N{REPLACEMENT CHARACTER}"
"""What stands for bytes that are no text: a reply may end within a letter."""


class Reader(Protocol):
    """A teacher that reads texts in its own tokens."""

    @property
    def about(self) -> About:
        """Who it is."""

    def cut(self, text: str) -> tuple[list[int], list[str]]:
        """The tokens of a text: their ids, and as its vocabulary writes them."""

    def likely(self, ids: Sequence[int]) -> list[float]:
        """The log-probability of each token but the first, given all before it and the beginning that it expects."""


def beginning(plain: Sequence[int], marked: Sequence[int]) -> list[int]:
    """The tokens that a tokenizer puts before a text by default, from what it makes of one without and with them."""
    starts = range(len(marked) - len(plain) + 1)
    at = next((at for at in starts if [*marked[at : at + len(plain)]] == [*plain]), 0)
    return [*marked[:at]]


class AcrossTokenizers:
    """A teacher whose tokens are not those of the student, whose tokenizer of transformers is `student`.

    What it says of a text has one column: `top[t]` is how many of the student's tokens, the one behind the first t+1 as
    the last, are a stretch that both cut out (0: none ends there), and `logp[t]` how likely the teacher finds it. A
    text that one of the two does not give back byte for byte has no stretches.
    """

    def __init__(self, reader: Reader, student: Any, about: About) -> None:
        self._reader, self._student, self.about = reader, student, about

    def said(self, texts: Sequence[Sequence[int]]) -> list[Said]:
        """What it says of each text."""
        return [self._said(text) for text in texts]

    def _said(self, ids: Sequence[int]) -> Said:
        top = np.zeros((max(0, len(ids) - 1), 1), np.int32)
        logp = np.zeros(top.shape, np.float16)
        for end, size, value in self._stretches(ids):
            top[end - 1], logp[end - 1] = size, value
        return Said(top, logp)

    def _stretches(self, ids: Sequence[int]) -> Iterator[tuple[int, int, float]]:
        """The last token, the number of tokens and the teacher's log-probability of each."""
        text = str(self._student.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))
        mine = widths(self._student.convert_ids_to_tokens(list(ids)), text)
        if mine is None or _BROKEN in text:
            return
        theirs, pieces = self._reader.cut(text)
        other = widths(pieces, text)
        if other is None or len(theirs) < 2:
            return
        likely = [0.0, *self._reader.likely(theirs)]
        for span in aligned(_ends(mine), _ends(other)):
            if span.student.start and span.teacher.start:  # of a text's first token nobody says how likely it is
                yield span.student.stop - 1, len(span.student), sum(likely[index] for index in span.teacher)


def widths(tokens: Sequence[str], text: str) -> list[int] | None:
    """How many bytes of the text each token is, from how a vocabulary writes it: by the letters of byte-level BPE, or
    as SentencePiece does. None where neither adds up to the text."""
    size = len(text.encode())
    for width in (_byte_level, _sentence_piece):
        found = list(map(width, tokens))
        if found and tokens[0].startswith(_BLANK) and sum(found) == size + 1:
            found[0] -= 1  # SentencePiece puts a blank before a text
        if sum(found) == size:
            return found
    return None


def _byte_level(token: str) -> int:
    return len(token) if _BYTES.issuperset(token) else len(token.encode())


def _sentence_piece(token: str) -> int:
    is_byte = len(token) == len("<0x00>") and token.startswith("<0x") and token.endswith(">")
    return 1 if is_byte else len(token.replace(_BLANK, " ").encode())


def _ends(sizes: Sequence[int]) -> list[int]:
    return ends(range(len(sizes)), sizes.__getitem__)
