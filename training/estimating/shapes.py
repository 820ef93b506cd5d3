"""Shapes of models that recipes begin from and that the catalogue does not have, as no one serves them with `kat`."""

from __future__ import annotations

from dataclasses import replace

from model.architecture import Architecture
from model.catalog import CATALOG


def base_shape(source: str) -> Architecture | None:
    """The shape of a model on the hub, by the config.json there; None where it is not known here."""
    made = _MADE_FROM.get(source)
    shape = CATALOG[made[0]].architecture if made else None
    return replace(shape, layers=made[1], context=made[2]) if made and shape else None


_MADE_FROM = {
    "Qwen/Qwen3-8B": ("HiPO-8B", 36, 40_960),
    "Qwen/Qwen3-32B": ("KAT-Dev-32B", 64, 40_960),
    "Qwen/Qwen2.5-32B": ("KAT-V1-40B", 64, 131_072),
    "Qwen/Qwen2.5-32B-Instruct": ("KAT-V1-40B", 64, 32_768),
}
"""What was made from it, its own number of layers, and its context in tokens."""
