"""Searches text files in a process of its own, so that a hostile expression can be stopped."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from assistant.workspace.errors import WorkspaceError

_PROGRAM = Path(__file__).with_name("grep.py")


@dataclass(frozen=True, slots=True)
class Match:
    """A line that matched, numbered from 1, with the lines around it."""

    path: str
    line: int
    text: str
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SearchResult:
    """What was found. `truncated`: there is more; `timed_out`: time ran out; `literal`: the pattern was plain text."""

    matches: tuple[Match, ...]
    truncated: bool = False
    timed_out: bool = False
    literal: bool = False


def search_files(
    root: Path,
    paths: Sequence[str],
    pattern: str,
    linked: Sequence[str] = (),
    *,
    limit: int,
    context: int,
    seconds: float,
) -> SearchResult:
    """Search `paths` below `root` in order, for at most `seconds`; what was found until then is kept.

    Of files with several names (hard links) only those in `linked` are searched.
    """
    if not pattern:
        raise WorkspaceError("A pattern is needed: a regular expression, or plain text.")
    asked: dict[str, object] = {"root": str(root), "paths": [*paths], "linked": [*linked]}
    asked |= {"pattern": pattern, "limit": limit, "context": context}
    command = [sys.executable, "-I", "-S", str(_PROGRAM)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    with process:
        try:
            out, _ = process.communicate(json.dumps(asked).encode(), timeout=seconds)
            timed_out = False
        except subprocess.TimeoutExpired:
            process.kill()
            out, _ = process.communicate()
            timed_out = True
    return _read(out, timed_out)


def _read(out: bytes, timed_out: bool) -> SearchResult:
    lines = [json.loads(line) for line in out.split(b"\n")[:-1]]
    said = lines.pop() if lines and "truncated" in lines[-1] else {}
    literal = bool(lines and lines.pop(0)["literal"])
    if not timed_out and not said:
        raise WorkspaceError("The search broke off; try a simpler pattern.")
    matches = tuple(
        Match(found["path"], found["line"], found["text"], tuple(found["before"]), tuple(found["after"]))
        for found in lines
    )
    return SearchResult(matches, said.get("truncated", False), timed_out, literal)
