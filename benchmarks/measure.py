"""What the benchmarks share: CPU seconds of a whole process, and a machine line."""

from __future__ import annotations

import os
import platform
import pty
import statistics
import sys
from collections.abc import Sequence


def machine() -> str:
    """One line about where this ran."""
    return f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"


def cpu_seconds(command: Sequence[str], environment: dict[str, str] | None = None) -> float:
    """User and system CPU seconds of a command run in a pseudo-terminal of 100 columns and 30 lines.

    Raises:
        RuntimeError: the command failed.
    """
    child, terminal = pty.fork()
    if child == 0:
        os.environ.update({"TERM": "xterm-256color", "COLUMNS": "100", "LINES": "30", **(environment or {})})
        os.execv(command[0], list(command))
    seen = _drain(terminal)
    _, status, usage = os.wait4(child, 0)
    os.close(terminal)
    if status:
        raise RuntimeError(f"{command[1:]} failed: {seen[-500:].decode(errors='replace')}")
    return usage.ru_utime + usage.ru_stime


def medians(commands: dict[str, Sequence[str]], rounds: int) -> dict[str, float]:
    """Median CPU seconds of each command, taken in turn so that drift of the machine hits all alike."""
    times: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(rounds + 1):
        for name, command in commands.items():
            seconds = cpu_seconds(command)
            if number:
                times[name].append(seconds)
    return {name: statistics.median(values) for name, values in times.items()}


def python(code: str) -> list[str]:
    """A command that runs `code` with this interpreter."""
    return [sys.executable, "-c", code]


def _drain(terminal: int) -> bytes:
    seen = b""
    while True:
        try:
            data = os.read(terminal, 65_536)
        except OSError:
            return seen
        if not data:
            return seen
        seen = (seen + data)[-65_536:]
