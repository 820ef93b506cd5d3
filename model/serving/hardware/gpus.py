"""What is known of types of GPU: memory, bandwidth, arithmetic; by the short name that users type."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass

from model.serving.plan import Gpu


@dataclass(frozen=True, slots=True)
class GpuType:
    """A type: `memory` in GiB as the driver reports it, `bandwidth` in GB/s, `flops` in dense bf16 TFLOP/s.

    `pattern` finds the type in the driver's name for it; `source` says where the figures are from.
    """

    key: str
    title: str
    memory: float
    bandwidth: float
    flops: float | None
    fp8: bool
    pattern: str
    source: str

    @property
    def gpu(self) -> Gpu:
        """One of them, with nothing else on it."""
        return Gpu(self.title, self.memory, self.bandwidth, self.flops, self.fp8)


_DATA_SHEET = "NVIDIA data sheet (half of the figure with sparsity), memory as nvidia-smi lists it"
_AMPERE = "NVIDIA data sheet, memory as nvidia-smi lists it"
_GAMES = "NVIDIA architecture whitepaper (bf16 with fp32 accumulate), memory as nvidia-smi lists it"
_BLACKWELL = "NVIDIA HGX data sheet, an eighth of the board (half of the figure with sparsity)"
_AMD = "AMD Instinct data sheet"

TYPES: tuple[GpuType, ...] = (
    GpuType("h100", "H100 80GB (SXM)", 79.6, 3_350, 989, True, r"h100 80gb hbm3", _DATA_SHEET),
    GpuType("h100-pcie", "H100 80GB (PCIe)", 79.6, 2_000, 756, True, r"h100 pcie", _DATA_SHEET),
    GpuType("h100-nvl", "H100 NVL 94GB", 93.6, 3_900, 835, True, r"h100 nvl", _DATA_SHEET),
    GpuType("h200", "H200 141GB", 140.4, 4_800, 989, True, r"\bh200", _DATA_SHEET),
    GpuType("h20", "H20 96GB", 95.6, 4_000, 148, True, r"h20\b", _DATA_SHEET),
    GpuType("b200", "B200 180GB", 179.1, 8_000, 2_250, True, r"\bb200", _BLACKWELL),
    GpuType("b300", "B300 288GB", 268.2, 8_000, 2_250, True, r"\bb300", f"{_BLACKWELL}; memory not seen"),
    GpuType("a100-40", "A100 40GB", 40.0, 1_555, 312, False, r"a100.*40gb", _AMPERE),
    GpuType("a100-80", "A100 80GB (SXM)", 80.0, 2_039, 312, False, r"a100.*80gb", _AMPERE),
    GpuType("l40s", "L40S 48GB", 45.0, 864, 362, True, r"l40s", _DATA_SHEET),
    GpuType("l40", "L40 48GB", 45.0, 864, 181, True, r"l40\b", _DATA_SHEET),
    GpuType("l4", "L4 24GB", 22.5, 300, 121, True, r"l4\b", _DATA_SHEET),
    GpuType("a10", "A10 24GB", 22.5, 600, 125, False, r"a10\b", _AMPERE),
    GpuType("a10g", "A10G 24GB", 22.5, 600, 70, False, r"a10g", _AMPERE),
    GpuType("a40", "A40 48GB", 45.0, 696, 150, False, r"a40\b", _AMPERE),
    GpuType("a6000", "RTX A6000 48GB", 48.0, 768, 155, False, r"rtx a6000", _AMPERE),
    GpuType("rtx6000ada", "RTX 6000 Ada 48GB", 48.0, 960, 364, True, r"rtx 6000 ada", _DATA_SHEET),
    GpuType("rtx3090", "GeForce RTX 3090 24GB", 24.0, 936, 71, False, r"rtx 3090(?! laptop)", _GAMES),
    GpuType("rtx4090", "GeForce RTX 4090 24GB", 24.0, 1_008, 165, True, r"rtx 4090(?! laptop)", _GAMES),
    GpuType("rtx5090", "GeForce RTX 5090 32GB", 31.8, 1_792, 210, True, r"rtx 5090(?! laptop)", _GAMES),
    GpuType("mi300x", "Instinct MI300X 192GB", 192.0, 5_300, 1_307, True, r"mi300x", _AMD),
    GpuType("mi325x", "Instinct MI325X 256GB", 256.0, 6_000, 1_307, True, r"mi325x", _AMD),
    GpuType("mi355x", "Instinct MI355X 288GB", 288.0, 8_000, 2_517, True, r"mi355x", _AMD),
)
_BY_KEY = {each.key: each for each in TYPES}
_ALIASES = {"a100": "a100-80", "h100-sxm": "h100", "4090": "rtx4090", "5090": "rtx5090", "3090": "rtx3090"}


def gpu_type(key: str) -> GpuType:
    """The type of that short name, in any case.

    Raises:
        ValueError: there is none; the sentence names the known ones.
    """
    folded = key.casefold()
    if found := _BY_KEY.get(_ALIASES.get(folded, folded)):
        return found
    near = difflib.get_close_matches(folded, _BY_KEY, 1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise ValueError(f"no GPU type {key!r} is known; {hint}there are {', '.join(_BY_KEY)}")


def recognised(name: str) -> GpuType | None:
    """The type that a driver's name for a GPU stands for, or None."""
    folded = name.casefold()
    return next((each for each in TYPES if each.title == name or re.search(each.pattern, folded)), None)
