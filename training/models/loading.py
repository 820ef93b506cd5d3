"""Models to train: from a hub, a folder, a GGUF file or the catalogue, with what an earlier stage left of them."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer

from assistant.errors import UserError
from model.catalog import CatalogEntry, known
from model.dialects import dialect
from model.engine import EngineError
from model.engines.torch_tokens import Tokens
from model.prompt import Dialect
from model.pull import is_pulled, model_path, models_directory
from model.serving.adapter_files import CONFIG
from model.serving.starting.weights import safetensors_of, weights_directory
from training.models import depth, lora, markers
from training.settings import Dtype, ModelTable

_FILES = ("*.safetensors", "*.json", "*.jinja", "*.model", "*.txt")
"""Of a model on a hub; the same weights may lie there in other formats, too."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model of transformers, with a peft adapter on it or not, and what belongs to it.

    `tokens` is the tokenizer as prompts take it. `source` is the folder of the weights, below an adapter.
    """

    model: Any
    tokenizer: Any
    tokens: Tokens
    dialect: Dialect
    source: Path


def load(
    table: ModelTable,
    *,
    weights: Path | None = None,
    device: str = "cpu",
    dtype: Dtype | None = None,
    cache: Path | None = None,
    train: bool = True,
    turns: bool = True,
) -> Loaded:
    """The model of a recipe, or `weights`, which a stage before left: whole weights, or an adapter on such.

    With `train` it gets the recipe's adapter or new blocks, where `weights` has none yet, and exactly what is trained
    requires a gradient; else nothing does, and it is in evaluation mode. `dtype` is by default the recipe's, `cache`
    the folder for weights that are converted from a GGUF. Without `turns` it may be a model that knows no turns.

    Raises:
        UserError: there is no such model, or it cannot be trained as asked.
    """
    if table.lora and table.expand and table.expand.layers:
        raise UserError("the recipe has both [model.lora] and [model.expand]; an adapter trains no new blocks, choose")
    speaks = _dialect(table.dialect)
    source = _below(weights, table, cache) if weights else source_of(table, cache)
    model, tokenizer = _read(source, dtype or table.dtype)
    tokens = Tokens(tokenizer, model.generation_config, model.config.get_text_config().vocab_size)
    if turns:
        markers.expect_turns(tokens, table.source)
        markers.templated(tokenizer, table.dialect)
    if weights and is_adapter(weights):
        model = _with_adapter(model, weights, train=train)
    elif train:
        model = _to_train(model, table)
    return Loaded(_set(model, table, train=train).to(device), tokenizer, tokens, speaks, source)


def source_of(table: ModelTable, cache: Path | None = None, environ: Mapping[str, str] = os.environ) -> Path:
    """The folder with the weights of the recipe's model; what must be fetched or converted is, once.

    Raises:
        UserError: there is no such model.
    """
    name, entry = table.source, known(table.source)
    if entry and entry.files:
        return _converted(_pulled(entry, environ), cache, environ)
    path = Path(str(entry.path or entry.repository) if entry else name).expanduser()
    if path.is_file() and path.suffix == ".gguf":
        return _converted(path, cache, environ)
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise UserError(f"{path} holds no model: it has no config.json; name a folder that transformers saved")
        return path.resolve()
    if name.startswith(("/", ".", "~")) or name.endswith(".gguf"):
        raise UserError(f"there is no model at {name}; name a folder, a GGUF file, a hub id or a catalogue name")
    return _fetched(str(path), table.revision)


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds an adapter as peft saves it, not whole weights."""
    return (folder / CONFIG).is_file()


def base_of(adapter: Path, table: ModelTable, cache: Path | None = None) -> Path:
    """The folder of the weights that an adapter is for: what it names where that is there, else the recipe's model.

    Raises:
        UserError: it was trained on weights that are gone.
    """
    named = str(json.loads((adapter / CONFIG).read_text("utf-8")).get("base_model_name_or_path") or "")
    if named and (Path(named) / "config.json").is_file():
        return Path(named).resolve()
    found = source_of(table, cache)
    if named.startswith("/") and Path(named).name != found.name:
        raise UserError(f"the adapter {adapter} was trained on {named}, which is gone; put it back, or train anew")
    return found


def _below(weights: Path, table: ModelTable, cache: Path | None) -> Path:
    if is_adapter(weights):
        return base_of(weights, table, cache)
    if not (weights / "config.json").is_file():
        raise UserError(f"{weights} holds neither weights nor an adapter; name a folder that a stage left")
    return weights.resolve()


def _dialect(name: str) -> Dialect:
    try:
        return dialect(name)
    except ValueError as error:
        raise UserError(f"[model] {error}") from None


def _pulled(entry: CatalogEntry, environ: Mapping[str, str]) -> Path:
    folder = models_directory(environ)
    if not is_pulled(entry, folder):
        raise UserError(f"{entry.title} is not on this machine yet; fetch it with: kat models pull {entry.name}")
    return model_path(entry, folder)


def _converted(gguf: Path, cache: Path | None, environ: Mapping[str, str]) -> Path:
    try:
        return safetensors_of(gguf, cache or weights_directory(environ), sys.executable)
    except EngineError as error:
        raise UserError(str(error)) from None


def _fetched(repository: str, revision: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(repository, revision=revision or None, allow_patterns=list(_FILES)))
    except Exception as error:  # noqa: BLE001 - names, networks, rights and disks fail in many ways there
        raise UserError(f"{repository} cannot be fetched: {_line(error)}; name a folder, or look at the name") from None


def _read(folder: Path, dtype: Dtype) -> tuple[Any, Any]:
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder)
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype), attn_implementation="sdpa")
    except Exception as error:
        raise UserError(f"{folder} cannot be loaded: {_line(error)}") from error
    return model, tokenizer


def _with_adapter(model: Any, folder: Path, *, train: bool) -> Any:
    from peft import PeftModel

    try:
        return PeftModel.from_pretrained(model, folder, is_trainable=train, autocast_adapter_dtype=False)
    except (ValueError, RuntimeError, OSError, KeyError) as error:
        raise UserError(f"the adapter {folder} cannot be loaded: {_line(error)}") from None


def _to_train(model: Any, table: ModelTable) -> Any:
    if table.lora:
        return lora.adapted(model, table.lora)
    grows = table.expand if table.expand and table.expand.layers else None
    if grows and not depth.added(model):
        model = depth.expanded(model, grows)
    depth.trainable(model, grows)
    return model


def _set(model: Any, table: ModelTable, *, train: bool) -> Any:
    """Training or evaluation mode, and checkpointing; an adapter's first inputs then need a gradient of their own."""
    if not train:
        return model.requires_grad_(False).eval()
    if table.checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
        if lora.is_adapted(model):
            model.enable_input_require_grads()
    return model.train()


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
