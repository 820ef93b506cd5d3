"""When the engine goes away in the middle of a run: how long it is waited for, and what is said of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from assistant.events import Notice
from assistant.safety.sanitize import sanitize
from model.engines.lasting import Found, Lost
from model.serving.supervision.running import is_supervised, servers

RESTART_SECONDS = 600.0
"""How long a server that `kat serve` starts anew is waited for: large models take minutes to load. Our choice."""


def patience(address: str, folder: Path) -> Callable[[], float]:
    """Seconds that the engine at `address` is worth waiting for, asked anew each time.

    Only a server that a `kat serve` looks after comes back by itself; `folder` has their files of state.
    """
    wanted = _plain(address)

    def seconds() -> float:
        ours = (one for one in servers(folder) if _plain(one.address) == wanted)
        return RESTART_SECONDS if any(is_supervised(folder, one.name) for one in ours) else 0.0

    return seconds


def notice(news: Lost | Found) -> Notice:
    """What the user is told."""
    match news:
        case Found(seconds):
            return Notice("info", f"The engine answers again after {seconds:.0f} s; the step goes on.")
        case Lost(error, _, 0):
            return Notice("warning", sanitize(f"The engine is asked for the rest of its reply ({error})."))
        case Lost(error, _, seconds):
            waits = f"kat serve starts it anew; waiting for up to {seconds / 60:.0f} min, stop to end this"
            return Notice("warning", sanitize(f"The engine went away ({error}); {waits}."))


def _plain(address: str) -> str:
    """An address as it is compared."""
    return address.rstrip("/").removesuffix("/v1").replace("//localhost:", "//127.0.0.1:")
