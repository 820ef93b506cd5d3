"""Sees when a run goes in circles: the same call with the same result, or files changed there and back. Pure."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

TIMES = 3
"""A call is a repetition from this time on."""
_LONGEST_ROUND = 3
"""States of the files in the longest round that is looked for; our choice."""
_PASSING = re.compile(
    r"0x[0-9a-fA-F]{4,}"  # addresses
    r"|\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?(?:Z|[+-]\d\d:?\d\d)?"
    r"|\b\d{1,2}:\d\d:\d\d(?:[.,]\d+)?\b"
    r"|\b\d+(?:[.,]\d+)?\s?(?:ns|[µμ]s|us|ms|s|secs?|seconds?|mins?|minutes?)\b"
)
"""What is another each time although nothing else is: addresses, points in time, durations."""


@dataclass(frozen=True, slots=True)
class Repetition:
    """Something was done `times` times. `note` is for the model; `question`, for the user, is empty the first time."""

    kind: Literal["call", "files"]
    times: int
    note: str
    question: str = ""


class LoopWatch:
    """Watches what a run does for one message of the user.

    A call counts again from one when something else has changed files since: a test run behind an edit is no repetition
    of the one before it. A call that changes files itself each time, such as one that writes a log, still counts.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """The user has said something: all begins anew."""
        self._seen: Counter[str] = Counter()
        self._since: set[str] = set()
        self._trees: list[str] = []
        self._circled = False

    def saw(self, name: str, arguments: Mapping[str, Any], output: str) -> Repetition | None:
        """A call was made and gave this output; a repetition if it is the third time or more."""
        key = _key(name, arguments, output)
        self._since.add(key)
        self._seen[key] += 1
        times = self._seen[key]
        if times < TIMES:
            return None
        said = f"{name} was called {times} times with the same arguments and gave the same result each time"
        note = f"{said}. Calling it again will not help: use what it says, or try something else."
        return Repetition("call", times, note, f"{said}. How should it go on?" if times > TIMES else "")

    def files(self, tree: str) -> Repetition | None:
        """A step is over and left the files as `tree`; a repetition if they went there and back and there again."""
        if self._trees[-1:] == [tree]:
            return None
        if self._trees:
            self._forget()
        self._since.clear()
        self._trees = [*self._trees, tree][-2 * _LONGEST_ROUND :]
        if not self._in_circles():
            return None
        said = "The same changes were made, taken back and made again"
        note = f"{said}. Decide which state is right and why, before you change these files again."
        question = f"{said}, more than once. How should it go on?" if self._circled else ""
        self._circled = True
        return Repetition("files", 2, note, question)

    def _forget(self) -> None:
        """Files have changed: calls before that may well be made again, but for the one that may have changed them."""
        alone = self._since if len(self._since) == 1 else set[str]()
        self._seen = Counter({key: times for key, times in self._seen.items() if key in alone})

    def _in_circles(self) -> bool:
        sizes = range(2, _LONGEST_ROUND + 1)
        return any(self._trees[-size:] == self._trees[-2 * size : -size] for size in sizes)


def _key(name: str, arguments: Mapping[str, Any], output: str) -> str:
    asked = json.dumps([name, arguments], sort_keys=True, ensure_ascii=False, default=str)
    data = f"{asked}\0{_PASSING.sub('~', output)}".encode("utf-8", "surrogatepass")
    return hashlib.sha256(data).hexdigest()
