"""What `kat fix` is asked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from assistant.config import Settings


@dataclass(frozen=True, slots=True)
class FixRequest:
    """What to fix and how. Without `test_command` one is looked for; `timeout` is seconds for the agent.

    `allow` are rules beyond what a sandbox makes harmless.
    """

    repository: Path
    settings: Settings
    test_command: str | None = None
    issue: str | None = None
    allow_test_edits: bool = False
    timeout: float = 1_800.0
    allow: tuple[str, ...] = ()
