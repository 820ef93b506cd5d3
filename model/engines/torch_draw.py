"""How the torch engine draws a token: what a grammar allows, temperature, top-p, a seed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from transformers import RepetitionPenaltyLogitsProcessor, TemperatureLogitsWarper, TopPLogitsWarper

from model.engines.torch_tokens import Tokens

_RECENT = 64
"""Tokens that a repeat penalty looks at, as in llama.cpp."""


@dataclass(frozen=True, slots=True)
class Draw:
    """How to write one stretch: at most `limit` tokens; a `grammar` is GBNF, `penalty` is on repeated tokens."""

    limit: int
    temperature: float = 0.6
    top_p: float = 0.95
    seed: int | None = None
    grammar: str | None = None
    penalty: float = 1.0


class Sampler:
    """Draws the tokens of one stretch behind `ids`."""

    def __init__(self, draw: Draw, tokens: Tokens, ids: list[int]) -> None:
        self._held = Held(draw.grammar, tokens) if draw.grammar else None
        self._recent = ids[-_RECENT:]
        self._greedy = draw.temperature <= 0
        self._seed = draw.seed
        self._random: torch.Generator | None = None
        self._steps: list[Any] = []
        if not self._greedy:
            self._steps.append(TemperatureLogitsWarper(float(draw.temperature)))
            self._steps += [TopPLogitsWarper(draw.top_p)] if 0 < draw.top_p < 1 else []
        self._penalty = RepetitionPenaltyLogitsProcessor(draw.penalty) if draw.penalty != 1 else None

    @property
    def over(self) -> bool:
        """Whether nothing may follow."""
        return self._held is not None and self._held.over

    def pick(self, logits: torch.Tensor) -> int:
        """The next token, from logits of shape [vocabulary]."""
        scores = logits.float()[None]
        recent = torch.tensor([self._recent], device=scores.device)
        if self._penalty is not None:
            scores = self._penalty(recent, scores)
        if self._held is not None:
            scores = self._held.mask(scores)
        for step in self._steps:
            scores = step(recent, scores)
        return int(scores.argmax()) if self._greedy else self._drawn(scores)

    def take(self, token: int) -> None:
        """Note that `token` was written."""
        self._recent = [*self._recent[1 - _RECENT :], token]
        if self._held is not None:
            self._held.take(token)

    def _drawn(self, scores: torch.Tensor) -> int:
        if self._random is None:
            self._random = torch.Generator(scores.device)
            self._random.manual_seed(self._seed) if self._seed is not None else self._random.seed()
        return int(torch.multinomial(scores.softmax(-1), 1, generator=self._random))


class Held:
    """A grammar, and where in it the text stands.

    Raises:
        RuntimeError: the grammar cannot be used.
    """

    def __init__(self, grammar: str, tokens: Tokens) -> None:
        from llguidance import LLMatcher
        from llguidance.gbnf_to_lark import gbnf_to_lark

        self._matcher = LLMatcher(tokens.grammar_tokens(), gbnf_to_lark(grammar))
        self._expect_sound()

    @property
    def over(self) -> bool:
        """Whether nothing may follow."""
        return bool(self._matcher.is_stopped())

    def mask(self, scores: torch.Tensor) -> torch.Tensor:
        """Scores of shape [1, vocabulary], minus infinity where a token may not come; the end may where it is over."""
        packed = torch.frombuffer(bytearray(self._matcher.compute_bitmask()), dtype=torch.uint8).to(scores.device)
        bits = (packed[:, None] >> torch.arange(8, dtype=torch.uint8, device=scores.device)) & 1
        allowed = bits.flatten()[: scores.shape[-1]].bool()
        return scores.masked_fill(~allowed, float("-inf"))

    def take(self, token: int) -> None:
        """Go on behind `token`."""
        self._matcher.consume_token(token)
        self._expect_sound()

    def _expect_sound(self) -> None:
        if self._matcher.is_error():
            raise RuntimeError(f"the grammar of a reply does not work: {self._matcher.get_error()}")
