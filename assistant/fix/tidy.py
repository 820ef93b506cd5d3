"""Takes out of an attempt what changes nothing: formatting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from assistant.fix.changes import Change, Changes, FileState
from assistant.fix.meaning import is_python, meaning, means
from assistant.fix.pieces import Piece, fits, joined, lines, pieces, statements
from assistant.workspace.text import is_binary

_READ = 1_500_000
"""Bytes that are parsed to tidy one file (our choice): about three seconds of Python."""
_TRIALS = 64
"""Versions of one file that are looked at (our choice)."""
_WINDOW = 6
"""Neighbouring pieces that are tried together (our choice): a line that moved is two of them."""


def tidied(changes: Changes) -> Changes:
    """The attempt without formatting noise: every piece is as it was where `meaning` stays that of the attempt.

    White space, blank lines, line endings, quotes and the order of imports go back; so do new lines that end in another
    way than all lines of the file did. Binary files, links, new and deleted files and modes stay as the attempt has
    them. An attempt that is nothing but noise is what somebody wanted, and stays whole.
    """
    left = Changes.of(_tidied(change) for change in changes.changes)
    return left or changes


def _tidied(change: Change) -> Change:
    old, new = change.old, change.new
    if old is None or new is None or not _is_text(old) or not _is_text(new) or not new.content.strip():
        return change
    content = _with_endings(change.path, old.content, new.content)
    trials = min(_TRIALS, _READ // len(content))
    for cut in (statements, lines) if is_python(change.path) else (lines,):
        tidying = _Tidying(change.path, content, pieces(old.content, content, cut), trials)
        content, trials = tidying.done(), tidying.trials
    return replace(change, new=replace(new, content=content))


def _is_text(state: FileState) -> bool:
    wide = state.content.startswith((b"\xff\xfe", b"\xfe\xff"))
    return state.mode != "120000" and not wide and not is_binary(state.content)


@dataclass(slots=True)
class _Tidying:
    """One file: which pieces can go back, found by halving and then among neighbours."""

    path: str
    attempt: bytes
    parts: tuple[Piece, ...]
    trials: int
    restored: set[int] = field(default_factory=set)
    wanted: str = ""

    def done(self) -> bytes:
        changed = [number for number, part in enumerate(self.parts) if part.changed]
        if not changed:
            return self.attempt
        self.wanted = meaning(self.path, self.attempt)
        layout = {number for number in changed if self.parts[number].only_layout}
        self._halve(sorted(layout))
        self._halve([number for number in changed if number not in layout])
        self._neighbours(changed)
        return joined(self.parts, self.restored)

    def _halve(self, numbers: Sequence[int]) -> None:
        if not numbers or self._restore(numbers) or len(numbers) == 1:
            return
        middle = len(numbers) // 2
        self._halve(numbers[:middle])
        self._halve(numbers[middle:])

    def _neighbours(self, changed: Sequence[int]) -> None:
        for size in range(2, _WINDOW + 1):
            left = [number for number in changed if number not in self.restored]
            for start in range(len(left) - size + 1):
                window = left[start : start + size]
                if self.restored.isdisjoint(window):
                    self._restore(window)

    def _restore(self, numbers: Sequence[int]) -> bool:
        if self.trials <= 0:
            return False
        self.trials -= 1
        restored = self.restored | {*numbers}
        if not fits(self.parts, restored) or not means(self.path, joined(self.parts, restored), self.wanted):
            return False
        self.restored = restored
        return True


def _with_endings(path: str, old: bytes, content: bytes) -> bytes:
    """`content` with the line endings of `old`, if that has only one kind and nothing else changes."""
    crlf, ends = old.count(b"\r\n"), old.count(b"\n")
    if not ends or crlf not in (0, ends):
        return content
    uniform = content.replace(b"\r\n", b"\n")
    if old.endswith(b"\n") and uniform and not uniform.endswith(b"\n"):
        uniform += b"\n"
    uniform = uniform.replace(b"\n", b"\r\n") if crlf else uniform
    return uniform if uniform == content or means(path, uniform, meaning(path, content)) else content
