"""Text of tokens as they come, with tokenizers whose tokens are bytes."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models

from model.engines.detokenizer import Detokenizer


def decode(ids: Sequence[int]) -> str:
    """Each token is a byte."""
    return bytes(ids).decode("utf-8", "replace")


def pieces(ids: Sequence[int], before: Sequence[int] = ()) -> list[str]:
    text = Detokenizer(decode, before)
    return [*map(text.feed, ids), text.flush()]


@given(st.text(), st.text())
def test_characters_come_whole(before: str, text: str) -> None:
    found = pieces(text.encode("utf-8", "replace"), before.encode("utf-8", "replace"))
    assert "".join(found) == text.encode("utf-8", "replace").decode()
    assert all("\ufffd" not in piece or "\ufffd" in text for piece in found)


@given(st.lists(st.integers(0, 255), max_size=40))
def test_bytes_that_are_no_characters_are_those_of_the_whole_text(ids: list[int]) -> None:
    assert "".join(pieces(ids)) == decode(ids)


@given(st.text(alphabet="aé思😀 ", max_size=30))
def test_spaces_are_kept_where_a_tokenizer_drops_the_first(text: str) -> None:
    """As Llama's does: `▁` is a space, and what it does not know falls back to bytes."""
    vocabulary = {"<unk>": 0, **{f"<0x{n:02X}>": n + 1 for n in range(256)}, "▁": 257, "a": 258}
    tokenizer = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>", byte_fallback=True))
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    ids = tokenizer.encode(text.replace(" ", "▁")).ids
    stream = Detokenizer(lambda some: tokenizer.decode(list(some), skip_special_tokens=False), [258])
    assert "".join([*map(stream.feed, ids), stream.flush()]) == text
