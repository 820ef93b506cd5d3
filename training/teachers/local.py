"""A teacher that runs here, as a model of transformers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from training.drafting import rows
from training.head import backbone, head_of
from training.teachers.store import About, Said

CHUNK = 1024
"""Positions whose logits are held at once; our choice."""


class LocalTeacher:
    """A causal LM on one device. It reads a text at a time: texts differ in length, and padding is work as well."""

    def __init__(self, model: Any, about: About, device: str = "cpu") -> None:
        self._model, self.about, self._device = model.requires_grad_(False).eval(), about, device

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def said(self, texts: Sequence[Sequence[int]]) -> list[Said]:
        """What it says of each text."""
        return [self._said(text) for text in texts]

    def _said(self, ids: Sequence[int]) -> Said:
        tensor = torch.tensor([list(ids)], device=self._device)
        hidden = backbone(self._model)(input_ids=tensor, use_cache=False).last_hidden_state[0, :-1]
        found = rows(hidden, head_of(self._model, self.about.temperature), self.about.top, CHUNK)
        return Said(found.ids.int().cpu().numpy(), found.logp.half().cpu().numpy())
