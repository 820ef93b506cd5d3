"""How a task is put to a model, and the form that its reply must have so that it can be checked.

Three forms: a short answer in words; one line written anew, in the form of `model.line` (a fix of one line); and a
whole function in a fence (any other fix whose code is shown, and what is written from a docstring).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from assistant.workspace.errors import EditError
from assistant.workspace.patch import FilePatch, Hunk, read_patch
from model.format import ThinkRequest
from model.line import LineEdit, LineTask, messages, parse, write
from model.prompt import Message
from training.data.modes.intent import strength, wish_of
from training.data.schema import Task, TaskKind

Form = Literal["answer", "line", "function"]
_SYSTEM = "You are a careful programmer. Answer what is asked, exactly and briefly."
_FUNCTION = "Reply with the whole function as it must read, in one fenced block of code, and nothing else."
_FAMILIES: Mapping[TaskKind, str] = {
    "trace": "trace",
    "question": "question",
    "review": "review",
    "writing": "writing",
    "commit": "repair",
    "mutation": "repair",
    "invented": "repair",
}
_FENCED = re.compile(r"^(`{3,})[\w+-]*[ \t]*\n(.*?)^\1", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Posed:
    """A task as a conversation. `wish` is the user's as to thinking.

    Of a fix of one line, `truth` is the right edit, and `line` what is shown.
    """

    messages: tuple[Message, ...]
    form: Form
    family: str
    truth: LineEdit | None = None
    wish: ThinkRequest = ThinkRequest.AUTO
    line: LineTask | None = None

    def answer(self, text: str) -> str:
        """An answer as it is to be learned: an edit of a line with its indentation, anything else as it is."""
        edit = parse(text) if self.line else None
        if self.line is None or edit is None or edit.number not in self.line.offered:
            return text.strip()
        return write(LineEdit(edit.number, self.line.indentation(edit.number) + edit.text))


def pose(task: Task) -> Posed | None:
    """The task as it is put to a model; None where its code is not shown, or it has no form for a reply."""
    wish = wish_of(strength(task.statement))
    if task.kind in ("trace", "question", "review"):
        return Posed(_conversation(_shown(task)), "answer", _FAMILIES[task.kind], None, wish)
    if found := one_line(task.solution):
        line, truth = found
        asked = LineTask(line.path, line.first, line.lines, issue=task.statement)
        return Posed(messages(asked), "line", "line_repair", truth, wish, asked)
    if not task.context:
        return None
    return Posed(_conversation(f"{_shown(task)}\n\n{_FUNCTION}"), "function", _FAMILIES[task.kind], None, wish)


def one_line(patch: str) -> tuple[LineTask, LineEdit] | None:
    """The stretch that a patch of a single line changes, and the line as it must read; None for any other patch."""
    try:
        files = read_patch(patch) if patch.strip() else ()
    except EditError:
        return None
    if len(files) != 1 or len(files[0].hunks) != 1:
        return None
    file, hunk = files[0], files[0].hunks[0]
    changed = _changed_at(hunk)
    return None if changed is None else _line(file, hunk, changed)


def code_of(text: str) -> str:
    """The code of a reply: its last fenced block, or all of it where there is none."""
    blocks = _FENCED.findall(text)
    return str(blocks[-1][1] if blocks else text.strip("\n") + "\n")


def _line(file: FilePatch, hunk: Hunk, changed: int) -> tuple[LineTask, LineEdit] | None:
    first = hunk.start or 1
    task = LineTask(file.path, first, hunk.old)
    if first + changed not in task.offered or not hunk.new[changed].strip():
        return None
    return task, LineEdit(first + changed, hunk.new[changed].strip())


def _changed_at(hunk: Hunk) -> int | None:
    """The only place where a hunk changes a line into another one."""
    if len(hunk.old) != len(hunk.new):
        return None
    places = [index for index, (old, new) in enumerate(zip(hunk.old, hunk.new, strict=True)) if old != new]
    return places[0] if len(places) == 1 else None


def _shown(task: Task) -> str:
    """The user's words with the code that belongs to them."""
    if not task.context.strip() or task.context.strip() in task.statement:
        return task.statement
    code = task.context.rstrip("\n")
    return f"{task.statement}\n\n{code}" if "```" in code else f"{task.statement}\n\n```python\n{code}\n```"


def _conversation(words: str) -> tuple[Message, ...]:
    return Message("system", _SYSTEM), Message("user", words)
