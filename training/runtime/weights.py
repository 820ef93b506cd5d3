"""What a stage leaves, put together from all processes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from training.models.loading import Loaded
from training.models.saving import save
from training.runtime.world import World


def keep(loaded: Loaded, folder: Path, world: World, module: Any = None) -> Path:
    """Save whole weights, or the adapter, with what belongs to them; all processes gather, the main one writes.

    `module` is an MTP module that is kept beside the model.
    """
    state = gathered(loaded.model, world)
    drafts = None if module is None else gathered(module, world)
    if world.main:
        save(loaded, folder, state, module, drafts)
    world.wait()
    return folder


def gathered(model: Any, world: World) -> dict[str, Tensor]:
    """The weights by name, whole, on the CPU of the main process; of an adapted model the adapter's alone."""
    only = "lora_" if hasattr(model, "peft_config") else ""
    found = {}
    for name, tensor in model.state_dict().items():
        if only not in name:
            continue
        whole = tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
        if world.main:
            found[name] = whole.detach().to("cpu")
    return found
