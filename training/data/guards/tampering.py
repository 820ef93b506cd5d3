"""Tasks that were solved, or set, by touching what judges them: tests, their settings, what runs them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from assistant.errors import UserError
from assistant.fix.changes import Change, Changes, FileState
from assistant.fix.meddling import Guard
from assistant.tasks.patched import changes_in_turn, changes_of
from assistant.testing.paths import is_test_file
from assistant.testing.report import TestReport
from training.data.repositories.diffs import changed, files
from training.data.schema import Refused, Task
from training.data.stage import Context

_PATHS = re.compile(r"^(?:--- a/|\+\+\+ b/|rename (?:from|to) |copy to )(.+?)\t?$", re.MULTILINE)
_HEADER = re.compile(r"^diff --git a/(.+) b/\1$", re.MULTILINE)
_SETTINGS = frozenset(
    {"pyproject.toml", "setup.cfg", "setup.py", "Makefile", "makefile", "GNUmakefile", "package.json", "justfile"}
)
"""Files that say how tests run in a part; without the whole file nobody can tell whether a change is in that part."""
_SKIPS = re.compile(
    r"\bpytest\.(?:skip|xfail|exit|importorskip|mark\.(?:skip|skipif|xfail))\b|\bunittest\.skip|\bSkipTest\b"
    r"|\b__test__\s*=\s*False|\bcollect_ignore\b|\bpytest_\w+\("
)
_TEST = re.compile(r"^\s*(?:async\s+)?def\s+(test\w*)|^\s*class\s+(Test\w*)")


def check(task: Task, root: Path | None = None) -> str | None:
    """Why the task proves nothing, in a sentence, or None.

    With `root`, the folder of the source, settings are read whole; without, any change of a file with settings of
    tests counts as tampering.
    """
    start, solution = _changes(task, root)
    return (
        _in_code(task.start, start, "the start", task, root)
        or _in_code(task.solution, solution, "the solution", task, root)
        or _in_tests(task)
        or _of_ids(task)
    )


@dataclass(frozen=True, slots=True)
class Tampering:
    """Refuses tasks that touch what judges them (`tampered`)."""

    name: ClassVar[str] = "tampering"
    version: ClassVar[int] = 1
    reads: ClassVar[type] = Task
    writes: ClassVar[type] = Task
    whole: ClassVar[bool] = False

    def __call__(self, records: Iterable[Task], context: Context) -> Iterator[Task | Refused]:
        """The tasks whose tests can be believed."""
        for task in records:
            why = check(task)
            yield Refused(task.id, "tampered", why) if why else task


def _in_code(patch: str, changes: Changes, who: str, task: Task, root: Path | None) -> str | None:
    """Why a patch of code, which makes these changes, is none."""
    ids = (*task.fail_to_pass, *task.pass_to_pass)
    before = TestReport(task.test, 0, ids or ("any",), (), "", False, 0.0, ran=True)
    guard = Guard(root or Path("/nonexistent"), task.test, before)
    for change in changes.changes:
        vague = root is None and change.path.rpartition("/")[2] in _SETTINGS
        if vague or guard.is_of_the_tests(change):
            return f"{who} changes {change.path}, which belongs to the tests or to how they run."
    if objection := guard.objection(changes):
        return f"{who} cannot be judged: {objection}"
    skips = next((line.strip() for line in changed(patch, "+") if _SKIPS.search(line)), "")
    return f"{who} skips or steers tests: {skips[:80]}" if skips else None


def _in_tests(task: Task) -> str | None:
    """A patch of tests that brings code along, or takes tests away."""
    for part in files(task.tests_patch):
        for path in _paths(part):
            if not is_test_file(path):
                return f"the patch of the tests changes {path}, which is no test."
        gone = _tests(part, "-") - _tests(part, "+")
        if gone:
            return f"the patch of the tests takes {', '.join(sorted(gone)[:3])} away."
    return None


def _of_ids(task: Task) -> str | None:
    both = set(task.fail_to_pass) & set(task.pass_to_pass)
    if both:
        return f"{min(both)} is said to fail at the start, and to pass there."
    touched = bool(task.fail_to_pass or task.pass_to_pass)
    if touched and task.kind in ("commit", "mutation", "invented", "writing") and not task.fail_to_pass:
        return "no test tells the start from the solution."
    return None


def _changes(task: Task, root: Path | None) -> tuple[Changes, Changes]:
    """What start and solution change, each on what lies before it: with whole files where that matters."""
    paths = {path for patch in (task.start, task.solution) for part in files(patch) for path in _paths(part)}
    homes = {name.partition("::")[0] for name in (*task.fail_to_pass, *task.pass_to_pass)}
    if root is not None and any(path in homes or path.rpartition("/")[2] in _SETTINGS for path in paths):
        with suppress(UserError):
            start = changes_of(task.start, root)
            both = changes_in_turn((task.start, task.solution), root)
            return start, _after(start, both)
    return _fragments(task.start), _fragments(task.solution)


def _after(first: Changes, both: Changes) -> Changes:
    """What leads from the files that `first` leaves to those that `both` leave."""
    middle = {change.path: change for change in first.changes}
    last = {change.path: change for change in both.changes}
    return Changes.of(
        Change(
            path,
            middle[path].new if path in middle else last[path].old,
            last[path].new if path in last else middle[path].old,
        )
        for path in {**middle, **last}
    )


def _fragments(patch: str) -> Changes:
    """The changes with as much of the files as the patch shows."""
    return Changes.of(
        Change(path, _side(part, "-") if _had(part, path) else None, _side(part, "+") if _has(part, path) else None)
        for part in files(patch)
        for path in sorted(_paths(part))
    )


def _paths(part: str) -> set[str]:
    head = part.partition("\n@@ ")[0]
    return {path for path in _PATHS.findall(head) if path != "/dev/null"} | set(_HEADER.findall(head))


def _had(part: str, path: str) -> bool:
    return "\nnew file mode" not in part and f"\nrename to {path}\n" not in part


def _has(part: str, path: str) -> bool:
    return "\ndeleted file mode" not in part and f"\nrename from {path}\n" not in part


def _side(part: str, sign: str) -> FileState:
    """One side of a diff: what it shows of the file, and the sign, so that no two sides are equal."""
    body = part.partition("\n@@ ")[2].split("\n")[1:]
    lines = [line[1:] for line in body if line[:1] in (sign, " ")]
    return FileState("\n".join([*lines, f"# {sign}"]).encode("utf-8", "surrogateescape"))


def _tests(part: str, sign: str) -> set[str]:
    found = (_TEST.match(line) for line in changed(part, sign))
    return {match[1] or match[2] for match in found if match}
