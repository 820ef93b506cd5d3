"""A LoRA adapter as a GGUF file, for llama.cpp: the embedded engine, and `kat serve --runner llama`.

The format is llama.cpp's (`general.type` ``adapter``, `adapter.type` ``lora``, two tensors a matrix, ``.lora_a`` and
``.lora_b``). It scales B·A by alpha / rank, the rank being that of the tensor.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import safe_open

from assistant.errors import UserError
from model.serving.adapter_files import CONFIG, WEIGHTS

Array = npt.NDArray[np.float32]
_ARCHITECTURES = {"llama": "llama", "qwen2": "qwen2", "qwen3": "qwen3"}
"""model_type to llama.cpp's name: those whose blocks are of plain matrices, and that our models are of."""
_ROTATED = re.compile(r"\.self_attn\.([qk])_proj$")
_UNFINISHED = ".unfinished"


@dataclass(frozen=True, slots=True)
class Matrix:
    """One module's adapter: A [rank, inputs], B [outputs, rank], and what B·A is scaled by."""

    module: str
    a: Array
    b: Array
    scale: float


def gguf_adapter(adapter: Path, base: Path, out: Path) -> Path:
    """Write the peft adapter in the folder `adapter`, for the model whose config.json is in `base`, as `out`.

    Raises:
        UserError: the model or a module of it is not one that llama.cpp takes adapters for.
    """
    import gguf

    config = json.loads((base / "config.json").read_text("utf-8"))
    kind = str(config.get("model_type"))
    if kind not in _ARCHITECTURES:
        raise UserError(f"adapters for {kind} models are not written as GGUF; there are {', '.join(_ARCHITECTURES)}")
    about = json.loads((adapter / CONFIG).read_text("utf-8"))
    arch = next(key for key, name in gguf.MODEL_ARCH_NAMES.items() if name == _ARCHITECTURES[kind])
    names = gguf.get_tensor_name_map(arch, int(config["num_hidden_layers"]))
    unfinished = out.with_name(out.name + _UNFINISHED)
    writer = gguf.GGUFWriter(unfinished, _ARCHITECTURES[kind])
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, float(about["lora_alpha"]))
    for matrix in matrices(adapter / WEIGHTS, about):
        _add(writer, names, _turned(matrix, config, kind), float(about["lora_alpha"]))
    _written(writer)
    unfinished.replace(out)
    return out


def matrices(weights: Path, about: Mapping[str, Any]) -> Iterator[Matrix]:
    """The matrices of an adapter, by the module that they change."""
    with safe_open(weights, "pt") as file:
        for name in sorted(file.keys()):
            if not name.endswith(".lora_A.weight"):
                continue
            stem = name.removesuffix(".lora_A.weight")
            a, b = (_array(file.get_tensor(f"{stem}.lora_{half}.weight")) for half in "AB")
            module = stem.removeprefix("base_model.model.")
            yield Matrix(module, a, b, _scale(about, module, a.shape[0]))


def interleaved(rows: Array, heads: int) -> Array:
    """The rows of a matrix, [outputs, …], in the order in which llama.cpp's Llama rotates them.

    transformers pairs dimension i of a head with i + half of it; llama.cpp pairs 2i with 2i + 1.
    """
    return rows.reshape(heads, 2, rows.shape[0] // heads // 2, -1).swapaxes(1, 2).reshape(rows.shape)


def _turned(matrix: Matrix, config: Mapping[str, Any], kind: str) -> Matrix:
    found = _ROTATED.search(matrix.module)
    if kind != "llama" or found is None:
        return matrix
    all_heads = int(config["num_attention_heads"])
    heads = all_heads if found[1] == "q" else int(config.get("num_key_value_heads") or all_heads)
    return Matrix(matrix.module, matrix.a, interleaved(matrix.b, heads), matrix.scale)


def _scale(about: Mapping[str, Any], module: str, rank: int) -> float:
    """As peft scales it: alpha / rank, or alpha / √rank with rsLoRA; `alpha_pattern` names modules apart."""
    patterns = about.get("alpha_pattern") or {}
    own = next((value for key, value in patterns.items() if re.fullmatch(rf"(.*\.)?({key})", module)), None)
    alpha = float(own if own is not None else about["lora_alpha"])
    return alpha / math.sqrt(rank) if about.get("use_rslora") else alpha / rank


def _add(writer: Any, names: Any, matrix: Matrix, alpha: float) -> None:
    name = names.get_name(matrix.module)
    if name is None:
        raise UserError(f"llama.cpp has no tensor for {matrix.module}; train an adapter without it")
    # It scales all by alpha / rank; where peft scales otherwise, B takes the difference.
    b = matrix.b * np.float32(matrix.scale * matrix.a.shape[0] / alpha)
    writer.add_tensor(f"{name}.weight.lora_a", np.ascontiguousarray(matrix.a))
    writer.add_tensor(f"{name}.weight.lora_b", np.ascontiguousarray(b))


def _written(writer: Any) -> None:
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    except OSError as error:
        raise UserError(f"the GGUF adapter cannot be written: {error.strerror or error}") from None
    finally:
        writer.close()


def _array(tensor: Any) -> Array:
    found: Array = tensor.float().numpy()
    return found
