"""Python's unittest, and what prints as it does (Django's runner, `setup.py test`)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from assistant.testing.readers.outcome import Outcome, Result

_HEAD = re.compile(r"^ {0,2}([\w.]+) \(([\w.<>]+)\)(?: [\[(].*[\])])?(?= \.\.\. |$)")
_WORD = re.compile(
    r"(?:^|.*?)(ok|FAIL|ERROR|unexpected success|expected failure|skipped (['\"]).*\2)(?: [\d.]+s)?$", re.DOTALL
)
_FAILED = re.compile(r"^(?:FAIL|ERROR|UNEXPECTED SUCCESS): ([\w.]+) \(([\w.<>]+)\)", re.MULTILINE)
_RESULTS: dict[str, Result] = {"ok": "passed", "expected failure": "skipped"}


def read(output: str) -> Iterator[Outcome]:
    """Lines of `-v`, and the heads of the failures; output of a test may stand between its name and the word."""
    current = ""
    begun = False
    for line in output.splitlines():
        if head := _HEAD.match(line):
            current, begun, line = _id(head[1], head[2]), False, line[head.end() :]
        begun = begun or " ... " in line
        if current and begun and (word := _WORD.match(line.rpartition(" ... ")[2])):
            yield Outcome(current, _result(word[1]))
            current = ""
    yield from (Outcome(_id(name, owner), "failed") for name, owner in _FAILED.findall(output))


def _result(word: str) -> Result:
    return "skipped" if word.startswith("skipped") else _RESULTS.get(word, "failed")


def _id(name: str, owner: str) -> str:
    return owner if f".{owner}".endswith(f".{name}") else f"{owner}.{name}"
