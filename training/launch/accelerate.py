"""The configuration that `accelerate launch` starts the processes of a run with: FSDP2 on all GPUs that train.

Our own stages shard by `fully_shard` whatever stands here; TRL's trainer reads it.
"""

from __future__ import annotations

from collections.abc import Mapping

from model.serving.clusters.yaml_text import Value, document
from training.settings import Recipe

FILE = "accelerate.yaml"
PORT = 29_500
"""Where the processes meet on the first node: torchrun's own default."""


def config(recipe: Recipe) -> str:
    """The file, as accelerate 1.10 and later read it; it is used where a run has more than one process."""
    return document(_values(recipe), [f"accelerate's configuration for {recipe.name}; made from its recipe"])


def gpu_ids(recipe: Recipe) -> tuple[int, ...]:
    """The GPUs of a node that train; those behind them serve."""
    return tuple(range(recipe.hardware.gpus - recipe.hardware.serving))


def _values(recipe: Recipe) -> Mapping[str, Value]:
    where = recipe.hardware
    ids = {"gpu_ids": ",".join(map(str, gpu_ids(recipe)))} if where.serving else {}
    return {
        "compute_environment": "LOCAL_MACHINE",
        "distributed_type": "FSDP",
        "mixed_precision": "bf16" if recipe.model.dtype == "bfloat16" else "no",
        "num_machines": where.nodes,
        "num_processes": where.processes,
        "machine_rank": 0,
        "main_process_port": PORT,
        "main_training_function": "main",
        "rdzv_backend": "static",
        "same_network": True,
        "use_cpu": False,
        **ids,
        "fsdp_config": _fsdp(),
    }


def _fsdp() -> Mapping[str, Value]:
    """What TRL's trainer shards by: block for block, and whole weights when they are saved."""
    return {
        "fsdp_version": 2,
        "fsdp_auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
        "fsdp_reshard_after_forward": True,
        "fsdp_offload_params": False,
        "fsdp_cpu_ram_efficient_loading": False,
        "fsdp_state_dict_type": "FULL_STATE_DICT",
        "fsdp_activation_checkpointing": False,  # a model that is loaded has its own on: twice is twice the time
    }
