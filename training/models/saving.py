"""What a stage leaves for the next: whole weights, or an adapter, with the tokenizer and our chat template."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from assistant.errors import UserError
from training.models import lora
from training.models.loading import Loaded
from training.models.mtp import MtpModule
from training.modules import FOLDER
from training.runtime.folder import beside, put_folder


def save(
    loaded: Loaded,
    folder: Path,
    state: Mapping[str, Tensor] | None = None,
    module: MtpModule | None = None,
    drafts: Mapping[str, Tensor] | None = None,
) -> Path:
    """Write the model into `folder`, all of it or nothing, and return that.

    `state` is the model's state, put together from all processes; by default its own. `module` is kept beside it, its
    state being `drafts`.
    Weights are written in bf16, whatever their masters are; a model that computes in fp32 is written so.

    Raises:
        UserError: the disk does not allow it.
    """
    unfinished = beside(folder)
    low = loaded.model.config.dtype or torch.bfloat16  # read before transformers writes, which makes it a word
    try:
        _write(loaded, unfinished, state, low)
        loaded.tokenizer.save_pretrained(unfinished)
        if module is not None:
            module.save(unfinished / FOLDER, _lowered(low, drafts or module.state_dict()))
        put_folder(folder, unfinished)
    except OSError as error:
        raise UserError(f"{folder} cannot be written ({error.strerror or error}); free some space") from None
    return folder


def _write(loaded: Loaded, folder: Path, state: Mapping[str, Tensor] | None, low: torch.dtype) -> None:
    model = loaded.model
    tied = set(getattr(model, "_tied_weights_keys", None) or ()) if model.config.tie_word_embeddings else set()
    every = (state or model.state_dict()).items()
    whole = _lowered(low, {k: v for k, v in every if k not in tied})
    if not lora.is_adapted(model):
        model.save_pretrained(folder, state_dict=whole)
        return
    for config in model.peft_config.values():
        config.base_model_name_or_path = str(loaded.source)
    _named(model, whole).save_pretrained(folder, state_dict=whole, save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)  # peft's form of a model card, all of it to be filled in


def _lowered(low: torch.dtype, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: each.to(low) if each.is_floating_point() else each for name, each in state.items()}


def _named(model: Any, state: Mapping[str, Tensor]) -> Any:
    """The model, if the state is of an adapter at all: peft would write an empty one."""
    if not any(".lora_" in name for name in state):
        raise UserError("the state to save holds no adapter; it must be named as the model's own")
    return model
