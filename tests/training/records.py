"""Tasks and samples in one line, for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from model.format import Mode
from model.prompt import Message
from training.data.repositories.diffs import unified
from training.data.schema import Provenance, Sample, Task
from training.data.stage import Context

HERE = Context(Path("/nonexistent"))
OLD = "def largest(values, limit):\n    best = 0\n    for value in values:\n        if value {} best:\n"
OLD += "            best = value\n    return min(best, limit)\n"
RIGHT, WRONG = OLD.format(">"), OLD.format("<")
CODE = '''def spread(rows, width):
    """The cells of a table, each padded to the width of its column."""
    widths = [max(map(len, column), default=0) for column in zip(*rows)]
    for row in rows:
        yield [cell.ljust(min(width, size)) for cell, size in zip(row, widths)]
'''


def task(name: str = "t", statement: str = "largest gives 0", path: str = "pack/best.py", **more: Any) -> Task:
    """A task that mends `largest`."""
    fields: dict[str, Any] = {
        "provenance": Provenance("pack", "sha256:1", "2025-01-01", path, "largest"),
        "start": unified(path, RIGHT, WRONG),
        "solution": unified(path, WRONG, RIGHT),
        "test": "python -m pytest -q",
        "fail_to_pass": ("tests/test_best.py::test_largest",),
    }
    return Task(name, "mutation", statement, **fields | more)


def sample(name: str = "s", asked: str = CODE, answer: str = "Line 4 loses rows.", **more: Any) -> Sample:
    """A sample of the family `question`, without thinking."""
    fields: dict[str, Any] = {
        "mode": Mode.OFF,
        "provenance": Provenance("pack", path="pack/table.py"),
        "family": "question",
    }
    messages = (Message("system", "Answer briefly."), Message("user", asked))
    return Sample(id=name, messages=messages, answer=answer, **fields | more)


def question(letter: str) -> Task:
    """A question whose answer is known."""
    asked = f"Which letter comes after {letter}?"
    return Task(f"q{ord(letter) - ord('a')}", "question", asked, Provenance("here"), answer=letter)
