"""Sessions: one append-only journal each, which is the truth about what was said and done."""

from __future__ import annotations

from assistant.sessions.catalogue import (
    SessionSummary,
    age,
    checked_name,
    find,
    fork,
    prunable,
    rename,
    sessions_dir,
    spawned,
    summaries,
    unfinished,
)
from assistant.sessions.journal import Journal, header, read, remove, undamaged

__all__ = [
    "Journal",
    "SessionSummary",
    "age",
    "checked_name",
    "find",
    "fork",
    "header",
    "prunable",
    "read",
    "remove",
    "rename",
    "sessions_dir",
    "spawned",
    "summaries",
    "undamaged",
    "unfinished",
]
