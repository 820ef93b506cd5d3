"""FSDP2: the weights of a module spread over the processes of a world, block by block, from outside the model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import torch
from torch import nn

from training.models.masters import in_full
from training.runtime.world import World
from training.settings import Dtype

M = TypeVar("M", bound=nn.Module)


def shard(module: M, world: World, dtype: Dtype = "bfloat16") -> M:
    """The module with its blocks, and itself as their root, sharded over all processes; one process changes nothing.

    Trained weights become fp32, and are their own masters; what computes is gathered in `dtype`, and gradients are
    reduced in fp32. The module's own `forward` must be what is called, so that the root's weights are whole in it.
    """
    if world.size == 1:
        return module
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    world.join()
    mesh = init_device_mesh("cpu" if world.cpu else "cuda", (world.size,))
    compute = world.dtype(dtype)
    policy = MixedPrecisionPolicy(param_dtype=compute, reduce_dtype=torch.float32)
    in_full(module)
    for block in blocks(module):
        fully_shard(block, mesh=mesh, mp_policy=policy)
    fully_shard(module, mesh=mesh, mp_policy=policy)
    return module


def blocks(module: nn.Module) -> Iterator[nn.Module]:
    """The blocks of the transformers models within a module: what their authors say is not to be split."""
    names = {name for each in module.modules() for name in (getattr(each, "_no_split_modules", None) or ())}
    yield from (each for each in module.modules() if type(each).__name__ in names)
