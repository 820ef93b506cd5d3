"""LoRA adapters on disk, as peft saves them: what they say of themselves, and whether they fit a base model."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.engine import EngineRefused

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
SEPARATOR = "@"
"""Between an adapter's name and its version."""
_VERSION_DIGITS = 8
_MOST_HEADER = 100 << 20
"""Bytes of a safetensors header at most; the format's own limit."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_MATRIX = ".lora_A.weight"
_LAYER = re.compile(r"\.layers\.(\d+)\.")


class AdapterError(EngineRefused):
    """An adapter cannot be used as asked; the message is one sentence for the user."""


@dataclass(frozen=True, slots=True)
class AdapterFiles:
    """An adapter in `folder`: its largest rank, the base model that it names, and a hash of its bytes.

    `inputs` are the sizes of what its `q_proj` matrices take, which is the base model's hidden size; `layers` is one
    more than the last layer that it changes.
    """

    folder: Path
    rank: int
    base: str | None
    version: str
    inputs: frozenset[int]
    layers: int


def served_name(name: str, version: str) -> str:
    """The name under which a server has an adapter, for `--lora-modules` and requests: `NAME@VERSION`.

    Raises `AdapterError` if the name cannot be one.
    """
    if not _NAME.fullmatch(name):
        raise AdapterError(f"{name!r} is no name for an adapter; use letters, digits, dots, dashes and underscores")
    return f"{name}{SEPARATOR}{version}"


def newest(served: Sequence[str], name: str) -> str | None:
    """The newest version of `name` among the names that a server lists, in the order of their loading; or None."""
    found = [one for one in served if one.startswith(f"{name}{SEPARATOR}")]
    return found[-1] if found else None


def read_adapter(folder: Path) -> AdapterFiles:
    """What the folder holds. Reads all of it. Raises `AdapterError`."""
    folder = folder.expanduser().resolve()
    config = _config(folder)
    weights = folder / WEIGHTS
    try:
        shapes = _matrices(weights)
        with weights.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256")
    except (OSError, ValueError, RecursionError) as error:
        raise AdapterError(f"{weights} cannot be read as safetensors ({error}); save the adapter again") from error
    digest.update((folder / CONFIG).read_bytes())
    if not shapes:
        raise AdapterError(f"{weights} holds no LoRA matrices; save the adapter with peft's save_pretrained")
    rank = max(config["r"], *(shape[0] for shape in shapes.values()))
    inputs = frozenset(shape[1] for key, shape in shapes.items() if ".q_proj." in key)
    layers = 1 + max((int(found[1]) for key in shapes if (found := _LAYER.search(key))), default=-1)
    base = config.get("base_model_name_or_path") or None
    return AdapterFiles(folder, rank, base, digest.hexdigest()[:_VERSION_DIGITS], inputs, layers)


def expect_fits(files: AdapterFiles, root: str | None, max_rank: int | None) -> None:
    """Compare with the base model, which is the folder or hub id `root`, and with the server's largest rank.

    What is not known is not compared. A build of the base model in another precision, such as `NAME-AWQ`, fits too.
    Raises `AdapterError`.
    """
    if max_rank is not None and files.rank > max_rank:
        raise too_high(files.rank, max_rank)
    if root is None:
        return
    config = Path(root) / "config.json"
    if config.is_file():
        _expect_shapes(files, root, config)
    elif files.base and _hub_id(files.base) and _hub_id(root) and not _related(files.base, root):
        raise AdapterError(f"the adapter was made for {files.base}, and the server runs {root}; serve that model")


def too_high(rank: int, most: int) -> AdapterError:
    """The rank is more than the server takes."""
    return AdapterError(
        f"the adapter has rank {rank} and the server takes {most}; start it again with --max-lora-rank {rank}"
    )


def _expect_shapes(files: AdapterFiles, root: str, config: Path) -> None:
    try:
        base = json.loads(config.read_text("utf-8"))
        hidden, layers = base.get("hidden_size"), base.get("num_hidden_layers")
    except (OSError, ValueError, AttributeError):
        return
    if isinstance(hidden, int) and files.inputs - {hidden}:
        raise AdapterError(
            f"the adapter was made for a hidden size of {min(files.inputs - {hidden})}, and {root} has {hidden}; "
            "load it on the model it was trained on"
        )
    if isinstance(layers, int) and files.layers > layers:
        raise AdapterError(
            f"the adapter changes {files.layers} layers, and {root} has {layers}; "
            "load it on the model it was trained on"
        )


def _config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG
    if not path.is_file():
        raise AdapterError(f"there is no adapter in {folder}: it has no {CONFIG}; name the folder that peft saved")
    if not (folder / WEIGHTS).is_file():
        raise AdapterError(f"there is no {WEIGHTS} in {folder}; save the adapter with safe_serialization=True")
    try:
        config = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise AdapterError(f"{path} is not valid JSON ({error}); save the adapter again") from error
    match config:
        case {"peft_type": "LORA", "r": int()}:
            return dict(config)
        case _:
            raise AdapterError(f"{path} describes no LoRA adapter; servers take peft's type LORA only")


def _matrices(path: Path) -> dict[str, list[int]]:
    """The shapes, [rank, inputs], of the first LoRA matrices in a safetensors file; its library describes the format.

    Raises:
        ValueError: it is not such a file.
    """
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        if not 2 <= size <= _MOST_HEADER:
            raise ValueError("its header has no possible size")
        header = json.loads(file.read(size))
    if not isinstance(header, dict):
        raise ValueError("its header is no JSON object")  # noqa: TRY004 - of a file, not of an argument
    return {key: _shape(key, entry) for key, entry in header.items() if key.endswith(_MATRIX)}


def _shape(key: str, entry: Any) -> list[int]:
    match entry:
        case {"shape": [int(), int()] as shape}:
            return list(shape)
        case _:
            raise ValueError(f"its {key} has no two dimensions")


def _hub_id(name: str) -> bool:
    return re.fullmatch(r"[\w.-]+/[\w.-]+", name) is not None


def _related(one: str, two: str) -> bool:
    """Whether one name goes on where the other ends, owners aside."""
    a, b = (name.rpartition("/")[2].lower() for name in (one, two))
    return a.startswith(b) or b.startswith(a)
