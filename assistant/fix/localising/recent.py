"""Lines that were changed lately, by git: what is new is suspect."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from assistant.workspace.errors import WorkspaceError
from assistant.workspace.git import environment, safe_options

_HEAD = re.compile(r"^(?P<commit>[0-9a-f]{40,64}) \d+ (?P<line>\d+)(?: \d+)?$")
_DAY = 86_400.0
_HALF_LIFE = 14.0
"""Days after which a change is half as suspect; our choice."""
_NOBODY = frozenset("0")


@dataclass(frozen=True, slots=True)
class Change:
    """When a line was last changed: days ago, or None for one that is not committed."""

    days: float | None

    @property
    def score(self) -> float:
        """How suspect that makes a line, in (0, 1]."""
        return 1.0 if self.days is None else float(0.5 ** (max(self.days, 0.0) / _HALF_LIFE))

    @property
    def why(self) -> str:
        """In words."""
        if self.days is None:
            return "changed and not committed"
        days = int(self.days)
        return "changed today" if days < 1 else f"changed {days} day{'' if days == 1 else 's'} ago"


def recent_changes(root: Path, paths: Iterable[str], seconds: float) -> dict[str, dict[int, Change]]:
    """By path and line, the last change; what the first commit brought is no change. As many files as time allows."""
    deadline, found = time.monotonic() + seconds, dict[str, dict[int, Change]]()
    try:
        options = safe_options(root)
    except (WorkspaceError, OSError):
        return found
    for path in paths:
        left = deadline - time.monotonic()
        if left <= 0:
            break
        found[path] = read_blame(_blame(root, options, path, left), time.time())
    return {path: lines for path, lines in found.items() if lines}


def read_blame(text: str, now: float) -> dict[int, Change]:
    """The changes of lines out of `git blame --porcelain`; `now` is seconds since 1970."""
    commits: dict[str, str] = {}
    times: dict[str, float] = {}
    first: set[str] = set()
    commit = ""
    for row in text.split("\n"):
        if row.startswith("\t"):
            continue
        if head := _HEAD.match(row):
            commit = head["commit"]
            commits[head["line"]] = commit
        elif row.startswith("author-time "):
            times[commit] = float(row.partition(" ")[2])
        elif row == "boundary":
            first.add(commit)
    return _changes({line: one for line, one in commits.items() if one not in first}, times, now)


def _changes(commits: Mapping[str, str], times: Mapping[str, float], now: float) -> dict[int, Change]:
    days = {commit: (now - when) / _DAY for commit, when in times.items()}
    return {
        int(line): Change(None if set(commit) == _NOBODY else days[commit])
        for line, commit in commits.items()
        if commit in days
    }


def _blame(root: Path, options: list[str], path: str, seconds: float) -> str:
    try:
        done = subprocess.run(
            ["git", *options, "blame", "--no-textconv", "--porcelain", "--", path],
            cwd=root,
            env=environment(),
            capture_output=True,
            timeout=seconds,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else ""
