"""Watches a whole run: processes, memory and disk of all that it started, which limits of single processes miss."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_EVERY = 0.1
"""Seconds between two looks."""
_SCARCE = 25
"""The machine is short of memory when less than this part of it is left."""

Watcher = Callable[[int], str]
"""Takes the process id of a run; a sentence why it must end, or an empty one."""


@dataclass(frozen=True, slots=True)
class Watch:
    """Limits of a run: processes and bytes of memory in all, and bytes by which it may fill the disk of `folder`.

    Disk and the machine's memory are compared with what was free at the start, whoever took it.
    """

    processes: int
    memory: int
    disk: int
    folder: Path
    free_disk: int
    free_memory: int

    @classmethod
    def begin(cls, folder: Path, *, processes: int, memory: int, disk: int) -> Watch:
        """Look at the machine now."""
        return cls(processes, memory, disk, folder, _free_disk(folder), free_memory()[0])

    def exceeded(self, pid: int) -> str:
        """Why the run of `pid` must end, or an empty string. Says nothing where there is no /proc."""
        tree = [pid, *descendants(pid)]
        if len(tree) > self.processes:
            return f"it ran more than {self.processes:,} processes at once"
        if sum(map(_own_memory, tree)) > self.memory and sum(map(_part_of_memory, tree)) > self.memory:
            return f"it took more than {self.memory >> 20:,} MiB of memory"
        if self._short_of_memory():
            return "the machine ran short of memory"
        if _free_disk(self.folder) < self.free_disk - min(self.disk, self.free_disk // 2):
            return "it filled the disk"
        return ""

    def _short_of_memory(self) -> bool:
        free, total = free_memory()
        return total > 0 and free < min(total // _SCARCE, self.free_memory // 2)


async def until_exceeded(watcher: Watcher, pid: int) -> str:
    """Look again and again; returns the sentence once there is one."""
    while True:
        await asyncio.sleep(_EVERY)
        if said := watcher(pid):
            return said


def descendants(pid: int) -> Iterator[int]:
    """All that descends from a process now."""
    waiting = [pid]
    while waiting:
        for child in _children(waiting.pop()):
            waiting.append(child)
            yield child


def free_memory() -> tuple[int, int]:
    """Bytes of memory that could be had now, and in all; zeros where nobody says."""
    found = {"MemAvailable": 0, "MemTotal": 0}
    with suppress(OSError, ValueError):
        for line in Path("/proc/meminfo").read_text("ascii").splitlines():
            name, _, amount = line.partition(":")
            if name in found:
                found[name] = int(amount.split()[0]) * 1024
    return found["MemAvailable"], found["MemTotal"]


def _children(pid: int) -> list[int]:
    found: list[int] = []
    with suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            found += map(int, (thread / "children").read_text("ascii").split())
    return found


def _own_memory(pid: int) -> int:
    """Bytes that a process does not share with files; what it shares with its parent since a fork is counted too."""
    with suppress(OSError, ValueError, IndexError):
        resident, shared = Path(f"/proc/{pid}/statm").read_text("ascii").split()[1:3]
        return (int(resident) - int(shared)) * os.sysconf("SC_PAGE_SIZE")
    return 0


def _part_of_memory(pid: int) -> int:
    """Bytes of a process, where what it shares is divided by those who share it. Slow, so asked only when needed."""
    with suppress(OSError, ValueError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text("ascii").splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return _own_memory(pid)


def _free_disk(folder: Path) -> int:
    with suppress(OSError):
        state = os.statvfs(folder)
        return state.f_bavail * state.f_frsize
    return 0
