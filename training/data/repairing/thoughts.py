"""The thought that leads to a line's correction: what the code is, what the line says, what is wrong, what must be.

All of it is true by the way the mistake was made. No more is claimed: why it is wrong is only said as far as the kind
of mistake and the two texts tell.
"""

from __future__ import annotations

import ast
import random
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

from model.line import LineTask
from training.data.repairing.words import (
    CHANGED,
    ENDS,
    EXTRA,
    FAILS,
    FINE,
    HINTS,
    ISSUES,
    KINDS,
    MEANT,
    MISSING,
    READS,
    STANDS,
    Both,
)

_TOKEN = re.compile(r"\w+|\s+|(?:\*\*|//|<<|>>)=?|[<>=!+\-*/%|&^@:]=|->|\.\.\.|\S")
_MARK = re.compile(r"^[>E] +")
_ERROR = re.compile(r"\b\w*(?:Error|Exception)\b")
_LONGEST_QUOTE, _LONGEST_SAID = 90, 180
_PLACE = re.compile(r"\{(bad|good)\}")


@dataclass(frozen=True, slots=True)
class Fault:
    """A line that is wrong: `bad` as it is and `good` as it must be, without indentation; `operator` may be unknown.

    `function` is where it stands, `summary` the first sentence of its docstring, if any.
    """

    number: int
    bad: str
    good: str
    function: str
    operator: str = ""
    summary: str = ""


def difference(bad: str, good: str) -> tuple[str, str]:
    """What differs between two lines, to whole words and signs."""
    one, other = _TOKEN.findall(bad), _TOKEN.findall(good)
    head = _common(one, other)
    tail = min(_common(one[::-1], other[::-1]), min(len(one), len(other)) - head)
    return "".join(one[head : len(one) - tail]).strip(), "".join(other[head : len(other) - tail]).strip()


def issue(fault: Fault, chance: random.Random, language: str) -> str:
    """What a user might say of it: that there is a mistake, or of what kind, but not what must be."""
    kind = KINDS.get(fault.operator)
    if kind is None or chance.random() < 0.5:
        return chance.choice(ISSUES[language]).format(f=fault.function)
    return chance.choice(HINTS[language]).format(f=fault.function, part=kind.part[language])


def thought(task: LineTask, fault: Fault, chance: random.Random, language: str) -> str:
    """The chain, a sentence or two a line."""
    last = task.first + len(task.lines) - 1
    said = [_one(READS, chance, language, f=_named(task, fault, language), first=task.first, last=last)]
    if fault.summary and any(fault.summary in line for line in task.lines) and chance.random() < 0.7:
        said.append(_one(MEANT, chance, language, summary=fault.summary))
    if failing := _failing(task):
        said.append(_one(FAILS, chance, language, text=failing))
    fine = _others(task, fault.number, chance)
    before = [each for each in fine if each[0] < fault.number]
    said += _fine(before, chance, language)
    said.append(_one(STANDS, chance, language, row=fault.number, text=fault.bad))
    said.append(_wrong(fault, chance, language))
    said += _fine([each for each in fine if each[0] > fault.number], chance, language)
    said.append(_one(ENDS, chance, language, row=fault.number, text=fault.good))
    return "\n".join(said)


def _wrong(fault: Fault, chance: random.Random, language: str) -> str:
    """What is wrong in the line, in one sentence or two."""
    bad, good = difference(fault.bad, fault.good)
    known = {"bad": bad, "good": good}
    plain = _plainly(bad, good)[language]
    kind = KINDS.get(fault.operator)
    fitting = (
        [each for each in kind.faults[language] if all(known[name] for name in _PLACE.findall(each))] if kind else []
    )
    if not fitting:
        return chance.choice(plain).format(**known)
    said = chance.choice(fitting)
    if not _PLACE.search(said) and chance.random() < 0.6:
        said += ("" if language == "zh" else " ") + chance.choice(plain)
    return said.format(**known)


def _plainly(bad: str, good: str) -> Both:
    if bad and good:
        return CHANGED
    return MISSING if good else EXTRA


def _others(task: LineTask, number: int, chance: random.Random) -> list[tuple[int, str]]:
    """Up to two other lines, in order, that say enough to be worth a look."""
    rows = [
        (row, text)
        for row, line in enumerate(task.lines, task.first)
        if row != number and 8 <= len(text := line.strip()) <= _LONGEST_QUOTE and "`" not in text and _tells(text)
    ]
    return sorted(chance.sample(rows, min(len(rows), chance.choice((0, 0, 1, 1, 2)))))


def _named(task: LineTask, fault: Fault, language: str) -> str:
    """What the code is called, if its name is shown or said; its file, else."""
    shown = "\n".join((*task.lines, task.issue, task.failure))
    if re.search(rf"\b{re.escape(fault.function.rpartition('.')[2])}\b", shown):
        return f" `{fault.function}`" if language == "zh" else f"`{fault.function}`"
    return f" {task.path} 的一段" if language == "zh" else f"a part of {task.path}"


def _tells(text: str) -> bool:
    """Whether a line is code, and enough of it to say something of."""
    code = not text.startswith(("#", '"', "'", "r'", 'r"', ">>>", "...", ":", "@", "else"))
    return code and any(map(text.__contains__, "=(<>")) and _is_code(text)


def _is_code(text: str) -> bool:
    """Whether a line is a statement, or begins one."""
    if text.startswith(("elif ", "except ")):
        return text.endswith(":")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            compile(f"{text} pass" if text.endswith(":") else text, "line", "exec", ast.PyCF_ONLY_AST)
        except (SyntaxError, ValueError):
            return False
    return True


def _fine(rows: Sequence[tuple[int, str]], chance: random.Random, language: str) -> list[str]:
    found: list[str] = []
    wordings = chance.sample(FINE[language], min(len(rows), len(FINE[language])))
    for (row, text), wording in zip(rows, wordings, strict=False):
        found.append(wording.format(row=row, text=text))
    return found


def _failing(task: LineTask) -> str:
    """The line of a test's output that says most: the first that names an error, else the first that asserts."""
    rows = [_MARK.sub("", row).strip() for row in task.failure.splitlines()]
    telling = [row for row in rows if _ERROR.search(row)] or [row for row in rows if row.startswith("assert")]
    return telling[0] if telling and len(telling[0]) <= _LONGEST_SAID else ""


def _one(words: Both, chance: random.Random, language: str, **parts: str | int) -> str:
    return chance.choice(words[language]).format(**parts)


def _common(one: Sequence[str], other: Sequence[str]) -> int:
    count = 0
    for left, right in zip(one, other, strict=False):
        if left != right:
            break
        count += 1
    return count
