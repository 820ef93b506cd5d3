"""When the engine goes away in the middle of a run: how long it is waited for, and what is said of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from assistant.events import Notice
from assistant.safety.sanitize import sanitize
from model.engines.lasting import Found, Lost
from model.serving.supervision.running import at, is_supervised

RESTART_SECONDS = 600.0
"""How long a server that `kat serve` starts anew is waited for: large models take minutes to load. Our choice."""


def patience(address: str, folder: Path) -> Callable[[], float]:
    """Seconds that the engine at `address` is worth waiting for, asked anew each time.

    Only a server that a `kat serve` looks after comes back by itself; `folder` has their files of state.
    """

    def seconds() -> float:
        ours = at(folder, address)
        return RESTART_SECONDS if ours and is_supervised(folder, ours.name) else 0.0

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
