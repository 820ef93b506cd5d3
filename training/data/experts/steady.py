"""A sandbox whose commands say the same each time, so that what they say can stand in records."""

from __future__ import annotations

import asyncio
import hashlib
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from assistant.safety.confinement.process import CommandResult
from assistant.safety.sandbox import Sandbox
from training.seeds import rng

_CLOCK = re.compile(r"\b(in |took )\d+(?:\.\d+)?( ?s(?:econds)?\b)|\b\d+\.\d+(s (?:call|setup|teardown)\b)")
_ADDRESS = re.compile(r"\b0x[0-9a-f]{6,16}\b")
_HELD_STILL = ("setarch", "-R")
_UNORDERED = re.compile(
    r"\{[^{}:]*(?:\bNone\b|<|\.\.\.)[^{}:]*\}|Extra items in the (?:left|right) set:(?s:.{0,400}?)(?:\bNone\b|<)"
)
"""A set that is shown in an order which may hang on addresses: by these None (before Python 3.12), functions, classes
and most objects are hashed; and what was cut out of a set could be one of them."""

_MARKED = re.compile(r"0x[0-9a-f]{6,16}[^\n]*\n[E ]*\? [ +^-]+$", re.MULTILINE)
"""A line of a diff below which pytest marks what differs, and an address does."""


class Astray(Exception):
    """The episode did not go as its expert had it, so that nothing of it is used."""


@dataclass(frozen=True, slots=True)
class Steady(Sandbox):
    """A sandbox whose output is the same each time: no clocks, no addresses, no places of this machine.

    `names` are texts and what stands in their place; `seen` keeps what a command gave for files that were the same.
    """

    names: tuple[tuple[str, str], ...] = ()
    seen: dict[str, CommandResult] = field(default_factory=dict, compare=False)

    @classmethod
    def over(cls, sandbox: Sandbox, names: tuple[tuple[str, str], ...]) -> Steady:
        """The same sandbox, made steady."""
        return cls(**{one.name: getattr(sandbox, one.name) for one in fields(sandbox)}, names=names)

    async def run(self, command: str | Sequence[str], **options: Any) -> CommandResult:
        """As in `Sandbox`; what ran on the very same files before is not run again."""
        key = await asyncio.to_thread(_state, self.repository, repr(command), options.get("env") or {})
        if key not in self.seen:
            options["env"] = {**(options.get("env") or {}), "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}
            options["on_output"] = None
            self.seen[key] = self._steadied(await Sandbox.run(self, _at_fixed_addresses(command), **options), key)
        return self.seen[key]

    def _steadied(self, result: CommandResult, key: str) -> CommandResult:
        if result.timed_out or result.stopped:
            raise Astray("a command took too long")
        if _UNORDERED.search(result.output):
            raise Astray("a set is shown whose order is another each time")
        if _MARKED.search(result.output):
            raise Astray("a diff marks where addresses differ")
        if _of_now(datetime.now(UTC)).search(result.output):
            raise Astray("the time of day is shown")
        seconds = round(rng(0, "seconds", key).uniform(0.3, 4.0), 2)
        text = result.output
        place = ((str(result.place), self.names[0][1]),) if result.place and self.names else ()
        for old, new in (*place, *self.names):
            text = text.replace(old, new)
        text = _CLOCK.sub(lambda found: f"{found[1] or ''}{seconds}{found[2] or found[3]}", text)
        return replace(result, output=_ADDRESS.sub("0x7f3a5c1e9d30", text), seconds=seconds)


def _at_fixed_addresses(command: str | Sequence[str]) -> str | Sequence[str]:
    """The command with the layout of memory held still, where that can be done: sets are ordered by addresses, too."""
    if not isinstance(command, str) or not _can_hold_addresses():
        return command
    return (*_HELD_STILL, "/bin/sh", "-c", command)


def _of_now(now: datetime) -> re.Pattern[str]:
    """What names this day, or a second of these hours since 1970."""
    days = {(now + timedelta(days=by)).date() for by in (-1, 0, 1)}  # those of all time zones
    named = "|".join(rf"{day.isoformat()}|\b{day.year}, {day.month}, {day.day}\b" for day in sorted(days))
    return re.compile(rf"{named}|\b{str(int(now.timestamp()))[:6]}\d{{4}}\b")


@cache
def _can_hold_addresses() -> bool:
    try:
        return subprocess.run([*_HELD_STILL, "true"], capture_output=True, check=False, timeout=10).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def _state(root: Path, *more: object) -> str:
    """A hash of all files and of what is done with them."""
    digest = hashlib.sha256(repr(more).encode("utf-8", "surrogatepass"))
    for path in sorted(root.rglob("*")):
        relative = path.relative_to(root)
        if path.is_file() and ".git" not in relative.parts and "__pycache__" not in relative.parts:
            digest.update(
                f"\0{relative}\0".encode("utf-8", "surrogateescape") + hashlib.sha256(path.read_bytes()).digest()
            )
    return digest.hexdigest()
