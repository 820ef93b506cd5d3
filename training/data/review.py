"""Diffs to be reviewed whose verdict is known by the way they were made: a mistake put in, or one taken out.

The same two texts make either: right to wrong is faulty, wrong to right is not. Chance decides, half and half, so that
"no fault found" is right as often as not and only the code can tell.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass, replace
from itertools import islice, pairwise
from typing import ClassVar

from assistant.evaluation.more_operators import ALL_OPERATORS
from training.data.questioning.asked import quoted
from training.data.questioning.review_words import ASKED, CLEAN, FAULTY, MEANT, MENDED, NOTHING, SAID, STEPS, SURE, WHY
from training.data.repositories.diffs import Row, rows, unified
from training.data.repositories.modules import Definition, functions, modules_of
from training.data.repositories.mutating import Change, changed, changes
from training.data.schema import Provenance, Refused, Source, Tags, Task, Verification, content_id
from training.data.stage import Context
from training.seeds import derived, rng

_AROUND = 12
"""Lines shown above and below a mutation; our choice."""
_MOST_ROWS = 60
_MOST_CHANGED = 4
"""Lines of a diff, and those of them that change, at most; our choices."""
_COMMON, _RARELY = "removed result", 0.25
"""A mistake that nearly every function has room for, and the share of it that is taken; our choice."""
_NOISE = ("index ", "old mode", "new mode")


@dataclass(frozen=True, slots=True)
class Diff:
    """A change that is known to be faulty or not; `operator` is the kind of mistake, where it is one."""

    text: str
    path: str
    function: str
    operator: str
    faulty: bool

    @property
    def changed(self) -> list[Row]:
        """The lines that change."""
        return [row for row in rows(self.text) if row.sign != " "]


@dataclass(frozen=True, slots=True)
class Review:
    """Reviews from tasks whose fault is known: mutations, bugs that a model wrote, and small commits.

    `chinese` is the share that is asked in Chinese.
    """

    seed: int = 0
    chinese: float = 0.25

    name: ClassVar[str] = "review"
    version: ClassVar[int] = 1
    reads: ClassVar[type] = Task
    writes: ClassVar[type] = Task
    whole: ClassVar[bool] = False

    def __call__(self, records: Iterable[Task], context: Context) -> Iterator[Task | Refused]:
        """One review a task; tasks of other kinds are left out without a word."""
        for task in records:
            if task.kind not in ("mutation", "invented", "commit"):
                continue
            if task.kind == "commit" and task.verification.by != "tests":
                yield Refused(task.id, "unverified", "no test says that the commit is right")
                continue
            chance = rng(self.seed, "review", task.id)
            diff = _of_task(task, faulty=chance.random() < 0.5)
            if diff is None or not _small(diff):
                yield Refused(task.id, "large", "its diff is too long, or changes too much, for one verdict")
            else:
                by = task.verification
                known = by if by.by == "tests" else Verification("construction", 1, {"from": task.kind})
                where = replace(task.provenance, function=diff.function, parent=task.id)
                yield _review(diff, chance, self.chinese, where, known, task.licence)


@dataclass(frozen=True, slots=True)
class MutantReview:
    """Reviews straight from mutants of a source, `each` of one source (0: all), tests or not.

    Only kinds of mistakes are taken that nearly always change what a program does.
    """

    seed: int = 0
    each: int = 200
    chinese: float = 0.25

    name: ClassVar[str] = "mutant_review"
    version: ClassVar[int] = 1
    reads: ClassVar[type] = Source
    writes: ClassVar[type] = Task
    whole: ClassVar[bool] = False

    def __call__(self, records: Iterable[Source], context: Context) -> Iterator[Task | Refused]:
        """The reviews of each source, file by file in an order that the seed decides."""
        for source in records:
            context.watch(f"diffs of {source.name} to be reviewed")
            found = self._of(source, context)
            yield from islice(found, self.each) if self.each else found

    def _of(self, source: Source, context: Context) -> Iterator[Task]:
        found = [each for module in modules_of(source, context.cache) for each in functions(module)]
        found.sort(key=lambda each: derived(self.seed, "review", source.name, each.module.path, each.qualified))
        share = -(-self.each // len(found)) if self.each and found else None
        for definition in found:
            for change in islice(self._changes(definition), share):
                chance = rng(self.seed, "review", source.name, definition.module.path, *map(str, astuple(change)))
                diff = _of_change(definition, change, faulty=chance.random() < 0.5)
                if _small(diff):
                    path, known = definition.module.path, Verification("construction", 1, {"from": "mutation"})
                    where = Provenance(source.name, source.revision, source.released, path, definition.qualified)
                    yield _review(diff, chance, self.chinese, where, known, source.licence)

    def _changes(self, definition: Definition) -> Iterator[Change]:
        """Mutations that nearly always change what a program does."""
        seed = derived(self.seed, "mutants", definition.module.path, definition.qualified)
        found = changes(definition, seed=seed, operators=[each for each in ALL_OPERATORS if each.name in SURE])
        chance = rng(seed, "kinds")
        kept = (change for change in found if change.operator != _COMMON or chance.random() < _RARELY)
        return (change for change in kept if not _at_boundary(definition, change))


def _of_task(task: Task, *, faulty: bool) -> Diff | None:
    text = task.solution
    if faulty:
        text = task.start or reversed_patch(task.solution)
    operator = task.provenance.made_by.rpartition(":")[2].strip()
    operator = operator if operator in WHY else ""
    clean = "\n".join(line for line in text.split("\n") if not line.startswith(_NOISE))
    path = task.provenance.path or next((row.path for row in rows(clean)), "")
    return Diff(clean, path, task.provenance.function or path, operator, faulty) if clean.strip() else None


def _of_change(definition: Definition, change: Change, *, faulty: bool) -> Diff:
    path, right, wrong = definition.module.path, definition.module.text, changed(definition, change)
    text = unified(path, right, wrong, _AROUND) if faulty else unified(path, wrong, right, _AROUND)
    return Diff(text, path, definition.qualified, change.operator, faulty)


def _at_boundary(definition: Definition, change: Change) -> bool:
    """Whether a comparison changes only for what is equal, which may well make no difference."""
    texts = definition.module.shown(change.first, change.last), "\n".join(change.new)
    old, new = (text.count("<=") + text.count(">=") for text in texts)
    return change.operator == "comparison" and old != new


def reversed_patch(patch: str) -> str:
    """The patch the other way round, as it is shown; for files that are there before and after."""
    turned: list[str] = []
    pending: list[str] = []
    for line in patch.split("\n"):
        match line[:1]:
            case "+" if not line.startswith("+++ "):
                turned.append(f"-{line[1:]}")
            case "-" if not line.startswith("--- "):
                pending.append(f"+{line[1:]}")
            case _:
                turned += [*pending, _turned(line)]
                pending = []
    return "\n".join([*turned, *pending])


def _turned(line: str) -> str:
    if not line.startswith("@@ "):
        return line
    _, old, new, *rest = line.split(" ")
    return " ".join(["@@", f"-{new[1:]}", f"+{old[1:]}", *rest])


def _small(diff: Diff) -> bool:
    """Whether it is short and changes one place."""
    changed = diff.changed
    apart = sum(two.old - one.old > 1 or two.new - one.new > 1 for one, two in pairwise(changed))
    return 0 < len(changed) <= _MOST_CHANGED and not apart and diff.text.count("\n") <= _MOST_ROWS


def _review(
    diff: Diff, chance: random.Random, chinese: float, where: Provenance, known: Verification, licence: str
) -> Task:
    language = "zh" if chance.random() < chinese else "en"
    asked = chance.choice(ASKED[language]).format(path=diff.path, f=diff.function)
    made_by = f"review:{'faulty' if diff.faulty else 'clean'}:{diff.operator or 'change'}"
    answer, thought = _answer(diff, chance, language), _thought(diff, chance, language)
    return Task(
        content_id("review", asked, diff.text, answer),
        "review",
        asked,
        replace(where, made_by=made_by),
        licence=licence,
        context=diff.text,
        answer=answer,
        thought=thought,
        tags=Tags("review", language=language, measures={"lines": float(diff.text.count("\n"))}),
        verification=known,
    )


def _answer(diff: Diff, chance: random.Random, language: str) -> str:
    kind, old, new = _sides(diff)
    slots = {"old": old, "new": new}
    if not diff.faulty and not diff.operator:
        return chance.choice(CLEAN[language]).format(mended="").strip()
    if not diff.faulty:
        return chance.choice(CLEAN[language]).format(mended=MENDED[language][kind].format(**slots))
    said = SAID[language][kind].format(**slots)
    line = next((row.new for row in diff.changed if row.sign == "+"), diff.changed[0].new)
    words = chance.choice(FAULTY[language])
    return words.format(path=diff.path, line=line, said=said, why=_why(diff, language))


def _thought(diff: Diff, chance: random.Random, language: str) -> str:
    if not diff.operator:
        return ""
    _, old, new = _sides(diff)
    words = STEPS[language]
    look = chance.choice(words["look"]).format(f=f"`{diff.function}`")
    sides = chance.choice(words["sides"]).format(old=old or NOTHING[language], new=new or NOTHING[language])
    verdict = chance.choice(words["faulty" if diff.faulty else "clean"]).format(why=_why(diff, language))
    return "\n".join([look, sides, verdict])


def _why(diff: Diff, language: str) -> str:
    found = WHY.get(diff.operator)
    return (found[0] if language == "en" else found[1]) if found else MEANT[language]


def _sides(diff: Diff) -> tuple[str, str, str]:
    """Whether lines were changed, removed or added, and the first of each side as code."""
    changed = diff.changed
    old, new = _first(changed, "-"), _first(changed, "+")
    match bool(old), bool(new):
        case True, True:
            return "changed", old, new
        case True, False:
            return "removed", old, ""
        case _:
            return "added", "", new


def _first(changed: Sequence[Row], sign: str) -> str:
    """The first line of this sign that has a text and is not on the other side as well."""
    others = {row.text.strip() for row in changed if row.sign != sign}
    mine = [row.text.strip() for row in changed if row.sign == sign and row.text.strip()]
    return next((quoted(text) for text in mine if text not in others), quoted(mine[0]) if mine else "")
