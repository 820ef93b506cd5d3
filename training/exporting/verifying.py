"""Whether two forms of a model say the same: the log-probabilities of eight texts, token by token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from assistant.errors import UserError
from model.format import ThinkRequest
from model.prompt import Message
from model.serving.logprobs import LARGEST, MEAN
from training.models.loading import Loaded

CASES = (
    ("What does len([1, 2]) give in Python?", "It gives 2: the list has two elements."),
    ("Write a function that adds two numbers.", "def add(a, b):\n    return a + b\n"),
    ("Why does total([]) fail?", "max() of an empty list raises ValueError; pass default=0."),
    ("Read the file a.py.", "I will read it first.\n"),
    ("把这个函数改成异步的。", "async def fetch(url):\n    return await get(url)\n"),
    ("Rename the variable x to count.", "for count in range(3):\n    print(count)\n"),
    ("Is 91 a prime number? Think step by step.", "91 = 7 · 13, so it is not prime."),
    ("Close the file when done.", "with open(path) as file:\n    text = file.read()\n"),
)
"""Questions and the beginnings of answers: code and prose, in use as any user's; our choice."""


@dataclass(frozen=True, slots=True)
class Compared:
    """How far the log-probabilities of `tokens` tokens differ, in nats."""

    tokens: int
    largest: float
    mean: float

    @property
    def sentence(self) -> str:
        """What came of it, for a person."""
        return f"{self.tokens} log-probabilities differ by {self.mean:.4f} on average, {self.largest:.4f} at most"

    @property
    def ok(self) -> bool:
        """Whether it is rounding only, by the same limits as between engines."""
        return self.largest <= LARGEST and self.mean <= MEAN


def texts(loaded: Loaded, count: int) -> list[list[int]]:
    """`count` prompts of the model's dialect with what follows, as token ids; at most as many as there are cases."""
    return [_ids(loaded, said, reply) for said, reply in CASES[:count]]


def logprobs(model: Any, ids: Sequence[Sequence[int]]) -> list[Tensor]:
    """The log-probability of each token of each text but its first, in fp32."""
    found = []
    for text in ids:
        row = torch.tensor([text], device=model.device)
        with torch.inference_mode():
            scores = model(input_ids=row, use_cache=False).logits[0, :-1].float().log_softmax(-1)
        found.append(scores.gather(-1, row[0, 1:, None])[:, 0].cpu())
    return found


def compared(one: Sequence[Tensor], two: Sequence[Tensor]) -> Compared:
    """How far two models' log-probabilities of the same texts differ."""
    apart = (torch.cat(list(one)) - torch.cat(list(two))).abs()
    return Compared(len(apart), float(apart.max()), float(apart.mean()))


def expect_same(found: Compared, what: str) -> Compared:
    """The same, if it is rounding only. Raises UserError."""
    if not found.ok:
        raise UserError(f"{what} says something else than what was trained: {found.sentence}; nothing was exported")
    return found


def _ids(loaded: Loaded, said: str, reply: str) -> list[int]:
    prompt = loaded.dialect.render([Message("user", said)], (), ThinkRequest.OFF, "It is short.")
    return [*prompt.token_ids(loaded.tokens), *loaded.tokens.encode(reply, specials=False)]
