"""Which GPUs, memory and cores this machine has, or which ones the user asks about."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from model.serving.hardware.amd import amd_gpus
from model.serving.hardware.gpus import gpu_type
from model.serving.hardware.memory import free_memory
from model.serving.hardware.nvidia import Reading, library_gpus, smi_gpus
from model.serving.hardware.processor import cpu_flags, emulates_bf16
from model.serving.plan import Gpu, Machine

Run = Callable[[Sequence[str]], str]
"""Runs a command and returns what it printed. Raises OSError or SubprocessError where it cannot."""

_SECONDS = 10.0
"""How long a driver's tool may take to answer; our choice."""
_ASKED = re.compile(
    r"(?:(?P<first>\d{1,4})x)?(?P<key>\w[\w.-]*)(?::(?P<count>\d{1,4})(?:x(?P<nodes>\d{1,4}))?)?", re.ASCII
)
_MOST = 4_096


def run_command(command: Sequence[str]) -> str:
    """What a command prints. Raises OSError or SubprocessError."""
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=_SECONDS, check=True)
    return done.stdout


def find_machine(
    environ: Mapping[str, str] = os.environ,
    run: Run = run_command,
    library: Callable[[], list[Reading] | None] = library_gpus,
) -> Machine:
    """This machine: by NVML, nvidia-smi or ROCm's tools; `source` says by which, or why no GPU was found."""
    here = _computer("none found")
    reasons = []
    for source, probe, variables in (
        ("NVML", library, _NVIDIA),
        ("nvidia-smi", lambda: smi_gpus(run), _NVIDIA),
        ("ROCm", lambda: amd_gpus(run), _AMD),
    ):
        try:
            found = probe()
        except ValueError as error:
            reasons.append(f"{source}: {error}")
            continue
        if found:
            return _with(here, _visible(found, environ, variables), source)
    return replace(here, source=f"none found ({'; '.join(reasons)})" if reasons else "none found")


def asked_machine(text: str) -> Machine:
    """The hardware that a user asks about: `h100:2`, `2xh100`, `h100:8x2` (two nodes of eight), or `none`.

    Raises:
        ValueError: it is written otherwise, or the type is not known; one sentence.
    """
    wanted = text.strip()
    if wanted.casefold() == "none":
        return _computer("asked for")
    found = _ASKED.fullmatch(wanted)
    if found is None or (found["first"] and found["count"]):
        raise ValueError(f"{text!r} names no GPUs; write TYPE:NUMBER as in h100:2, h100:8x2 for two nodes, or none")
    count, nodes = int(found["first"] or found["count"] or 1), int(found["nodes"] or 1)
    if not 1 <= count * nodes <= _MOST:
        raise ValueError(f"{text!r} asks for {count * nodes} GPUs; give a number from 1 to {_MOST}")
    return Machine((gpu_type(found["key"]).gpu,) * count, "asked for", nodes=nodes)


_NVIDIA = ("CUDA_VISIBLE_DEVICES",)
_AMD = ("HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES")


def _with(machine: Machine, gpus: tuple[Gpu, ...], source: str) -> Machine:
    return replace(machine, gpus=gpus, source=source if gpus else f"none found (all that {source} lists are hidden)")


def _visible(found: Sequence[Reading], environ: Mapping[str, str], variables: Sequence[str]) -> tuple[Gpu, ...]:
    """Those that the environment leaves to programs, by their numbers or the beginnings of their ids."""
    value = next((environ[name] for name in variables if name in environ), None)
    if value is None:
        return tuple(each.gpu for each in found)
    kept: list[Gpu] = []
    for word in value.split(","):
        chosen = _chosen(found, word.strip())
        if chosen is None:
            break
        kept.append(chosen.gpu)
    return tuple(kept)


def _chosen(found: Sequence[Reading], word: str) -> Reading | None:
    """The one that a word of CUDA_VISIBLE_DEVICES means; None ends the list there, as in CUDA."""
    if word.isdecimal():
        return found[int(word)] if int(word) < len(found) else None
    return next((each for each in found if word and each.id.startswith(word)), None)


def _computer(source: str) -> Machine:
    """This machine without its GPUs."""
    return Machine((), source, free_memory(), _cores(), bits=32 if emulates_bf16(cpu_flags()) else 16)


def _cores() -> int | None:
    try:
        return len(os.sched_getaffinity(0))
    except (AttributeError, OSError):
        return os.cpu_count()
