"""A family of questions in which easy ones need no thought and hard ones do, a tokenizer for it, and a tiny model.

A question is a sum of digits modulo 5. Two digits are a fact that a small transformer knows by heart; a longer row
needs its partial sums, which only a thought can hold. Prompts and replies are KAT's own, rendered and parsed by the
product.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cache
from typing import Any

from model.dialects import dialect
from model.format import Mode, Reply, ThinkRequest
from model.prompt import Message
from training.data.masking import END_OF_TURN
from training.rollout import why_forced

MODULUS = 5
EASY, HARD = (2, 2), (4, 6)
"""How many digits a question has; our choice, as all that follows."""
SPOKEN = dialect("kat")
PADDING = "<pad>"
WHY = {Mode.ON: "long", Mode.OFF: "short"}


@dataclass(frozen=True, slots=True)
class Sum:
    """A question: its digits."""

    digits: tuple[int, ...]

    @property
    def id(self) -> str:
        """What it is called, and asked."""
        return "+".join(map(str, self.digits))

    @property
    def hard(self) -> bool:
        """Whether it needs thought."""
        return len(self.digits) > EASY[1]

    @property
    def right_mode(self) -> Mode:
        """The mode that it needs."""
        return Mode.ON if self.hard else Mode.OFF

    @property
    def answer(self) -> str:
        """The sum."""
        return str(sum(self.digits) % MODULUS)

    @property
    def thought(self) -> str:
        """The partial sums."""
        return " ".join(str(sum(self.digits[: i + 1]) % MODULUS) for i in range(1, len(self.digits)))

    @property
    def prompt(self) -> str:
        """What the model reads."""
        return SPOKEN.render([Message("user", self.id)], (), ThinkRequest.AUTO, "").text

    def reply(self, mode: Mode, why: str) -> str:
        """A right reply in a mode."""
        thought = self.thought if mode is Mode.ON else ""
        return SPOKEN.write(Reply(why, mode, thought, self.answer, (), closed=True)) + END_OF_TURN

    @property
    def held_out(self) -> bool:
        """Whether it is for evaluation; easy ones are too few to be held out."""
        return self.hard and hash(self.digits) % 8_191 % 5 == 0


def questions(seed: int, count: int, *, held_out: bool = False) -> list[Sum]:
    """Easy and hard ones in turn."""
    rng, found = random.Random(seed), list[Sum]()
    while len(found) < count:
        hard = len(found) % 2 == 1
        one = Sum(tuple(rng.randrange(MODULUS) for _ in range(rng.randint(*(HARD if hard else EASY)))))
        if not hard or one.held_out == held_out:
            found.append(one)
    return found


@cache
def tokenizer() -> Any:
    """One token for each mark of the format, for each judge and for all around a question; else one a character."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    before, behind = SPOKEN.render([Message("user", "@")], (), ThinkRequest.AUTO, "").text.split("@")
    marks = [
        before, behind, "\n</judge>\n\n", "<think_on>\n<think>\n", "<think_off>\n", "\n</think>\n\n", "<answer>\n",
        "\n</answer>", *WHY.values(), *map(why_forced, Mode),
    ]  # fmt: skip
    letters = {letter: number for number, letter in enumerate("01234+ ?")}
    words = Tokenizer(models.WordLevel(letters, unk_token="?"))
    words.pre_tokenizer, words.decoder = pre_tokenizers.Split("", "isolated"), decoders.Fuse()
    words.add_special_tokens([AddedToken(mark, normalized=False) for mark in (PADDING, END_OF_TURN, *marks)])
    return PreTrainedTokenizerFast(tokenizer_object=words, eos_token=END_OF_TURN, pad_token=PADDING, unk_token="?")


def model(seed: int, hidden: int = 128, layers: int = 2) -> Any:
    """A transformer that knows nothing yet."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    words = tokenizer()
    return LlamaForCausalLM(
        LlamaConfig(
            hidden_size=hidden,
            intermediate_size=2 * hidden,
            num_hidden_layers=layers,
            num_attention_heads=4,
            num_key_value_heads=4,
            vocab_size=len(words),
            max_position_embeddings=128,
            tie_word_embeddings=True,
            pad_token_id=words.pad_token_id,
            eos_token_id=words.eos_token_id,
            bos_token_id=None,
        )
    )
