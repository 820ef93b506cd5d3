"""Attention within the documents of packed rows, one by one on a CPU: a mask over a whole row costs its square."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "kat_documents"


def by_document(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    document_lengths: Sequence[Sequence[int]] | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """SDPA in which each document of a row, by its length, sees itself alone; without lengths, and on GPUs, as always.

    Shapes: `query` (R, heads, T, d), `key` and `value` (R, key heads, T, d); the lengths of each row sum to T.
    """
    if document_lengths is None or query.device.type != "cpu":
        found: tuple[torch.Tensor, None] = sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
        return found
    rows = []
    for row, lengths in enumerate(document_lengths):
        parts = (each[row : row + 1].split(list(lengths), dim=2) for each in (query, key, value))
        seen = [sdpa_attention_forward(module, *part, None, **kwargs)[0] for part in zip(*parts, strict=True)]
        rows.append(torch.cat(seen, 1))
    return torch.cat(rows), None


def attend_by_document(model: Any) -> None:
    """Let a model that attends by SDPA do so document by document, where it is told their lengths."""
    config = model.config.get_text_config()
    if config._attn_implementation == "sdpa" and sees_everything(config):  # noqa: SLF001 - there is no public name
        AttentionInterface.register(NAME, by_document)
        AttentionMaskInterface.register(NAME, sdpa_mask)
        config._attn_implementation = NAME  # noqa: SLF001


def sees_everything(config: Any) -> bool:
    """Whether every layer of a model attends to all that stands before."""
    config = config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    return kinds == {"full_attention"} and not getattr(config, "use_sliding_window", False)
