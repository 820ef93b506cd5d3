"""`deno test`."""

from __future__ import annotations

import re
from collections.abc import Iterator

from assistant.testing.readers.outcome import Outcome, Result, joined

_FILE = re.compile(r"^running \d+ tests? from (\S+)$")
_TEST = re.compile(r"^( *)(.+?) \.\.\. (?:(ok|FAILED|ignored)\b.*)?$")
_CLOSED = re.compile(r"^( *)\.\.\. (?:ok|FAILED)\b.*$")
_RESULTS: dict[str, Result] = {"ok": "passed", "ignored": "skipped"}


def read(output: str) -> Iterator[Outcome]:
    """Steps stand behind the test they belong to, two blanks further in."""
    file, groups = "", list[str]()
    for text in output.splitlines():
        if found := _FILE.match(text):
            file, groups = found[1], []
        elif found := _CLOSED.match(text):
            groups = groups[: len(found[1]) // 2]
        elif file and (found := _TEST.match(text)):
            groups = [*groups[: len(found[1]) // 2], found[2]]
            if found[3]:
                yield Outcome(joined(file, *groups), _RESULTS.get(found[3], "failed"))
