"""The processes of a run: which of them this is, the device it computes on, and how they put numbers together."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from assistant.errors import UserError
from training.settings import Dtype

if TYPE_CHECKING:
    import torch

_PATIENCE = timedelta(minutes=30)
"""How long a process waits for the others: one of them may write a checkpoint of many gigabytes. Our choice."""


@dataclass(frozen=True, slots=True)
class World:
    """The process `rank` of `size`, the `local` one of its node, computing on `device` (``cpu``, ``cuda:1``)."""

    rank: int = 0
    size: int = 1
    local: int = 0
    device: str = "cpu"

    @classmethod
    def here(cls, device: str = "", environ: Mapping[str, str] = os.environ) -> World:
        """The world that torchrun's environment describes, joined where it has several processes; else one process.

        `device` is by default the GPU of this process where there is one, else the CPU.

        Raises:
            UserError: the environment names no process that there can be, or the others were not found.
        """
        rank, size, local = (_number(environ, name, default) for name, default in _VARIABLES)
        if not 0 <= rank < size:
            raise UserError(f"RANK={rank} is none of WORLD_SIZE={size} processes; start them with torchrun")
        world = cls(rank, size, local, device or _device(local))
        if size > 1:
            world.join()
        return world

    @property
    def main(self) -> bool:
        """Whether this is the process that writes files and speaks."""
        return self.rank == 0

    @property
    def cpu(self) -> bool:
        """Whether it computes on a CPU."""
        return self.device.startswith("cpu")

    @property
    def start(self) -> str:
        """Where a model is loaded: beside others on the CPU, from where FSDP2 takes its shards block by block."""
        return self.device if self.size == 1 else "cpu"

    def join(self) -> None:
        """Meet the other processes: gloo for tensors on a CPU, NCCL for those on GPUs. Does nothing if they have met.

        Raises:
            UserError: they were not found.
        """
        import torch
        import torch.distributed as dist

        if dist.is_initialized():
            return
        if not self.cpu:
            torch.cuda.set_device(self.device)
        try:
            dist.init_process_group("gloo" if self.cpu else "cpu:gloo,cuda:nccl", timeout=_PATIENCE)
        except (RuntimeError, ValueError) as error:
            raise UserError(f"the other {self.size - 1} processes were not found ({error}); use torchrun") from None

    def leave(self) -> None:
        """Part from the other processes."""
        if self.size > 1:
            import torch.distributed as dist

            if dist.is_initialized():
                dist.destroy_process_group()

    def sum(self, values: Sequence[float]) -> list[float]:
        """Each value, summed over the processes, in 64 bits."""
        return self._reduced(values, "SUM")

    def max(self, values: Sequence[float]) -> list[float]:
        """The largest of each value over the processes."""
        return self._reduced(values, "MAX")

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process; all of them must ask."""
        return bool(self.max([float(flag)])[0])

    def wait(self) -> None:
        """Wait until all processes are here."""
        self.sum([0.0])

    def dtype(self, name: Dtype) -> torch.dtype:
        """What torch calls a dtype of the recipe."""
        import torch

        return {"float32": torch.float32, "bfloat16": torch.bfloat16}[name]

    def _reduced(self, values: Sequence[float], how: str) -> list[float]:
        if self.size == 1:
            return list(values)
        import torch
        import torch.distributed as dist

        tensor = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(tensor, getattr(dist.ReduceOp, how))
        found: list[float] = tensor.tolist()
        return found


_VARIABLES = (("RANK", 0), ("WORLD_SIZE", 1), ("LOCAL_RANK", 0))


def _number(environ: Mapping[str, str], name: str, default: int) -> int:
    text = environ.get(name, "") or str(default)
    if not text.isdecimal():
        raise UserError(f"{name}={text} is no number; start the processes with torchrun")
    return int(text)


def _device(local: int) -> str:
    import torch

    return f"cuda:{local}" if torch.cuda.is_available() else "cpu"
