"""A teacher that runs here, as a model of transformers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from training.drafting import rows
from training.head import TokenLogprob, backbone, each, head_of
from training.teachers.across import beginning
from training.teachers.store import About, Said, probe

CHUNK = 1024
"""Positions whose logits are held at once; our choice."""


class LocalTeacher:
    """A causal LM on one device. It reads a text at a time: texts differ in length, and padding is work as well.

    `tokenizer` is its own, where texts come to it as such (`cut`).
    """

    def __init__(self, model: Any, about: About, device: str = "cpu", tokenizer: Any = None) -> None:
        self._model, self.about, self._device = model.requires_grad_(False).eval(), about, device
        self._tokenizer = tokenizer
        self._beginning = [] if tokenizer is None else beginning(*map(self._cut, (False, True)))

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def said(self, texts: Sequence[Sequence[int]]) -> list[Said]:
        """What it says of each text."""
        return [self._said(text) for text in texts]

    def cut(self, text: str) -> tuple[list[int], list[str]]:
        """The tokens of a text: their ids, and as its vocabulary writes them."""
        ids = list(self._tokenizer(text, add_special_tokens=False)["input_ids"])
        return ids, self._tokenizer.convert_ids_to_tokens(ids)

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def likely(self, ids: Sequence[int]) -> list[float]:
        """The log-probability of each token but the first, given all before it and the beginning that it expects."""
        whole = [*self._beginning, *ids]
        targets = torch.tensor(whole[1:], device=self._device)
        found, _ = each(TokenLogprob(), self._hidden(whole), head_of(self._model), targets, chunk=CHUNK)
        logprobs: list[float] = found.tolist()
        return logprobs[len(self._beginning) :]

    def _cut(self, marked: bool) -> list[int]:
        return list(self._tokenizer(probe(), add_special_tokens=marked)["input_ids"])

    def _hidden(self, ids: Sequence[int]) -> torch.Tensor:
        """The states (T-1, H) behind all tokens but the last."""
        tensor = torch.tensor([list(ids)], device=self._device)
        states: torch.Tensor = backbone(self._model)(input_ids=tensor, use_cache=False).last_hidden_state
        return states[0, :-1]

    def _said(self, ids: Sequence[int]) -> Said:
        found = rows(self._hidden(ids), head_of(self._model, self.about.temperature), self.about.top, CHUNK)
        return Said(found.ids.int().cpu().numpy(), found.logp.half().cpu().numpy())
