"""A question on code as data, before it is put into words: what it shows, its answer and the steps that lead there."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from training.data.questioning.words import NONE, Both, same
from training.data.repositories.modules import Callable_, Definition, Module, body_of

LONGEST = 60
"""Lines of code that a question shows at most; our choice."""
SHORT = 60
"""Characters of a default, a type or a value that is asked for; our choice."""
MOST = 10
"""Names in an answer at most; our choice."""
_QUOTED = 90


@dataclass(frozen=True, slots=True)
class Asked:
    """A question of one `kind` on `subject` (a dotted name) in the file `path`; `slots` fill its wording.

    `english` says that the answer is English prose, so that it is not asked in Chinese.
    """

    kind: str
    path: str
    subject: str
    context: str
    answer: Both
    thought: Both = field(default_factory=lambda: same(""))
    slots: Mapping[str, str] = field(default_factory=dict)
    english: bool = False


def code(text: str) -> str:
    """Text as code within a sentence."""
    return f"``{text}``" if "`" in text else f"`{text}`"


def quoted(line: str) -> str:
    """A line of code within a sentence, cut where it is long."""
    line = " ".join(line.split())
    return code(line if len(line) <= _QUOTED else f"{line[:_QUOTED]}…")


def listed(names: Iterable[str]) -> Both:
    """Names, each once, in their order; a word where there are none."""
    unique = [code(name) for name in dict.fromkeys(names)]
    return Both(", ".join(unique), "、".join(unique)) if unique else NONE


def steps(parts: Sequence[Both], end: Both) -> Both:
    """A chain of thought, a line for each part, that ends in the answer."""
    return Both("\n".join([*(part.en for part in parts), end.en]), "\n".join([*(part.zh for part in parts), end.zh]))


def seen(module: Module, found: Iterable[tuple[int, str]], answer: Both) -> Both:
    """The chain that goes through the code line by line: the line's number, and the name that is found there."""
    nothing = Both("Nothing of the kind stands in it.", "其中没有这样的内容。")
    parts = []
    for line, group in groupby(found, key=lambda each: each[0]):
        row, names = quoted(module.lines[line - 1]), listed(name for _, name in group)
        parts.append(Both(f"In {row}: {names.en}.", f"{row} 中有 {names.zh}。"))
    return steps(parts or [nothing], so(answer))


def so(answer: Both) -> Both:
    """The end of a chain."""
    return Both(f"So the answer is: {answer.en}", f"所以答案是：{answer.zh}")


def shown(definition: Definition) -> str | None:
    """The code of a definition, if it is short enough."""
    return definition.code if definition.last - definition.first < LONGEST else None


def signature(definition: Definition) -> str:
    """The head of a function or class with an ellipsis for what is in it."""
    end = _head_end(definition)
    head = definition.module.shown(definition.first, end)
    if definition.node.body[0].lineno <= end:
        return head
    return f"{head}\n{' ' * (definition.node.col_offset + 4)}..."


def _head_end(definition: Definition) -> int:
    """The line of the colon that ends the head; behind the last parameter there are only brackets and comments."""
    node, lines = definition.node, definition.module.lines
    line, column = max(_ends(node), default=(node.lineno, 0))
    rest = lines[line - 1].encode()[column:].decode("utf-8", "replace")
    first = node.body[0].lineno
    while line < first and not rest.split("#")[0].rstrip().endswith(":"):
        line, rest = line + 1, lines[line]
    return line


def _ends(node: Callable_ | ast.ClassDef) -> Iterator[tuple[int, int]]:
    parts: list[ast.AST | None]
    if isinstance(node, ast.ClassDef):
        parts = [*node.bases, *(keyword.value for keyword in node.keywords)]
    else:
        given = node.args
        named = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
        parts = [node.returns, *named, *given.defaults, *given.kw_defaults]
    for part in parts:
        if isinstance(part, ast.expr | ast.arg):
            yield part.end_lineno or part.lineno, part.end_col_offset or 0


def without_docstring(definition: Definition) -> str | None:
    """The code of a function with its docstring left out; None where that is not a matter of whole lines."""
    node = definition.node
    if not isinstance(node, Callable_) or not (rest := body_of(node)) or len(rest) == len(node.body):
        return None
    docstring, following = node.body[0], rest[0]
    last = docstring.end_lineno or docstring.lineno
    if docstring.lineno <= node.lineno or following.lineno <= last or _shares(definition, docstring.lineno):
        return None
    return "\n".join(
        [
            definition.module.shown(definition.first, docstring.lineno - 1),
            definition.module.shown(last + 1, definition.last),
        ]
    )


def _shares(definition: Definition, line: int) -> bool:
    text = definition.module.lines[line - 1].lstrip()
    return not text.lower().lstrip("rbuf").startswith(('"', "'"))
