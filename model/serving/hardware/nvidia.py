"""NVIDIA's GPUs: asked of the driver's library, or of nvidia-smi."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from math import isfinite
from typing import Any

from model.serving.hardware.gpus import recognised
from model.serving.plan import GIB, Gpu

QUERY = ("nvidia-smi", "--query-gpu=name,memory.total,memory.free,compute_cap,uuid", "--format=csv,noheader,nounits")
_FP8 = 8.9
"""The compute capability from which on tensor cores multiply in fp8 (Ada, Hopper and later)."""
_MEBIBYTES = 1024.0


@dataclass(frozen=True, slots=True)
class Reading:
    """A GPU as a driver reports it, with the id that environment variables may name it by."""

    gpu: Gpu
    id: str = ""


def library_gpus(load: Callable[[str], Any] = import_module) -> list[Reading] | None:
    """By NVML, where nvidia-ml-py is installed and a driver answers; else None."""
    try:
        nvml = load("pynvml")
    except ImportError:
        return None
    try:
        nvml.nvmlInit()
        handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
        return [_reading(nvml, handle) for handle in handles]
    except (nvml.NVMLError, AttributeError, TypeError, ValueError, OSError):
        return None


def smi_gpus(run: Callable[[Sequence[str]], str]) -> list[Reading] | None:
    """By nvidia-smi; None where there is none.

    Raises:
        ValueError: it answers, but not as it should; a short reason.
    """
    try:
        printed = run(QUERY)
    except FileNotFoundError:
        return None
    except (OSError, subprocess.SubprocessError):
        raise ValueError("nvidia-smi fails; is the driver loaded?") from None
    return [_row(line) for line in printed.splitlines() if line.strip()]


def _reading(nvml: Any, handle: Any) -> Reading:
    memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    major, minor = nvml.nvmlDeviceGetCudaComputeCapability(handle)
    name = _text(nvml.nvmlDeviceGetName(handle))
    gpu = _gpu(name, memory.total / GIB, memory.free / GIB, float(f"{major}.{minor}"))
    return Reading(gpu, _text(nvml.nvmlDeviceGetUUID(handle)))


def _text(value: str | bytes) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _row(line: str) -> Reading:
    fields = [field.strip() for field in line.split(",")]
    try:
        name, total, free, capability, *rest = fields
        gpu = _gpu(name, float(total) / _MEBIBYTES, float(free) / _MEBIBYTES, float(capability))
    except ValueError:
        raise ValueError(f"nvidia-smi prints {line.strip()!r:.60}, which is no GPU") from None
    return Reading(gpu, rest[0] if rest else "")


def _gpu(name: str, total: float, free: float, capability: float) -> Gpu:
    if not (isfinite(total) and isfinite(free) and total > 0):
        raise ValueError("no memory")
    kind = recognised(name) or Gpu(name, 0)
    return Gpu(name, round(total, 2), kind.bandwidth, kind.flops, capability >= _FP8, round(max(0.0, free), 2))
