"""Samples that write one line anew, in the very form that `kat fix` asks small models for (`model.line`)."""

from __future__ import annotations

import ast
import random
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import ClassVar

from assistant.errors import UserError
from assistant.evaluation.more_operators import ALL_OPERATORS
from assistant.evaluation.mutation import Mutant, lines_of, mutants
from assistant.tasks.patched import changes_of
from model.format import Mode
from model.line import LONGEST, WHY, LineEdit, LineTask, messages, write
from training.data.asking.posing import one_line
from training.data.modes.regimes import SHARE, Draft, checked, modes, sample
from training.data.repairing.thoughts import Fault, issue, thought
from training.data.repositories.checkouts import Sources, tree
from training.data.repositories.modules import Definition, Module, functions, module_of, modules_of
from training.data.schema import (
    Difficulty,
    Provenance,
    Refused,
    Sample,
    Source,
    Tags,
    Task,
    Verification,
    content_id,
)
from training.data.stage import Context, place
from training.seeds import derived, rng

FAMILY = "line_repair"
LEAST, MOST = 8, 40
"""Lines that are shown; our choice."""
_EASY, _MEDIUM = 12, 25
"""Lines up to which a repair is easy, and up to which it is of medium difficulty; our choice."""
_SHOWN = re.compile(r"\n\n(?:[^\n]+\n\n)?```\n(.+)\n```\s*\Z", re.DOTALL)
_UNSAID = 0.4
"""Share of mistakes that come without a word of the user's; our choice."""
_FORCED = 0.5
"""Share of answers at once whose mode is asked for, as `kat fix` does; our choice."""


@dataclass(frozen=True, slots=True)
class LineRepair:
    """Samples from verified tasks whose fix is one line; the failing test's output is shown where it is known.

    `sources` is a folder or file of profiled sources, from which wider windows around the line are cut; without it the
    patch's own lines are shown. `on` is the share that thinks, `regimes` one of `regimes.REGIMES`.
    """

    seed: int = 0
    sources: str = place()
    on: float = SHARE
    regimes: str = "mixed"

    name: ClassVar[str] = "line_repair"
    version: ClassVar[int] = 2
    reads: ClassVar[type] = Task
    writes: ClassVar[type] = Sample
    whole: ClassVar[bool] = False

    def __call__(self, records: Iterable[Task], context: Context) -> Iterator[Sample | Refused]:
        """The samples of each task; tasks of other kinds are left out without a word.

        Raises:
            UserError: the sources cannot be read, or an option makes no sense.
        """
        checked(self.regimes, self.on)
        sources = Sources(self.sources) if self.sources else None
        for task in records:
            if task.kind not in ("mutation", "commit", "invented"):
                continue
            found = one_line(task.solution)
            if found is None:
                yield Refused(task.id, "not_one_line", "its fix is more than one line, or a long or empty one")
            else:
                yield from self._samples(task, *found, sources, context)

    def _samples(
        self, task: Task, shown: LineTask, edit: LineEdit, sources: Sources | None, context: Context
    ) -> Iterator[Sample | Refused]:
        chance = rng(self.seed, FAMILY, task.id)
        module = _file(task, shown.path, sources, context) if sources else None
        asked, (words, failure) = shown, _parted(task.statement)
        if module is not None and _stands(module, shown):
            asked = _window(module, _around(module, edit.number), edit.number, chance)
        asked = replace(asked, failure=failure, issue=words)
        fault = Fault(
            edit.number,
            asked.text(edit.number),
            edit.text,
            task.provenance.function or shown.path,
            task.provenance.made_by.rpartition(":")[2].strip(),
            _summary(module, edit.number),
        )
        yield from _drawn(self, _Repair(asked, fault, _of_task(task, asked), task.tags.language), chance)


@dataclass(frozen=True, slots=True)
class Mistakes:
    """Samples straight from mutants of a source's functions, run by tests or not: right by construction.

    `count` of each source (0: all that there are), spread over its functions by their length; `chinese` is the share
    whose words are Chinese.
    """

    seed: int = 0
    count: int = 1000
    on: float = SHARE
    regimes: str = "mixed"
    chinese: float = 0.15

    name: ClassVar[str] = "mistakes"
    version: ClassVar[int] = 2
    reads: ClassVar[type] = Source
    writes: ClassVar[type] = Sample
    whole: ClassVar[bool] = False

    def __call__(self, records: Iterable[Source], context: Context) -> Iterator[Sample | Refused]:
        """The samples of each source. Raises UserError if an option makes no sense."""
        checked(self.regimes, self.on)
        for source in records:
            context.watch(f"mistakes in {source.name}")
            yield from self._of(source, context)

    def _of(self, source: Source, context: Context) -> Iterator[Sample | Refused]:
        made = 0
        for definition, mistake in self._spread(source, context):
            if self.count and made >= self.count:
                return
            for each in self._samples(source, definition, mistake):
                made += isinstance(each, Sample)
                yield each

    def _spread(self, source: Source, context: Context) -> Iterator[tuple[Definition, _Mistake]]:
        """Of each function as many as are due to its length; then what more there is, where that is not enough."""
        found = [each for module in modules_of(source, context.cache) for each in functions(module)]
        rng(self.seed, "mistakes", source.name).shuffle(found)
        lines = sum(each.last - each.first + 1 for each in found)
        shares = [-(-self.count * (each.last - each.first + 1) // lines) if self.count else None for each in found]
        for definition, share in zip(found, shares, strict=True):
            for mistake in islice(self._mistakes(source, definition), share):
                yield definition, mistake
        for definition, share in zip(found, shares, strict=True):
            for mistake in islice(self._mistakes(source, definition), share, None) if share else ():
                yield definition, mistake

    def _mistakes(self, source: Source, definition: Definition) -> Iterator[_Mistake]:
        """Mutants of one function that change one line into another, which is neither blank nor too long."""
        code = _flush(definition)
        if code is None:
            return
        seed = derived(self.seed, "mistakes", source.name, definition.module.path, definition.qualified)
        for mutant in mutants(code, seed=seed, operators=ALL_OPERATORS):
            mistake = _mistake(definition, mutant)
            if mistake is not None:
                yield mistake

    def _samples(self, source: Source, definition: Definition, mistake: _Mistake) -> Iterator[Sample | Refused]:
        place = (source.name, definition.module.path, definition.qualified, str(mistake.row), mistake.bad)
        chance = rng(self.seed, FAMILY, *place)
        language = "zh" if chance.random() < self.chinese else "en"
        task = _window(mistake.module, (definition.first, definition.last), mistake.row, chance)
        fault = Fault(
            mistake.row, mistake.bad, mistake.good, definition.qualified, mistake.operator, _said(definition.node)
        )
        if chance.random() < _UNSAID:
            language = "en"  # that of the question
        else:
            task = replace(task, issue=issue(fault, chance, language))
        base = Draft(
            task=content_id("line", source.revision, *place),
            family=FAMILY,
            messages=(),
            answer="",
            provenance=_provenance(source, definition, mistake.operator),
            tags=_tags(task, language),
            verification=Verification("construction", 1, {"operator": mistake.operator}),
            licence=source.licence,
        )
        yield from _drawn(self, _Repair(task, fault, base, language), chance)


@dataclass(frozen=True, slots=True)
class _Mistake:
    """A line of a file that is wrong in `module`, and as it must be."""

    module: Module
    row: int
    bad: str
    good: str
    operator: str


@dataclass(frozen=True, slots=True)
class _Repair:
    """What is asked, what is wrong, and the sample's other fields."""

    task: LineTask
    fault: Fault
    base: Draft
    language: str = "en"


def _drawn(stage: LineRepair | Mistakes, repair: _Repair, chance: random.Random) -> Iterator[Sample | Refused]:
    """The repair in the regimes that the stage is to make."""
    language = repair.language if repair.language in ("en", "zh") else "en"
    fault = repair.fault
    answer = write(LineEdit(fault.number, repair.task.indentation(fault.number) + fault.good))
    for mode in modes(chance, stage.regimes, stage.on, thought=True):
        thinks = mode is Mode.ON
        draft = replace(
            repair.base,
            messages=messages(repair.task),
            answer=answer,
            think=thought(repair.task, fault, chance, language) if thinks else "",
            forced=WHY if not thinks and chance.random() < _FORCED else "",
        )
        yield sample(draft, mode, chance)


def _mistake(definition: Definition, mutant: Mutant) -> _Mistake | None:
    """The mutant in its file, if it is a matter of one line."""
    new = lines_of(mutant.text)[mutant.line - 1 : mutant.end_line]
    if len(new) != 1 or len(mutant.original) != 1:
        return None
    row = definition.first + mutant.line - 1
    bad, good = new[0].strip(), mutant.original[0].strip()
    if not bad or not good or max(len(bad), len(good)) > LONGEST:
        return None
    module = definition.module
    old = module.lines[row - 1]
    if old.strip() != good:
        return None
    lines = [*module.lines]
    lines[row - 1] = old[: len(old) - len(old.lstrip())] + bad
    return _Mistake(replace(module, lines=lines), row, bad, good, mutant.operator)


def _flush(definition: Definition) -> str | None:
    """A function's code moved to the margin; None where a line of it stands further left."""
    column = definition.node.col_offset
    rows = definition.module.lines[definition.first - 1 : definition.last]
    if any(row.strip() and row[:column].strip() for row in rows):
        return None
    return "".join(f"{row[column:]}\n" for row in rows)


def _window(module: Module, span: tuple[int, int], row: int, chance: random.Random) -> LineTask:
    """Lines of a file around `row`, mostly of its function, which is not left where it is long enough."""
    first, last = span
    size = min(MOST, last - first + 1)
    if size > LEAST and (last - first + 1 > MOST or chance.random() < 0.3):
        size = chance.randint(LEAST, size)
    if size < last - first + 1:
        start = chance.randint(max(first, row - size + 1), min(row, last - size + 1))
    else:
        extra = max(0, LEAST - size)
        above = chance.randint(0, extra)
        start, size = max(1, first - above), size + extra
    end = min(start + size - 1, len(module.lines) - (not module.lines[-1]))
    return LineTask(module.path, start, tuple(module.lines[start - 1 : end]))


def _parted(statement: str) -> tuple[str, str]:
    """What a user says of a task, and what he shows of a failing test: a fenced block at the end."""
    found = _SHOWN.search(statement)
    return (statement[: found.start()].strip(), found[1]) if found else (statement, "")


def _file(task: Task, path: str, sources: Sources | None, context: Context) -> Module | None:
    """The file as the task has it, if it is Python and can be had."""
    assert sources is not None
    root = tree(sources.get(task.provenance.source), task.provenance.revision, context.cache)
    try:
        changes = changes_of(task.start, root).changes
        new = next((change.new for change in changes if change.path == path), None)
        content = new.content if new else (root / path).read_bytes()
        return module_of(path, content.decode())
    except (UserError, OSError, UnicodeDecodeError):
        return None


def _stands(module: Module, shown: LineTask) -> bool:
    """Whether the file has the lines of the patch where it says."""
    return tuple(module.lines[shown.first - 1 : shown.first - 1 + len(shown.lines)]) == shown.lines


def _around(module: Module, row: int) -> tuple[int, int]:
    """The function that a row is in, else as many lines above and below."""
    for each in functions(module):
        if each.first <= row <= each.last:
            return each.first, each.last
    return max(1, row - MOST // 2), min(len(module.lines), row + MOST // 2 - 1)


def _summary(module: Module | None, row: int) -> str:
    if module is None:
        return ""
    return next((_said(each.node) for each in functions(module) if each.first <= row <= each.last), "")


def _said(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> str:
    """The first line of a docstring, if it is a sentence."""
    words = (ast.get_docstring(node) or "").strip().split("\n")[0].strip()
    return words if 10 <= len(words) <= 120 and words[-1] in ".!" else ""


def _of_task(task: Task, asked: LineTask) -> Draft:
    return Draft(
        task=task.id,
        family=FAMILY,
        messages=(),
        answer="",
        provenance=replace(task.provenance, parent=task.id),
        tags=replace(task.tags, type=task.tags.type or "repair"),
        verification=task.verification,
        licence=task.licence,
        split=task.split,
    )


def _provenance(source: Source, definition: Definition, operator: str) -> Provenance:
    return Provenance(
        source.name,
        source.revision,
        source.released,
        definition.module.path,
        definition.qualified,
        f"mistakes:{operator}",
    )


def _tags(task: LineTask, language: str) -> Tags:
    lines = len(task.lines)
    difficulty: Difficulty = "easy" if lines <= _EASY else "medium" if lines <= _MEDIUM else "hard"
    shown = float(sum(map(len, task.lines)))
    return Tags("repair", difficulty=difficulty, language=language, measures={"context": shown, "lines": float(lines)})
