"""What each tier of the sandbox stops, and what it does not: the words of `covers` and `lacks`.

The same table says what `kat doctor` counts as a failure and which attacks a tier must withstand.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

Tier = Literal["bubblewrap", "bubblewrap-no-proc", "landlock", "seatbelt", "none"]
TIERS: tuple[Tier, ...] = ("bubblewrap", "bubblewrap-no-proc", "landlock", "seatbelt", "none")
"""From the strongest to the weakest."""

SCOPES_ABI = 6
"""The first version of Landlock that keeps signals and abstract sockets inside."""
NETWORK_ABI = 4
"""The first version of Landlock that knows TCP."""


class Harm(StrEnum):
    """What a command could do, and a tier may stop."""

    OUTSIDE = "write outside the repository"
    MODES = "change modes and times outside"
    GIT = "write .git"
    SETTINGS = "write our own settings"
    HOME = "read a file in home"
    TCP = "reach the network"
    UDP = "reach the network by UDP"
    SOCKETS = "reach sockets of other programs"
    PROCESSES = "see other processes"
    SIGNALS = "signal other processes"
    SECRETS = "see a secret environment variable"
    OUTLIVE = "outlive its run"
    LIMITS = "take all memory, processes or disk"


_COVERED = {
    Harm.OUTSIDE: "files outside the repository cannot be written",
    Harm.HOME: "home, /tmp and /run are hidden, except for interpreters and their packages",
    Harm.GIT: ".git cannot be written",
    Harm.SETTINGS: "our own settings cannot be written",
    Harm.TCP: "no network",
    Harm.SOCKETS: "sockets of other programs cannot be reached",
    Harm.PROCESSES: "other processes are not visible",
    Harm.SIGNALS: "other processes cannot be signalled",
    Harm.SECRETS: "the environment is an allow-list",
    Harm.OUTLIVE: "nothing outlives its run",
    Harm.LIMITS: "memory, processes, file sizes and time are limited",
}
_LACKING = {
    Harm.OUTSIDE: "commands can read and write whatever you can",
    Harm.MODES: "modes, owners and times of your files outside can be changed",
    Harm.GIT: ".git, and settings of ours inside the repository, can be written",
    Harm.TCP: "commands reach the network",
    Harm.UDP: "UDP stays open",
    Harm.SOCKETS: "sockets of other programs can be reached",
    Harm.PROCESSES: "names and arguments of other processes can be seen",
    Harm.SIGNALS: "other processes can be signalled",
    Harm.OUTLIVE: "a command that tries to can outlive its run",
}
_ALL = frozenset(Harm)
_READABLE = "readable files outside home can be read"
_NESTED = "repositories inside the repository, other than its submodules, can be written"
_MORE_LACKING: dict[Tier, tuple[str, ...]] = {
    "bubblewrap": (_READABLE, _NESTED),
    "bubblewrap-no-proc": (_READABLE, _NESTED, "/proc is empty, which some programs dislike"),
    "landlock": (_READABLE, "programs cannot share memory or use local sockets"),
    "seatbelt": (_READABLE, "never proven by our own tests"),
    "none": (),
}


def stopped(tier: Tier, *, landlock_abi: int = 0, filtered: bool = True) -> frozenset[Harm]:
    """What `tier` stops. `filtered` says whether system calls can be filtered on this machine."""
    match tier:
        case "bubblewrap" | "bubblewrap-no-proc":
            return _ALL
        case "landlock":
            return _by_landlock(landlock_abi, filtered)
        case "seatbelt":
            return _ALL - {Harm.PROCESSES, Harm.OUTLIVE, Harm.LIMITS}
        case "none":
            return frozenset()


def covers(tier: Tier, stops: frozenset[Harm]) -> tuple[str, ...]:
    """What `tier` keeps commands from, each in a few words."""
    if tier == "none":
        return ("the environment is an allow-list", "time, memory and file sizes are limited")
    return tuple(words for harm, words in _COVERED.items() if harm in stops)


def lacks(tier: Tier, stops: frozenset[Harm]) -> tuple[str, ...]:
    """What it does not do, each in a few words."""
    if tier == "none":
        return (_LACKING[Harm.OUTSIDE], _LACKING[Harm.TCP], _LACKING[Harm.SIGNALS], _LACKING[Harm.OUTLIVE])
    missing = (words for harm, words in _LACKING.items() if harm not in stops)
    return (*missing, *_MORE_LACKING[tier])


def _by_landlock(abi: int, filtered: bool) -> frozenset[Harm]:
    """Modes and times are no business of Landlock's, and nothing inside a writable folder can be taken out again."""
    missing = {Harm.MODES, Harm.GIT, Harm.PROCESSES}
    if not filtered:
        missing |= {Harm.UDP, Harm.SOCKETS}
    if abi < NETWORK_ABI and not filtered:
        missing.add(Harm.TCP)
    if abi < SCOPES_ABI:
        missing |= {Harm.SIGNALS, Harm.OUTLIVE}
    return _ALL - missing
