"""Statements that give the fix away."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar

from training.data.repositories.diffs import changed, files
from training.data.schema import Refused, Task
from training.data.stage import Context

_LEAST_LINE = 12
"""Characters without blanks from which on a line of code is no coincidence; our choice."""
_LEAST_NAME = 6
_DIFF = re.compile(
    r"^(?:```+|~~~+)(?:diff|patch)\b|^@@ -\d+(?:,\d+)? \+\d+|^diff --git |^--- a/.*\n\+\+\+ b/", re.MULTILINE
)
_PLACE = re.compile(
    r"\bline\s+\d+\b[^.\n]{0,60}?\b(?:should|must|ought|needs?\s+to|has\s+to)\b"
    r"|\b(?:change|fix|edit|rewrite|replace|correct)\s+line\s+\d+\b"
    r"|第\s*\d+\s*行[^。\n]{0,30}?(?:应该?|必须|改成|改为|换成)|(?:修改|改|替换)第\s*\d+\s*行",
    re.IGNORECASE,
)
_QUOTED = r"[`'\"“‘「]([^`'\"”’」\n]{1,120})[`'\"”’」]"
_SWAP = re.compile(
    rf"\b(?:change|replace|swap|turn)\s+{_QUOTED}\s+(?:with|to|by|for|into)\s+{_QUOTED}"
    rf"|\b(?:use|write|put|need)\s+{_QUOTED}\s+(?:instead\s+of|rather\s+than|in\s+place\s+of)\s+{_QUOTED}"
    rf"|\b(?:should|must|ought\s+to)\s+be\s+{_QUOTED}\s*,?\s+(?:not|instead\s+of|rather\s+than)\s+{_QUOTED}"
    rf"|(?:把|将)\s*{_QUOTED}\s*(?:改成|改为|换成|替换为)\s*{_QUOTED}",
    re.IGNORECASE,
)
_COMMENT = re.compile(r"\s*(?:#|//|\*|\"\"\"|''')")
_NAME = re.compile(r"[^\W\d]\w+")
_DEFINED = re.compile(
    r"\b(?:def|class)\s+(\w+)|^\s*(\w+)(?:\s*:[^=]+)?\s*=(?!=)|\bas\s+(\w+)|\bfor\s+(\w+)\b", re.MULTILINE
)
_CODED = re.compile(r"[^\W_]_+[^\W_]|[a-z][A-Z]|[A-Za-z]\d|^_")
_DOCUMENTS = (".md", ".rst", ".txt", ".toml", ".cfg", ".json", ".yml", ".yaml")


def leak(statement: str, solution: str, known: str = "") -> str | None:
    """What of the solution, a unified diff, the statement gives away, in a sentence; None if nothing.

    `known` is what whoever solves the task may know anyway: the names of tests, and what the tests say.
    """
    if not solution.strip() or not statement.strip():
        return None
    if _DIFF.search(statement):
        return "the statement shows a diff."
    if _PLACE.search(statement):
        return "the statement says what a line should be."
    code = "".join(part for part in files(solution) if not part.split("\n", 1)[0].endswith(_DOCUMENTS)) or solution
    added, gone = [*changed(code, "+")], [*changed(code, "-"), *changed(code, " ")]
    return (
        _of_lines(statement, added, gone)
        or _of_swaps(statement, added, gone)
        or _of_names(statement, added, gone, known)
    )


@dataclass(frozen=True, slots=True)
class Leaks:
    """Refuses tasks whose statement gives the fix away (`leak`)."""

    name: ClassVar[str] = "leaks"
    version: ClassVar[int] = 1
    reads: ClassVar[type] = Task
    writes: ClassVar[type] = Task
    whole: ClassVar[bool] = False

    def __call__(self, records: Iterable[Task], context: Context) -> Iterator[Task | Refused]:
        """The tasks that leave something to be found."""
        for task in records:
            why = leak(task.statement, task.solution, _known(task))
            yield Refused(task.id, "leak", why) if why else task


def _known(task: Task) -> str:
    place = f"{task.provenance.path} {task.provenance.function} {task.test}"
    return "\n".join((task.tests_patch, task.context, place, *task.fail_to_pass, *task.pass_to_pass))


def _of_lines(statement: str, added: list[str], gone: list[str]) -> str | None:
    """A line of code that only the solution has."""
    plain, before = _squeezed(statement), {_squeezed(line) for line in gone}
    for line in added:
        short = _squeezed(line)
        if len(short) >= _LEAST_LINE and short not in before and not _COMMENT.match(line) and short in plain:
            return f"the statement holds a line of the solution: {' '.join(line.split())[:80]}"
    return None


def _of_swaps(statement: str, added: list[str], gone: list[str]) -> str | None:
    """ "Use `<=` instead of `<`", where just that is the fix."""
    new, old = _squeezed("\n".join(added)), _squeezed("\n".join(gone))
    for match in _SWAP.finditer(statement):
        first, second = (_squeezed(group) for group in match.groups() if group is not None)
        right, wrong = (second, first) if match[1] is not None or match[7] is not None else (first, second)
        if right in new and wrong in old and (right not in old or wrong not in new):
            return f"the statement says what to write: {match[0][:80]}"
    return None


def _of_names(statement: str, added: list[str], gone: list[str], known: str) -> str | None:
    """A name that the solution brings into the world, and that looks like one of code."""
    text = "\n".join(added)
    made = {name for match in _DEFINED.finditer(text) for name in match.groups() if name}
    before = {*_NAME.findall("\n".join(gone)), *_NAME.findall(known)}
    said = {*_NAME.findall(statement)}
    new = sorted(name for name in (made - before) & said if len(name) >= _LEAST_NAME and _CODED.search(name))
    return f"the statement names what only the solution has: {new[0]}" if new else None


def _squeezed(text: str) -> str:
    return "".join(text.split())
