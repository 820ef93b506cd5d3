"""Processes as the system shows them: whether one lives, since when, and what is left of a group."""

from __future__ import annotations

import os
from pathlib import Path

_STATE, _GROUP, _BORN = 0, 2, 19
"""Fields of /proc/PID/stat (proc_pid_stat(5)), counted behind the name in parentheses, which may hold anything."""


def is_alive(pid: int, born: int | None = None) -> bool:
    """Whether the process is there, and began at `born`, if that is known: another may have its number now."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    fields = _stat(Path(f"/proc/{pid}"))
    return not fields or (fields[_STATE] != "Z" and born in (None, int(fields[_BORN])))


def born_at(pid: int) -> int | None:
    """When it began, in ticks since the system did; None where that is unknown."""
    fields = _stat(Path(f"/proc/{pid}"))
    return int(fields[_BORN]) if fields else None


def group_lives(group: int) -> bool:
    """Whether any process of the group has not ended; one whose parent only has to notice its end does not count."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    found = [fields for folder in Path("/proc").glob("[0-9]*") if (fields := _stat(folder))]
    return not found or any(fields[_GROUP] == str(group) and fields[_STATE] != "Z" for fields in found)


def _stat(folder: Path) -> list[str]:
    try:
        return (folder / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()
    except OSError:
        return []
