"""Small random LoRA adapters, written as peft writes them, for models of SmolLM2-135M's shape or any other."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

SMOLLM2 = {"q_proj": (576, 576), "v_proj": (576, 192)}
"""What the matrices take and give, in SmolLM2-135M."""


def make_adapter(
    folder: Path,
    rank: int = 8,
    seed: int = 0,
    *,
    layers: int = 30,
    shapes: dict[str, tuple[int, int]] = SMOLLM2,
    scale: float = 0.05,
    base: str = "HuggingFaceTB/SmolLM2-135M-Instruct",
) -> Path:
    """An adapter of random numbers; neither half is zero, so that the model's output changes."""
    random = np.random.default_rng(seed)
    tensors: dict[str, np.ndarray] = {}
    for layer in range(layers):
        for name, (taken, given) in shapes.items():
            key = f"base_model.model.model.layers.{layer}.self_attn.{name}"
            tensors[f"{key}.lora_A.weight"] = random.normal(0, scale, (rank, taken))
            tensors[f"{key}.lora_B.weight"] = random.normal(0, scale, (given, rank))
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "r": rank, "lora_alpha": 2 * rank, "lora_dropout": 0.0,
        "bias": "none", "target_modules": sorted(shapes), "base_model_name_or_path": base,
    }  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(config))
    (folder / "adapter_model.safetensors").write_bytes(safetensors(tensors))
    return folder


def safetensors(tensors: dict[str, np.ndarray]) -> bytes:
    """The tensors in float32 as a file of that format: the header's size, the header, the numbers."""
    header, numbers = {}, b""
    for key, tensor in tensors.items():
        data = tensor.astype("<f4").tobytes()
        where = [len(numbers), len(numbers) + len(data)]
        header[key] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": where}
        numbers += data
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)
    return len(head).to_bytes(8, "little") + head + numbers
