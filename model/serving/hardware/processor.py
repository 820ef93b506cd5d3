"""What the cores of this machine compute quickly."""

from __future__ import annotations

from pathlib import Path

UNITS = ("amx_bf16", "avx512_bf16")
"""Flags of x86 cores that multiply in bf16 themselves, the faster first."""


def cpu_flags(place: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """What this machine's cores can do; empty where the system does not say."""
    try:
        lines = place.read_text("ascii", "replace").splitlines()
    except OSError:
        return frozenset()
    return frozenset(next((line.partition(":")[2] for line in lines if line.startswith("flags")), "").split())


def emulates_bf16(flags: frozenset[str]) -> bool:
    """Whether cores have no units for bf16, so that fp32 is much faster there; not where nothing is known of them.

    On a core with AVX2 products of matrices ran at 1e9 operations a second in bf16 and at 69e9 in fp32.
    """
    return bool(flags) and flags.isdisjoint(UNITS)
