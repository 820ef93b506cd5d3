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
    """What a control group's limit leaves; files that are only remembered count as free, as in MemAvailable."""
    try:
        limit, used = ((group / f"memory.{name}").read_text("ascii").strip() for name in ("max", "current"))
    except (OSError, UnicodeDecodeError):
        return None
    if not (limit.isdecimal() and used.isdecimal()):
        return None
    return max(0, int(limit) - max(0, int(used) - _remembered(group / "memory.stat")))


def _remembered(stat: Path) -> int:
    """Bytes of files that the system lets go first."""
    try:
        rows = [line.split() for line in stat.read_text("ascii", "replace").splitlines()]
    except OSError:
        return 0
    return next((int(row[1]) for row in rows if row[:1] == ["inactive_file"] and row[1:] and row[1].isdecimal()), 0)


def _total() -> float | None:
    """All of the main memory, on systems that do not say what is free."""
    try:
        return round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / GIB, 2)
    except (ValueError, OSError, AttributeError):
        return None
