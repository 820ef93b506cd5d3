"""Training tokens are those of use: the prompt's as engines encode it, the reply's as of one text, masked as shown."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assistant.errors import UserError
from model.dialects import DIALECTS, dialect
from model.format import Mode, ThinkRequest
from model.prompt import Message
from tests.training.strategies import samples
from training.data.masking import END_OF_TURN, masked
from training.data.schema import Provenance, Sample
from training.examples import IGNORED, Place, example, examples

pytest.importorskip("tokenizers")

from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    trainers,
)

_WORDS = [
    "<think>\n",
    "</think>\n\n",
    "<answer>\n",
    "<tool_call>\n",
    "<|im_end|>",
    "\n",
    "a < b",
    "é",
    "e\u0301",
    "return x",
    " ",
    "好🎉",
]
_SAMPLES = samples(_WORDS, judges=st.sampled_from(["", "It is short.", "é\nwhy"]))


class Coder:
    """Byte-level BPE with merges, as Qwen's and SmolLM2's are; `normal` also normalises, as Qwen's does."""

    def __init__(self, *, normal: bool) -> None:
        self._tokenizer = Tokenizer(models.BPE())
        self._tokenizer.normalizer = normalizers.NFC() if normal else None
        self._tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        self._tokenizer.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
        self._tokenizer.train_from_iterator(["<think>\n</think>\n\n<answer>\n</judge> return x assistant"] * 9, trainer)
        self._tokenizer.add_special_tokens(
            [AddedToken(END_OF_TURN, special=True), AddedToken("<|im_start|>", special=True)]
        )

    def encode(self, text: str, *, specials: bool) -> list[int]:
        self._tokenizer.encode_special_tokens = not specials
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def decode(self, ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=False))

    def normalised(self, text: str) -> str:
        return self.decode(self.encode(text, specials=True))


@cache
def coder(*, normal: bool = False) -> Coder:
    return Coder(normal=normal)


def forced(sample: Sample, mode: Mode | None) -> Sample:
    """The sample with its mode prefilled, where that is `mode`."""
    request = ThinkRequest(mode.value) if mode is sample.mode else ThinkRequest.AUTO
    return Sample(**{field: getattr(sample, field) for field in sample.__slots__} | {"request": request})


@settings(max_examples=80, deadline=None)
@given(_SAMPLES, st.sampled_from(sorted(DIALECTS)), st.sampled_from([None, *Mode]), st.booleans())
def test_ids_are_those_of_use_and_loss_is_on_what_is_shown(sample: Sample, name: str, mode: Mode, normal: bool) -> None:
    speaks, tokens, sample = dialect(name), coder(normal=normal), forced(sample, mode)
    found = example(sample, speaks, tokens)
    prompt = speaks.render(sample.messages, sample.tools, sample.request, sample.judge)
    learnt = "".join(stretch.text for stretch in masked(sample, speaks) if stretch.carries_loss)
    assert list(found.ids) == prompt.token_ids(tokens) + tokens.encode(learnt, specials=True)
    shown = tokens.decode([token for token, carries in zip(found.ids, found.loss, strict=True) if carries])
    assert shown == tokens.normalised(learnt)
    written = speaks.write(sample.reply) + END_OF_TURN
    assert tokens.normalised(written).endswith(shown)
    assert prompt.opening.text or learnt == written
    assert all(carries is (place is not Place.PROMPT) for carries, place in zip(found.loss, found.places, strict=True))


@settings(max_examples=40, deadline=None)
@given(_SAMPLES, st.booleans())
def test_each_segment_is_its_text(sample: Sample, normal: bool) -> None:
    tokens = coder(normal=normal)
    found = example(sample, dialect("kat"), tokens)
    for place in (Place.JUDGE, Place.THINK, Place.ANSWER, Place.TOOL):
        text = "".join(
            part.text for part in masked(sample, dialect("kat")) if part.segment and part.segment.name == place.name
        )
        assert tokens.decode(
            [t for t, at in zip(found.ids, found.places, strict=True) if at is place]
        ) == tokens.normalised(text)


def made(**more: object) -> Sample:
    fields = {"id": "s1", "family": "f", "mode": Mode.OFF, "messages": (Message("user", "hi"),), "answer": "so"}
    return Sample(**{**fields, "provenance": Provenance("s"), **more})


def test_text_of_others_holds_no_control_tokens() -> None:
    end = coder().encode(END_OF_TURN, specials=True)
    assert len(end) == 1
    found = example(made(messages=(Message("user", END_OF_TURN * 5),), answer=END_OF_TURN), dialect("kat"), coder())
    assert found.ids.count(end[0]) == 2 + 1, "of the system's and the user's turn, and of the reply"
    assert found.ids[-1] == end[0]


def test_targets_are_the_next_tokens_that_carry_loss() -> None:
    found = example(made(), dialect("kat"), coder())
    assert len(found.targets) == len(found)
    assert found.targets[-1] == IGNORED
    first = found.loss.index(True)
    assert found.targets[first - 2 : first + 1] == (IGNORED, found.ids[first], found.ids[first + 1])


def test_what_teaches_nothing_is_refused_or_left_out() -> None:
    failed = made(id="s2", trainable=False)
    with pytest.raises(UserError, match="s2 has no token that carries loss"):
        example(failed, dialect("kat"), coder())
    assert [one.id for one in examples([made(), failed], dialect("kat"), coder())] == ["s1"]
    odd = made(mode=Mode.ON, request=ThinkRequest.OFF)
    with pytest.raises(UserError, match="asks for off and replies otherwise"):
        example(odd, dialect("kat"), coder())
