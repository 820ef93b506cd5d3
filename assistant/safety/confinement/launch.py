"""Turns a command and a view of the machine into what is really started, tier by tier."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from assistant.safety.confinement import seccomp
from assistant.safety.confinement.landlock import landlock_arguments, launcher
from assistant.safety.confinement.profile import View, bubblewrap_arguments
from assistant.safety.confinement.seatbelt import seatbelt_arguments
from assistant.safety.confinement.tiers import Tier

_SHELL_LIMITS = (
    '{ ulimit -c 0; ulimit -d $1; ulimit -f $2; ulimit -u $3 || ulimit -p $3; } 2>/dev/null; shift 3; exec "$@"'
)


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of a run: bytes of memory (0: three quarters of the machine's), of a file and on disk; and processes.

    Memory and file size hold for each process; memory, processes and disk also for all together.
    """

    memory: int = 0
    file_size: int = 4 << 30
    processes: int = 4096
    disk: int = 16 << 30

    @property
    def all_memory(self) -> int:
        """Bytes of memory, decided."""
        return self.memory or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 4 * 3

    def arguments(self) -> list[str]:
        """A command prefix that sets them, in the units of the shell's `ulimit`."""
        numbers = (self.all_memory // 1024, self.file_size // 512, self.processes)
        return ["/bin/sh", "-c", _SHELL_LIMITS, "sh", *map(str, numbers)]

    def resources(self) -> dict[str, int]:
        """The same as names of `resource`. Processes are those of the user, who has others too: four times as many."""
        return {"CORE": 0, "DATA": self.all_memory, "FSIZE": self.file_size, "NPROC": 4 * self.processes}


@dataclass(frozen=True, slots=True)
class Order:
    """A command, its place and its environment, as they are to be inside; `private` is a folder of its own."""

    argv: tuple[str, ...]
    cwd: Path
    variables: Mapping[str, str]
    private: Path


@dataclass(frozen=True, slots=True)
class Launch:
    """What is started: arguments, place and environment outside, open files it inherits; whether it ends its own."""

    argv: tuple[str, ...]
    cwd: Path
    env: Mapping[str, str]
    files: tuple[int, ...] = ()
    launcher: bool = False


@contextmanager
def launch(
    tier: Tier, view: View, order: Order, limits: Limits, *, bwrap: Path | None = None, abi: int = 0
) -> Iterator[Launch]:
    """What runs `order` in `tier`; open files are closed at the end."""
    match tier:
        case "bubblewrap" | "bubblewrap-no-proc":
            with _filter_file(view.network) as file:
                yield _bubblewrap(view, order, limits, bwrap or Path("bwrap"), file)
        case "landlock":
            prefix = landlock_arguments(view, order.private, limits.resources(), abi)
            yield Launch((*prefix, *order.argv), order.cwd, order.variables, launcher=True)
        case "seatbelt":
            prefix = [*seatbelt_arguments(view, order.private), *limits.arguments()]
            yield Launch((*prefix, *order.argv), order.cwd, order.variables)
        case "none" if sys.platform.startswith("linux"):
            prefix = launcher({"limits": limits.resources()})
            yield Launch((*prefix, *order.argv), order.cwd, order.variables, launcher=True)
        case "none":
            yield Launch((*limits.arguments(), *order.argv), order.cwd, order.variables)


def _bubblewrap(view: View, order: Order, limits: Limits, bwrap: Path, file: int | None) -> Launch:
    settings = [word for name, value in order.variables.items() for word in ("--setenv", name, value)]
    filtered = ["--seccomp", str(file)] if file is not None else []
    inside = [*filtered, "--chdir", str(order.cwd), "--clearenv", *settings, "--", *limits.arguments(), *order.argv]
    files = (file,) if file is not None else ()
    return Launch((str(bwrap), *bubblewrap_arguments(view), *inside), Path("/"), {"PATH": "/usr/bin:/bin"}, files)


@contextmanager
def _filter_file(network: bool) -> Iterator[int | None]:
    """The filter of system calls in a file that bwrap reads. With the host's network its local sockets are in reach."""
    if not seccomp.available():
        yield None
        return
    families: Sequence[int] = seccomp.INTERNET if network else (*seccomp.LOCAL, *seccomp.INTERNET)
    file = os.memfd_create("filter")
    try:
        os.write(file, seccomp.program(families, shared_memory=True))
        os.lseek(file, 0, os.SEEK_SET)
        yield file
    finally:
        os.close(file)
