"""Depth expansion: new blocks between the old ones that change nothing at first, and are what is trained.

As LLaMA Pro (arXiv 2401.02415): each new block is a copy of the one below it whose two output projections are zero, so
that it adds nothing to the residual stream. The result is a plain model of more layers, which any engine serves.
"""

from __future__ import annotations

import copy
from typing import Any

from torch import nn

from assistant.errors import UserError
from training.settings import Expand

MARK = "expanded_layers"
"""The name in config.json under which the new blocks' places stand."""
_OUTPUTS = ("self_attn.o_proj", "mlp.down_proj")
_BY_LAYER = ("layer_types", "mlp_layer_types", "no_rope_layers")
"""Lists in configurations with an entry a layer."""


def expanded(model: Any, expand: Expand) -> Any:
    """The model with `expand.layers` more blocks, spread evenly; it computes what it did. Changed in place.

    Raises:
        UserError: there are more new blocks than old ones, or its blocks do not end in o_proj and down_proj.
    """
    config, layers = model.config.get_text_config(), blocks(model)
    if not 0 < expand.layers <= len(layers):
        raise UserError(f"model.expand.layers is 1 to {len(layers)} for this model, not {expand.layers}")
    behind = [(n + 1) * len(layers) // expand.layers - 1 for n in range(expand.layers)]
    order = sorted([*range(len(layers)), *behind])
    new = [n for n in range(1, len(order)) if order[n] == order[n - 1]]
    grown = [_silent(layers[old]) if n in new else layers[old] for n, old in enumerate(order)]
    _renumber(grown)
    model.get_decoder().layers = nn.ModuleList(grown)
    for name in _BY_LAYER:
        if isinstance(kept := getattr(config, name, None), list):
            setattr(config, name, [kept[old] for old in order])
    config.num_hidden_layers = len(grown)
    setattr(config, MARK, new)
    return model


def added(model: Any) -> list[int]:
    """Where the new blocks of an expanded model are; none in one that was not expanded."""
    return list(getattr(model.config.get_text_config(), MARK, None) or [])


def trainable(model: Any, expand: Expand | None = None) -> list[nn.Parameter]:
    """Set what is trained, and return it: with `expand` the new blocks and `expand.also`, else all of it.

    With tied embeddings ``head`` trains the embeddings, too.
    """
    new = added(model) if expand else []
    model.requires_grad_(not new)
    for n in new:
        blocks(model)[n].requires_grad_(True)
    also = expand.also if expand and new else ()
    if "norms" in also:
        _train_norms(model)
    if "head" in also:
        model.get_output_embeddings().requires_grad_(True)
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def blocks(model: Any) -> nn.ModuleList:
    """The model's blocks. Raises UserError where they are not found."""
    layers = getattr(model.get_decoder(), "layers", None)
    if not isinstance(layers, nn.ModuleList):
        raise UserError(f"{type(model).__name__} has no list of layers; depth expansion and MTP need one")
    return layers


def _silent(block: nn.Module) -> nn.Module:
    """A copy of the block that adds nothing."""
    new = copy.deepcopy(block)
    for name in _OUTPUTS:
        try:
            projection = new.get_submodule(name)
        except AttributeError:
            raise UserError(f"{type(block).__name__} has no {name}; such a model cannot be expanded") from None
        for parameter in projection.parameters():
            nn.init.zeros_(parameter)
    return new


def _renumber(layers: list[nn.Module]) -> None:
    """Caches of keys and values go by the layer's own number."""
    for n, layer in enumerate(layers):
        for module in layer.modules():
            if isinstance(getattr(module, "layer_idx", None), int):
                module.layer_idx = n


def _train_norms(model: Any) -> None:
    for name, module in model.named_modules():
        if name.rpartition(".")[2].endswith("norm"):
            module.requires_grad_(True)
