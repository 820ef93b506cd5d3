"""Decoding on the trainer's own model: keys and values are written in place, and attention does not copy them.

transformers' dynamic cache is copied whole for every token, and under a padding mask keys are repeated for each query
head besides; with some dozens of rows that is most of the time of a step.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface, DynamicCache
from transformers.cache_utils import Cache, DynamicLayer
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from training.attending import NAME, sees_everything

_ROOM = 64
"""Tokens that a cache gets room for at once, at least; our choice."""
_NAME = "kat_folded"


class Shelf(DynamicLayer):  # type: ignore[misc]
    """Keys and values of a layer, (R, heads, T, d): views of storage that has room behind them."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._stored: tuple[torch.Tensor, torch.Tensor] | None = None

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Put new keys and values behind those that are there; all of them."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        old = self.get_seq_length()
        new = old + key_states.shape[-2]
        if self._stored is None or new > self._stored[0].shape[-2]:
            self._grow(key_states, value_states, new + (max(_ROOM, old // 4) if old else 0))
        assert self._stored is not None
        for stored, states in zip(self._stored, (key_states, value_states), strict=True):
            stored[:, :, old:new] = states
        self.keys, self.values = (stored[:, :, :new] for stored in self._stored)
        return self.keys, self.values

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keep these rows, each as often as it is named."""
        length = self.get_seq_length()
        if length and self._stored:
            self._stored = (self._stored[0][indices], self._stored[1][indices])
            self.keys, self.values = (stored[:, :, :length] for stored in self._stored)

    def _grow(self, keys: torch.Tensor, values: torch.Tensor, room: int) -> None:
        old = self.get_seq_length()
        grown = tuple(states.new_empty((*states.shape[:2], room, states.shape[-1])) for states in (keys, values))
        for new, there in zip(grown, (self.keys, self.values), strict=True):
            new[:, :, :old] = there if old else new[:, :, :0]
        self._stored = (grown[0], grown[1])


def cache_of(model: Any) -> Cache:
    """An empty cache: `Shelf` where all layers see everything, else what transformers has for such a model."""
    if sees_everything(model.config):
        return Cache(layer_class_to_replicate=Shelf)
    return DynamicCache(config=model.config.get_text_config())


def folded(
    module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, attention_mask: Any, **kwargs: Any
) -> tuple[torch.Tensor, None]:
    """SDPA in which the query heads that share a key head are its queries, so that keys need not be repeated.

    Shapes: `query` (R, heads, 1, d), `key` and `value` (R, key heads, T, d). Longer queries go the usual way.
    """
    rows, heads, length, width = query.shape
    if length > 1 or heads == key.shape[1] or kwargs.get("dropout"):
        found: tuple[torch.Tensor, None] = sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
        return found
    out = torch.nn.functional.scaled_dot_product_attention(
        query.view(rows, key.shape[1], -1, width), key, value, attn_mask=attention_mask, scale=kwargs.get("scaling")
    )
    return out.reshape(rows, 1, heads, -1), None


@contextmanager
def decoding(model: Any, root: Any = None) -> Iterator[None]:
    """The model in evaluation mode, without gradients, with `folded` attention, its shards gathered once.

    `root` is the module that FSDP2 was given as a whole, where that is another one around the model.
    """
    config, training = model.config.get_text_config(), model.training
    attention = config._attn_implementation  # noqa: SLF001 - there is no public name for it
    AttentionInterface.register(_NAME, folded)
    AttentionMaskInterface.register(_NAME, sdpa_mask)
    with ExitStack() as stack, torch.no_grad():
        stack.callback(model.train, training)
        stack.callback(setattr, config, "_attn_implementation", attention)
        stack.enter_context(_gathered(root or model))
        model.eval()
        config._attn_implementation = _NAME if attention in ("sdpa", NAME) else attention  # noqa: SLF001
        yield


@contextmanager
def _gathered(model: Any) -> Iterator[None]:
    """Weights that FSDP2 shards, whole until the end, so that processes need not decode in step."""
    sharded = [module for module in model.modules() if hasattr(module, "set_reshard_after_forward")]
    for module in sharded:
        module.set_reshard_after_forward(False, recurse=False)
        module.unshard()
    try:
        yield
    finally:
        for module in sharded:
            module.set_reshard_after_forward(True, recurse=False)
            module.reshard()
