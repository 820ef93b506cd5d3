"""The program that `search.py` runs: one JSON request on stdin, one JSON line a match on stdout.

It imports nothing but the standard library and runs by itself.
"""

from __future__ import annotations

import json
import os
import re
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_SIZE_LIMIT = 2_000_000
_LINE_LIMIT = 400


def main() -> None:
    """Answer the request: a line with `literal`, the matches, a line with `truncated`."""
    asked = json.load(sys.stdin)
    expression, literal = _compile(asked["pattern"])
    _say({"literal": literal})
    left = asked["limit"]
    for found in _matches(asked, expression):
        if left == 0:
            _say({"truncated": True})
            return
        _say(found)
        left -= 1
    _say({"truncated": False})


def _compile(pattern: str) -> tuple[re.Pattern[str], bool]:
    try:
        return re.compile(pattern), False
    except (re.error, OverflowError, RecursionError):
        return re.compile(re.escape(pattern)), True


def _matches(asked: dict[str, Any], expression: re.Pattern[str]) -> Iterator[dict[str, Any]]:
    around = asked["context"]
    linked = set(asked["linked"])
    for path in asked["paths"]:
        lines = _lines(Path(asked["root"], path), linked=path in linked)
        for index, line in enumerate(lines):
            if expression.search(line):
                yield {
                    "path": path,
                    "line": index + 1,
                    "text": line[:_LINE_LIMIT],
                    "before": [text[:_LINE_LIMIT] for text in lines[max(0, index - around) : index]],
                    "after": [text[:_LINE_LIMIT] for text in lines[index + 1 : index + 1 + around]],
                }


def _lines(path: Path, *, linked: bool) -> list[str]:
    """The lines of a regular text file; one with several names is read only if `linked` says that it may be."""
    if os.path.realpath(path) != str(path):
        return []
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:  # noqa: PTH123
            info = os.fstat(file.fileno())
            if not stat.S_ISREG(info.st_mode) or (info.st_nlink > 1 and not linked):
                return []
            data = file.read(_SIZE_LIMIT)
    except OSError:
        return []
    marked = data.startswith((b"\xff\xfe", b"\xfe\xff"))
    if b"\0" in data and not marked:
        return []
    text = data.decode("utf-16" if marked else "utf-8-sig", "replace")
    return [line.removesuffix("\r") for line in text.split("\n")]


def _say(line: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
