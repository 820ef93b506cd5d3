"""Main memory that a program may still take: the system's, and no more than a container's limit leaves."""

from __future__ import annotations

import os
from pathlib import Path

from model.serving.plan import GIB

_KIBIBYTE = 1024


def free_memory(proc: Path = Path("/proc/meminfo"), group: Path = Path("/sys/fs/cgroup")) -> float | None:
    """Free main memory in GiB, or None where the system does not say."""
    known = [each for each in (_available(proc), _left_in(group)) if each is not None]
    return round(min(known) / GIB, 2) if known else _total()


def _available(proc: Path) -> int | None:
    try:
        lines = proc.read_text("ascii", "replace").splitlines()
    except OSError:
        return None
    words = next((line.split() for line in lines if line.startswith("MemAvailable:")), [])
    return int(words[1]) * _KIBIBYTE if len(words) > 1 and words[1].isdecimal() else None


def _left_in(group: Path) -> int | None:
    """What a control group's limit leaves."""
    try:
        limit, used = ((group / f"memory.{name}").read_text("ascii").strip() for name in ("max", "current"))
    except (OSError, UnicodeDecodeError):
        return None
    return max(0, int(limit) - int(used)) if limit.isdecimal() and used.isdecimal() else None


def _total() -> float | None:
    """All of the main memory, on systems that do not say what is free."""
    try:
        return round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / GIB, 2)
    except (ValueError, OSError, AttributeError):
        return None
