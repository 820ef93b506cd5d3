"""An adapter that vLLM is sure to take: checked against its rules, and against the model it is for."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from assistant.errors import UserError
from model.engine import EngineError
from model.serving.adapter_files import CONFIG, WEIGHTS, AdapterFiles, expect_fits, read_adapter
from training.models.lora import RANKS
from training.runtime.folder import beside, put_folder

_ONLY_IF_PLAIN = {
    "use_dora": "DoRA",
    "lora_bias": "LoRA with a bias",
    "modules_to_save": "whole modules beside the matrices",
    "layer_replication": "replicated layers",
    "trainable_token_indices": "trained tokens",
    "target_parameters": "matrices on parameters",
    "use_bdlora": "block-diagonal LoRA",
    "use_qalora": "QALoRA",
    "alora_invocation_tokens": "activated LoRA",
}
"""What vLLM 0.32 refuses, or reads past (vllm/lora/peft_helper.py), by the name in adapter_config.json."""
_STARTS = ("gaussian", "eva", "orthogonal", "mica", "lora_ga")
"""Ways to begin an adapter that leave the base model's weights as they are."""


def copied(adapter: Path, out: Path) -> Path:
    """The adapter alone in `out`, without what a stage left beside it. Raises UserError if the disk does not allow."""
    unfinished = beside(out)
    try:
        for name in (CONFIG, WEIGHTS):
            shutil.copyfile(adapter / name, unfinished / name)
        put_folder(out, unfinished)
    except OSError as error:
        raise UserError(f"{out} cannot be written: {error.strerror or error}") from None
    return out


def expect_served(adapter: Path, base: Path) -> AdapterFiles:
    """What the adapter holds, if vLLM serves it on the model in `base`.

    Raises:
        UserError: it does not; all reasons are named.
    """
    try:
        files = read_adapter(adapter)
        expect_fits(files, str(base), RANKS[-1])
    except EngineError as error:
        raise UserError(str(error)) from None
    if wrong := [*_refused(json.loads((adapter / CONFIG).read_text("utf-8"))), *_odd(adapter / WEIGHTS)]:
        raise UserError(f"vLLM does not serve the adapter {adapter}: {'; '.join(wrong)}; train one without")
    return files


def _refused(config: dict[str, Any]) -> Iterator[str]:
    """What the configuration says that vLLM does not do."""
    if config["r"] not in RANKS:
        yield f"its rank {config['r']} is none of {', '.join(map(str, RANKS))}"
    if config.get("bias", "none") != "none":
        yield "it has a bias"
    start = config.get("init_lora_weights", True)
    if isinstance(start, str) and start.lower() not in _STARTS:
        yield f"init_lora_weights={start} changed the base model"
    yield from (f"it has {words}" for name, words in _ONLY_IF_PLAIN.items() if config.get(name))


def _odd(weights: Path) -> Iterator[str]:
    """Tensors that are no LoRA matrices of a block."""
    from safetensors import safe_open

    with safe_open(weights, "pt") as file:
        names = list(file.keys())
    matrices = [name for name in names if name.endswith((".lora_A.weight", ".lora_B.weight"))]
    if other := sorted(set(names) - set(matrices)):
        yield f"it holds {other[0]}"
    if outside := [name for name in matrices if ".layers." not in name]:
        yield f"it changes {outside[0].removeprefix('base_model.model.').partition('.lora_')[0]}"
