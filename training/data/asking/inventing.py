"""How a model is asked for a bug, and what of its reply is taken.

The prompt is ours. A reply is the whole function, in a fenced block or as ``{"function": "…"}``; its head and docstring
are taken from the real one, so that nothing but the body can differ.
"""

from __future__ import annotations

import io
import json
import re
import textwrap
import tokenize
from collections.abc import Sequence
from dataclasses import dataclass

from assistant.fix.meaning import meaning
from model.prompt import Message
from training.data.repositories.diffs import changed as changed_lines
from training.data.repositories.diffs import unified
from training.data.repositories.modules import Callable_, Definition, body_of, functions, module_of

MOST_CHANGED = 12
"""Lines taken away and added at most: more is another program; our choice."""
_SYSTEM = (
    "You help to test debuggers. You get a correct Python function and put exactly one subtle, realistic bug into it, "
    "such as a programmer makes by mistake: a wrong boundary, a forgotten case, a swapped variable, a lost update. "
    "The result must run without syntax errors and behave differently for ordinary input."
)
_ASK = (
    "File `{path}`, function `{f}`:\n\n```python\n{code}\n```\n\nWrite the whole function again with one bug in its "
    "body. Keep the name, the parameters and the docstring. Write no comment about the change. Reply with the function "
    "only, in a ```python block."
)
_FENCED = re.compile(r"```(?:python|py|json)?[ \t]*\n(.*?)```", re.DOTALL)
_TELLING = re.compile(
    r"\b(?:bugs?|buggy|wrong|incorrect(?:ly)?|mistakes?|faulty|broken|introduc\w+|subtle|should(?:n't)?|instead|"
    r"original\w*|fix\w*|todo|intentional\w*|deliberate\w*|off[- ]by[- ]one)\b|错|缺陷|故意|应该|原来|改",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Bug:
    """A file with a bug in one function, and the patches to it and back."""

    text: str
    start: str
    solution: str


@dataclass(frozen=True, slots=True)
class Useless:
    """A reply that is no good: `reason` is one of ``malformed``, ``unchanged``, ``telling`` and ``large``."""

    reason: str
    detail: str


def asking(definition: Definition) -> tuple[Message, ...]:
    """The conversation that asks for a bug."""
    asked = _ASK.format(path=definition.module.path, f=definition.qualified, code=textwrap.dedent(definition.code))
    return Message("system", _SYSTEM), Message("user", asked)


def read(definition: Definition, answer: str) -> Bug | Useless:
    """The bug in a reply."""
    written = _written(answer, definition.node.name)
    if isinstance(written, Useless):
        return written
    code = _joined(definition, written)
    lines = definition.module.lines
    path, before = definition.module.path, definition.module.text
    after = "\n".join([*lines[: definition.first - 1], code, *lines[definition.last :]])
    if module_of(path, after) is None:
        return Useless("malformed", "the file does not parse with it")
    if _same(path, before, after):
        return Useless("unchanged", "the function means the same as before")
    if any(_TELLING.search(comment) for comment in _comments(code) - _comments(definition.code)):
        return Useless("telling", "a comment gives the bug away")
    start = unified(path, before, after)
    if sum(1 for sign in "+-" for _ in changed_lines(start, sign)) > MOST_CHANGED:
        return Useless("large", f"more than {MOST_CHANGED} lines differ")
    return Bug(after, start, unified(path, after, before))


def _written(answer: str, name: str) -> Definition | Useless:
    """The function of that name in a reply."""
    texts = [*_FENCED.findall(answer), answer] if "```" in answer else [answer]
    for text in texts:
        module = module_of("reply.py", textwrap.dedent(_unwrapped(text)).strip("\n"))
        found = [each for each in functions(module) if each.node.name == name] if module else []
        if len(found) == 1:
            return found[0]
    return Useless("malformed", f"it holds no function {name}")


def _unwrapped(text: str) -> str:
    """The function in a JSON object; any other text as it is."""
    if not text.lstrip().startswith("{"):
        return text
    try:
        data = json.loads(text)
    except ValueError:
        return text
    function = data.get("function") if isinstance(data, dict) else None
    return function if isinstance(function, str) else ""


def _joined(definition: Definition, written: Definition) -> str:
    """The real function's head and docstring, and behind them the body that was written."""
    head = definition.module.lines[definition.first - 1 : _body(definition) - 1]
    body = written.module.lines[_body(written) - 1 : written.last]
    return "\n".join([*head, *_indented(body, _indent(definition) - _indent(written))])


def _body(definition: Definition) -> int:
    """The line in which the body begins behind head and docstring, comments before it included."""
    assert isinstance(definition.node, Callable_)
    rest = body_of(definition.node)
    if rest and len(rest) < len(definition.node.body):
        return (definition.node.body[0].end_lineno or 0) + 1
    return definition.node.body[0].lineno


def _indent(definition: Definition) -> int:
    return definition.node.body[0].col_offset


def _indented(lines: Sequence[str], by: int) -> list[str]:
    if by >= 0:
        return [f"{' ' * by}{line}" if line.strip() else line for line in lines]
    return [line[-by:] if not line[:-by].strip() else line for line in lines]


def _same(path: str, before: str, after: str) -> bool:
    """Whether both mean the same, comments aside."""
    one, two = (meaning(path, text.encode("utf-8", "replace")).split()[:2] for text in (before, after))
    return one == two


def _comments(code: str) -> set[str]:
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO(textwrap.dedent(code) + "\n").readline))
    except (tokenize.TokenError, SyntaxError):
        return {code}
    return {token.string.strip("# ") for token in tokens if token.type == tokenize.COMMENT}
