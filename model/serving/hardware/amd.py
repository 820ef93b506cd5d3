"""AMD's GPUs, asked of amd-smi, or of rocm-smi that it replaces."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Sequence
from typing import Any

from model.serving.hardware.gpus import recognised
from model.serving.hardware.nvidia import Reading
from model.serving.plan import GIB, Gpu

AMD_SMI = ("amd-smi", "static", "--asic", "--vram", "--json")
ROCM_SMI = ("rocm-smi", "--showproductname", "--showmeminfo", "vram", "--showuniqueid", "--json")
_NAMES = ("Card Series", "Card series", "Card Model", "Card model", "Card SKU")
_FP8 = ("mi300", "mi325", "mi350", "mi355")
"""Instinct cards whose matrix cores multiply in fp8."""
_MEBIBYTES = 1024.0
_BROKEN = (AttributeError, KeyError, IndexError, TypeError, ValueError, RecursionError)
"""What reading JSON of another form raises."""

Run = Callable[[Sequence[str]], str]


def amd_gpus(run: Run) -> list[Reading] | None:
    """By amd-smi or rocm-smi; None where there is neither.

    Raises:
        ValueError: the one that is there does not answer as it should; a short reason.
    """
    for command, read in ((AMD_SMI, _of_amd_smi), (ROCM_SMI, _of_rocm_smi)):
        try:
            return read(json.loads(run(command)))
        except FileNotFoundError:
            continue
        except (OSError, subprocess.SubprocessError):
            raise ValueError(f"{command[0]} fails; is the driver loaded?") from None
        except _BROKEN:
            raise ValueError(f"{command[0]} does not list cards and their memory") from None
    return None


def _of_amd_smi(printed: Any) -> list[Reading]:
    """A list of cards, in newer versions under a name; sizes are in MiB, called MB. What is free is not said."""
    cards = printed["gpu_data"] if isinstance(printed, dict) else list(printed)
    return [_reading(card["asic"]["market_name"], card["vram"]["size"]["value"] / _MEBIBYTES, None) for card in cards]


def _of_rocm_smi(printed: Any) -> list[Reading]:
    """Cards by name, `system` beside them; sizes are in bytes."""
    return [_card(card) for key, card in dict(printed).items() if str(key).startswith("card")]


def _card(card: Any) -> Reading:
    name = next((str(card[key]) for key in _NAMES if card.get(key)), "AMD GPU")
    total, used = int(card["VRAM Total Memory (B)"]), card.get("VRAM Total Used Memory (B)")
    free = None if used is None else round(max(0, total - int(used)) / GIB, 2)
    return _reading(name, total / GIB, free, str(card.get("Unique ID") or ""))


def _reading(name: str, memory: float, free: float | None, unique: str = "") -> Reading:
    if memory <= 0:
        raise ValueError("no memory")
    kind = recognised(name) or Gpu(name, 0)
    fp8 = any(word in name.casefold() for word in _FP8)
    return Reading(Gpu(name, round(memory, 2), kind.bandwidth, kind.flops, fp8, free), unique)
