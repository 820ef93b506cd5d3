"""What serving a model takes, as data: the hardware, what is wanted of it, the plan, and how to start it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from model.catalog import CatalogEntry

GIB = 2**30
"""Bytes in a GiB. Memory is counted in GiB, as vLLM and NVML count it; bandwidth in GB/s, as vendors do."""


class Runner(StrEnum):
    """What runs the model."""

    VLLM = "vllm"
    VLLM_CPU = "vllm-cpu"
    LLAMA = "llama-server"


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU: memory in GiB, bandwidth in GB/s, `flops` in dense bf16 TFLOP/s; None where unknown.

    `fp8` says that it multiplies in fp8; `free` is the memory that nobody uses, in GiB, where it was asked.
    """

    name: str
    memory: float
    bandwidth: float | None = None
    flops: float | None = None
    fp8: bool = False
    free: float | None = None


@dataclass(frozen=True, slots=True)
class Machine:
    """The hardware of one node. `source` says how it is known: NVML, ROCm, "asked for", none found."""

    gpus: tuple[Gpu, ...] = ()
    source: str = "none found"
    memory: float | None = None
    """Main memory that is free, in GiB."""
    cores: int | None = None
    nodes: int = 1
    bits: int = 16
    """Of the numbers that its cores compute with: 32 where they have no units for bf16."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What the user asked for; None leaves it to the plan. `context` in tokens, `users` at once."""

    context: int | None = None
    users: int = 1
    quantization: str | None = None
    kv_dtype: str | None = None
    tensor_parallel: int | None = None
    pipeline_parallel: int | None = None
    data_parallel: int = 1
    adapters: tuple[str, ...] = ()
    """Adapters to load at the start, as NAME=PATH."""
    memory_share: float = 0.92
    """The share of each GPU's memory that the engine may take; vLLM's own default."""
    runner: Runner | None = None
    """What to run it with, where the user says so."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How a model will run. Sizes in GiB over all GPUs of one copy; `lines` is the arithmetic, a line each.

    `kv_tokens` is how many tokens of KV cache fit; `users` how many whole contexts of `context` tokens these are.
    """

    model: CatalogEntry
    machine: Machine
    runner: Runner
    quantization: str | None
    kv_dtype: str
    tensor_parallel: int
    pipeline_parallel: int
    data_parallel: int
    context: int
    weights: float
    kv: float
    kv_tokens: int
    users: float
    lines: tuple[str, ...]
    adapters: tuple[str, ...] = ()
    memory_share: float = 0.92

    @property
    def figures(self) -> dict[str, Any]:
        """What was chosen and what it takes, for programs."""
        return {
            "model": self.model.name,
            "runner": self.runner.value,
            "quantization": self.quantization,
            "kv_dtype": self.kv_dtype,
            "tensor_parallel": self.tensor_parallel,
            "pipeline_parallel": self.pipeline_parallel,
            "data_parallel": self.data_parallel,
            "context": self.context,
            "weights_gib": round(self.weights, 2),
            "kv_gib": round(self.kv, 2),
            "kv_tokens": self.kv_tokens,
        }


class DoesNotFit(Exception):
    """The model does not fit; the message is one sentence. `lines` is the arithmetic, `instead` what would fit."""

    def __init__(self, message: str, lines: tuple[str, ...] = (), instead: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.lines = lines
        self.instead = instead


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a server listens: a Unix socket, or a host and port; `key` is what clients must send, or None."""

    socket: Path | None = None
    host: str = "127.0.0.1"
    port: int = 8000
    key: str | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        """As `--engine` takes it."""
        if self.socket:
            return f"unix:{self.socket}"
        return f"http://[{self.host}]:{self.port}" if ":" in self.host else f"http://{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Launch:
    """A command that starts a server: its words, what it needs in the environment, where it will listen, and why so.

    `secrets` names the variables of `environ` that must not be shown. `why` has a line for each choice.
    """

    argv: tuple[str, ...]
    environ: dict[str, str]
    endpoint: Endpoint
    why: tuple[str, ...] = ()
    secrets: frozenset[str] = frozenset()
