"""What `kat fix` is asked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from assistant.config import Settings

TEST_TIMEOUT = 900.0
"""Seconds for a run of all tests: longer than any single command has, for large suites; our choice."""


@dataclass(frozen=True, slots=True)
class FixRequest:
    """What to fix and how. Without `test_command` one is looked for; `timeout` is seconds until no attempt is begun.

    `tests` are ids that must pass in the end, where somebody knows them (a task); else those that failed before must.
    `candidates` is how many attempts the agent has and `samples` how many single lines are drawn (None: by the
    engine); `strategy` None tries single lines first where the model is small, and then the agent. `budget_tokens`
    limits what the model writes in all of them; `test_timeout` is seconds that a run of the tests may take. `allow`
    are rules beyond what a sandbox makes harmless.
    """

    repository: Path
    settings: Settings
    test_command: str | None = None
    issue: str | None = None
    allow_test_edits: bool = False
    timeout: float = 1_800.0
    allow: tuple[str, ...] = ()
    tests: tuple[str, ...] = ()
    candidates: int | None = None
    samples: int | None = None
    strategy: Literal["line", "agent"] | None = None
    budget_tokens: int | None = None
    test_timeout: float = TEST_TIMEOUT
