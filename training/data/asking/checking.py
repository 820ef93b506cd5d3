"""Whether a reply solves its task: by comparison with a known answer, or by running the task's tests.

What was run, or is known, outweighs whatever a model says of a reply; where neither is to be had, nothing is said.
"""

from __future__ import annotations

import ast
import asyncio
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assistant import interrupts
from assistant.fix.changes import Changes, FileState
from assistant.tasks.patched import changes_in_turn
from assistant.testing.paths import is_test_file
from assistant.testing.report import TestReport
from model.format import Reply
from model.line import parse
from training.data.asking.posing import Posed, code_of, pose
from training.data.repositories.checkouts import Sources, tree
from training.data.repositories.compiled import with_compiled
from training.data.repositories.diffs import plain, unified
from training.data.repositories.suites import Suite, patience, suite
from training.data.schema import Evidence, Source, Task
from training.data.stage import Context

Rewritten = Callable[[str], str | None]
"""A file's text with a reply in it, or None where it does not fit."""

_CODE = re.compile(r"(`+)(.+?)\1", re.DOTALL)
_SEPARATOR = re.compile(r"\s*(?:,|、|，|;|；|\n|\band\b|和|与)\s*")
_SECONDS = 60.0
"""Seconds that the tests of a reply may take at least, which may run for ever; our choice."""
_EDGES = " \t\n.。!！`*\"'“”"
_NAMED = re.compile(r"(?:\b(?:is|are|returns)\b[:：]?|[:：=]+|是|为)\s*(\S[^\n]*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a reply is right (None: nobody can tell), what says so, and a sentence where it is wrong."""

    passed: bool | None
    by: Evidence = "none"
    why: str = ""


UNKNOWN = Verdict(None)


@dataclass(frozen=True, slots=True)
class Checks:
    """`check` for many replies at once: a thread waits for each, and no more than `gate` lets in run tests."""

    context: Context
    sources: Sources | None
    gate: asyncio.Semaphore

    @classmethod
    def of(cls, context: Context, sources: str) -> Checks:
        """Those in a context; `sources` is a folder of profiled sources, or empty."""
        return cls(context, Sources(sources) if sources else None, asyncio.Semaphore(max(1, context.jobs)))

    async def __call__(self, task: Task, reply: Reply) -> Verdict:
        """Whether the reply solves the task."""
        async with self.gate:
            return await asyncio.to_thread(check, task, reply, self.context, self.sources)


def check(task: Task, reply: Reply, context: Context, sources: Sources | None = None) -> Verdict:
    """Whether a reply solves a task.

    A patch is run only where `sources` are given; without them one that is not the known solution counts as wrong where
    it changes a line, and as unknown elsewhere. Raises UserError if a source cannot be read.
    """
    posed = pose(task)
    if posed is None:
        return UNKNOWN
    match posed.form:
        case "answer":
            return _answered(task, reply.answer)
        case "line":
            return _line(task, posed, reply.answer, context, sources)
        case "function":
            return _function(task, reply.answer, context, sources)


def same_answer(given: str, right: str, *, value: bool = False) -> bool:
    """Whether an answer says what the right one says.

    With `value` they are compared as Python values, of the same types all the way down; else as words, without signs
    at their edges, and where they list something in any order.
    """
    if value and (truth := _value(right)) is not None:
        return any(_same(found[0], truth[0]) for part in _parts(given) if (found := _value(part)) is not None)
    return any(_words(part) == _words(right) or _items(part) == _items(right) for part in _parts(given))


def _answered(task: Task, given: str) -> Verdict:
    if not task.answer.strip() or task.kind == "review":
        return UNKNOWN  # a review is right in many words
    by: Evidence = "execution" if task.kind == "trace" else "construction"
    if same_answer(given, task.answer, value=task.kind == "trace"):
        return Verdict(True, by)
    return Verdict(False, by, "the answer is not the right one")


def _line(task: Task, posed: Posed, given: str, context: Context, sources: Sources | None) -> Verdict:
    edit = parse(given)
    if edit is None:
        return Verdict(False, "construction", "the reply names no line and its new text")
    if edit == posed.truth:
        return Verdict(True, "construction")
    if sources is None or posed.truth is None:
        return Verdict(False, "construction", "the reply is another line than the one known to be right")

    def rewritten(text: str) -> str | None:
        lines = text.split("\n")
        if not 0 < edit.number <= len(lines):
            return None
        old = lines[edit.number - 1]
        lines[edit.number - 1] = old[: len(old) - len(old.lstrip())] + edit.text
        return "\n".join(lines)

    return _tested(task, rewritten, context, sources)


def _function(task: Task, given: str, context: Context, sources: Sources | None) -> Verdict:
    name = task.provenance.function.rpartition(".")[2]
    code = code_of(given)
    if not name or _span(code, name) is None:
        return Verdict(False, "construction", f"the reply is no function {name}".rstrip())
    if sources is None:
        return UNKNOWN
    return _tested(task, lambda text: spliced(text, task.provenance.function, code), context, sources)


def _tested(task: Task, rewritten: Rewritten, context: Context, sources: Sources) -> Verdict:
    """What the task's tests say of its file written anew: all that must pass do, each run once in a fresh copy."""
    source, path = sources.get(task.provenance.source), task.provenance.path
    wanted = {*task.fail_to_pass, *task.pass_to_pass}
    if not wanted or not plain(path):
        return UNKNOWN
    root = tree(source, task.provenance.revision, context.cache)
    old = _text(root, path, changes_in_turn((task.start,), root))
    new = None if old is None else rewritten(old)
    if old is None or new is None or new == old:
        return Verdict(False, "tests", "the reply does not fit the file, or changes nothing")
    return solved(task, source, unified(path, old, new), context)


def solved(task: Task, source: Source, solution: str, context: Context) -> Verdict:
    """Whether all tests that must pass do with a patch laid on the task's files; what it does to tests is left out.
    Tests that do not end tell nothing: the machine may be busy.

    Raises:
        UserError: the source cannot be read, or the patch does not fit.
    """
    wanted = {*task.fail_to_pass, *task.pass_to_pass}
    root = tree(source, task.provenance.revision, context.cache)
    report = _run(task, source, root, solution, context)
    if report.timed_out:
        return UNKNOWN
    failing = wanted - (set(report.passed) - set(report.failed))
    return Verdict(not failing, "tests", f"{len(failing)} of {len(wanted)} tests do not pass" if failing else "")


def _text(root: Path, path: str, changes: Changes) -> str | None:
    """A file of a folder as changes leave it; None where it is not there, or is no text."""
    changed = {change.path: change.new for change in changes.changes}
    try:
        state = changed[path] if path in changed else FileState((root / path).read_bytes())
        return None if state is None else state.content.decode()
    except (OSError, UnicodeDecodeError):
        return None


def _run(task: Task, source: Source, root: Path, solution: str, context: Context) -> TestReport:
    """Run the task's tests on its files with a solution. Raises UserError if it cannot be laid."""
    solved = changes_in_turn((task.start, solution), root)
    tests = changes_in_turn((task.start, task.tests_patch), root)
    code = solved.where(lambda path: not is_test_file(path)).changes
    changes = Changes.of([*code, *tests.where(is_test_file).changes])
    with suite(root, task.test or source.test, source.python) as tests_of:
        return interrupts.run(_ran(tests_of, changes, context, max(_SECONDS, patience(source.seconds))))


async def _ran(tests: Suite, changes: Changes, context: Context, seconds: float) -> TestReport:
    """What tests say of changes; files that are not changed need not be compiled each time."""
    compiled = await with_compiled(tests, context.cache)
    return await compiled.run(changes, seconds=seconds)


def spliced(text: str, function: str, code: str) -> str | None:
    """A file in which a function (a dotted name) is written anew; None where the file has none of that name."""
    span, given = _span(text, *function.split(".")), _span(code, function.rpartition(".")[2])
    if span is None or given is None:
        return None
    lines, new = text.split("\n"), code.split("\n")[given[0] - 1 : given[1]]
    indent = len(lines[span[0] - 1]) - len(lines[span[0] - 1].lstrip())
    own = len(new[0]) - len(new[0].lstrip())
    moved = [" " * indent + line[own:] if line.strip() else "" for line in new]
    return "\n".join([*lines[: span[0] - 1], *moved, *lines[span[1] :]])


def _span(text: str, *names: str) -> tuple[int, int] | None:
    """The first and last line of a function, its decorators included, by the names of what it stands in."""
    try:
        body: list[ast.stmt] = ast.parse(text).body
    except (SyntaxError, ValueError):
        return None
    found: ast.stmt | None = None
    for name in names:
        found = next((node for node in body if getattr(node, "name", None) == name), None)
        body = getattr(found, "body", [])
    if not isinstance(found, ast.FunctionDef | ast.AsyncFunctionDef):
        return None
    first = min([found.lineno, *(each.lineno for each in found.decorator_list)])
    return first, found.end_lineno or found.lineno


def _parts(given: str) -> Iterator[str]:
    """What of a reply may be the answer: all of it, its last piece of code, and what its last line names."""
    yield given.strip()
    if code := _CODE.findall(given):
        yield code[-1][1].removeprefix("python\n").strip()
    if named := _NAMED.findall(given):
        yield named[-1].strip(_EDGES)
        yield named[-1].strip().rstrip(".。")


def _value(text: str) -> tuple[Any] | None:
    try:
        return (ast.literal_eval(text.strip()),)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None


def _same(one: Any, other: Any) -> bool:
    if type(one) is not type(other):
        return False
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, dict):
        return list(map(repr, one)) == list(map(repr, other)) and all(_same(one[key], other[key]) for key in one)
    return repr(one) == repr(other) or bool(one == other)


def _words(text: str) -> str:
    return " ".join(text.replace("`", "").strip(_EDGES).split()).casefold()


def _items(text: str) -> list[str]:
    """The parts of a list in words; only where all have some, and there are several."""
    items = sorted(_words(item) for item in _SEPARATOR.split(text.strip(_EDGES)))
    return items if len(items) > 1 and all(items) else [_words(text)]
