"""What was seen of a call, as a chain of thought: line by line what runs and what it changes, and nothing else."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from training.data.tracing.code import Shown
from training.data.tracing.runs import Seen, Step

MOST = 40
"""Steps that are told; of a longer call the first and the last. Our choice."""
_LAST = 10
_QUOTED = 70
_Compound = ast.If | ast.For | ast.While | ast.With | ast.Try | ast.FunctionDef | ast.ClassDef | ast.Match


@dataclass(frozen=True, slots=True)
class Words:
    """The words of a language; `left` says how many steps are not told, `then` what is so behind them."""

    begin: str
    line: str
    true: str
    false: str
    loop: str
    done: str
    yields: str
    returns: str
    raises: str
    calls: str
    left: str
    then: str
    end: str


ENGLISH = Words(
    begin="At the start {changes}.",
    line="Line {number}: {what}.",
    true="`{test}` is true",
    false="`{test}` is false",
    loop="the loop goes on",
    done="the loop is over",
    yields="{value} is yielded",
    returns="{value} is returned",
    raises="{value} is raised",
    calls="{call} gives {value}",
    left="({count} more steps follow.)",
    then="({count} more steps follow, after which {changes}.)",
    end="So `{call}` gives {answer}.",
)
CHINESE = Words(
    begin="开始时 {changes}。",
    line="第 {number} 行：{what}。",
    true="`{test}` 为真",
    false="`{test}` 为假",
    loop="循环继续",
    done="循环结束",
    yields="产出 {value}",
    returns="返回 {value}",
    raises="抛出 {value}",
    calls="{call} 得到 {value}",
    left="（接下来还有 {count} 步。）",
    then="（接下来还有 {count} 步，之后 {changes}。）",
    end="所以 `{call}` 的结果是 {answer}。",
)


@dataclass(frozen=True, slots=True)
class _Told:
    """A statement that ran: where its first line stands, the row that ran next, and what was seen."""

    node: ast.stmt | ast.ExceptHandler | None
    row: int
    changed: Mapping[str, str]
    notes: tuple[tuple[str, ...], ...]
    follows: int = 0


def chain(function: Shown, seen: Seen, call: str, words: Words) -> str:
    """The call of a function as it went, a line a step."""
    told = _statements(function, seen.steps, seen.start)
    lines = [words.begin.format(changes=_changes(seen.start, words))] if seen.start else []
    lines += _shortened(function, told, words)
    return "\n".join([*lines, words.end.format(call=call, answer=seen.answer)])


def steps_told(function: Shown, seen: Seen) -> int:
    """How many statements ran, a statement that runs on in other lines counted once."""
    return len(_statements(function, seen.steps, seen.start))


def _shortened(function: Shown, told: Sequence[_Told], words: Words) -> list[str]:
    if len(told) <= MOST:
        return _lines(function, told, words)
    head, middle, tail = told[: MOST - _LAST], told[MOST - _LAST : -_LAST], told[-_LAST:]
    changed = {name: value for each in middle for name, value in each.changed.items()}
    left = (words.then if changed else words.left).format(count=len(middle), changes=_changes(changed, words))
    return [*_lines(function, head, words), left, *_lines(function, tail, words)]


def _lines(function: Shown, told: Sequence[_Told], words: Words) -> list[str]:
    numbers = function.numbers
    rows = ((numbers.get(each.row), _what(function, each, words)) for each in told)
    return [words.line.format(number=number, what=what) for number, what in rows if number and what]


def _statements(function: Shown, steps: Sequence[Step], start: Mapping[str, str] | None) -> list[_Told]:
    """The steps, those of one statement that came one after the other as one."""
    nodes = _by_row(function.node)
    parts = groupby(steps, lambda step: _key(nodes.get(step.row), step.row))
    told = [*_told_again((_joined(nodes.get(row), row, list(part)) for row, part in parts), start)]
    follows = [each.row for each in told[1:]] + [0]
    return [replace(each, follows=row) for each, row in zip(told, follows, strict=True)]


def _told_again(told: Iterable[_Told], start: Mapping[str, str] | None) -> Iterator[_Told]:
    """The same; an assignment that changes nothing tells what it assigns."""
    known = dict(start or {})
    for each in told:
        known |= each.changed
        match each.node:
            case ast.Assign(targets=[ast.Name(id=name)]) if name in known and not each.notes:
                yield replace(each, changed={**each.changed, name: known[name]})
            case _:
                yield each


def _key(node: ast.stmt | ast.ExceptHandler | None, row: int) -> int:
    return node.lineno if node is not None else row


def _joined(node: ast.stmt | ast.ExceptHandler | None, row: int, steps: Sequence[Step]) -> _Told:
    changed = {name: value for step in steps for name, value in step.changed.items()}
    return _Told(node, row, changed, tuple(note for step in steps for note in step.notes))


def _by_row(function: ast.FunctionDef) -> dict[int, ast.stmt | ast.ExceptHandler]:
    """The statement that each row belongs to: of a compound one only the rows of its head."""
    found: dict[int, ast.stmt | ast.ExceptHandler] = {}
    for node in ast.walk(function):
        if isinstance(node, ast.stmt | ast.ExceptHandler) and node is not function:
            for row in _head(node):
                known = found.get(row)
                if known is None or (known.lineno, -_size(known)) < (node.lineno, -_size(node)):
                    found[row] = node
    return found


def _size(node: ast.stmt | ast.ExceptHandler) -> int:
    return (node.end_lineno or node.lineno) * 1000 + (node.end_col_offset or 0)


def _head(node: ast.stmt | ast.ExceptHandler) -> range:
    body = getattr(node, "body", None)
    last = node.end_lineno or node.lineno
    if isinstance(node, ast.Match):
        last = node.subject.end_lineno or node.lineno
    elif isinstance(body, list) and body:
        last = max(node.lineno, body[0].lineno - 1)
    return range(node.lineno, last + 1)


def _what(function: Shown, told: _Told, words: Words) -> str:
    """What a statement did, in a few words; nothing where nothing can be told."""
    parts = [*_notes(told, words), *_turn(told, words)]
    if told.changed:
        parts.insert(len(parts) - 1 if _ends(told) else len(parts), _changes(told.changed, words))
    return ", ".join(parts) or _quoted(function, told)


def _ends(told: _Told) -> bool:
    return bool(told.notes) and told.notes[-1][0] in ("returns", "yields", "raises")


def _notes(told: _Told, words: Words) -> Iterator[str]:
    for note in dict.fromkeys(told.notes):
        match note:
            case ("calls", call, value):
                yield words.calls.format(call=call, value=value)
            case ("yields", value):
                yield words.yields.format(value=value)
            case ("returns", value):
                yield words.returns.format(value=value)
            case ("raises", value) if _is_real(told, value):
                yield words.raises.format(value=value)


def _is_real(told: _Told, error: str) -> bool:
    """Whether an error is one to a reader: a loop ends with one that nobody sees."""
    return error != "StopIteration" or not isinstance(told.node, ast.For)


def _turn(told: _Told, words: Words) -> Iterator[str]:
    """Which way a test or a loop went, as the row that ran next shows it."""
    node = told.node
    if not isinstance(node, ast.If | ast.While | ast.For) or any(
        note[0] == "raises" and _is_real(told, note[1]) for note in told.notes
    ):
        return
    body = range(node.body[0].lineno, (node.body[-1].end_lineno or 0) + 1)
    if body.start == node.lineno or not told.follows:
        return
    inside = told.follows in body
    if isinstance(node, ast.For):
        yield words.loop if inside else words.done
    elif not isinstance(node.test, ast.Constant) and len(test := ast.unparse(node.test)) <= _QUOTED:
        yield (words.true if inside else words.false).format(test=test)


def _quoted(function: Shown, told: _Told) -> str:
    node = told.node
    if not isinstance(node, ast.stmt) or isinstance(node, _Compound) or node.end_lineno != node.lineno:
        return ""
    text = function.module.lines[told.row - 1].strip()
    return f"`{text}`" if len(text) <= _QUOTED and "`" not in text else ""


def _changes(changed: Mapping[str, str] | None, words: Words) -> str:
    return ", ".join(f"{name} = {value}" for name, value in (changed or {}).items())
