"""How a small model is asked for a fix: a function with numbered lines, what fails, and one line to write anew.

The reply is the number of a line shown and its new text: ``12:     return left + right``. This is the one place that
knows the form, so that training can write the very same prompts and replies. A model that was never trained for it
talks about the code instead. Where the lines before a suspect one are given to it as the beginning of its own answer,
it goes on as code does: with that line, and if it may not copy it, with one much like it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from model.dialects import dialect
from model.escape import escape
from model.format import ThinkRequest
from model.prompt import Dialect, Message, Piece, Prompt
from model.surrogates import replace_surrogates

LONGEST = 160
"""Characters that a line may have, the old one and the new; our choice. Of a longer one no more is shown."""
TOKENS = 80
"""Tokens that a reply may have; our choice, for lines of up to `LONGEST` characters."""
PARTS = 3
"""Parts of a line that replies may be held to; our choice. A small model left alone copies a line to its end."""
_FAILURE = 600
_ISSUE = 600
WHY = "One line is wrong, and can be named at once."
"""What the judge is made to say, for thinking is off."""
_SYSTEM = "You fix bugs in code. One line of the code is wrong. Reply with its number and the corrected line."
_CONTROL = r"\x00-\x08\x0a-\x1f\x7f"
_BLANK = r"\x09\x20"
_WORD = re.compile(r"\s*(?:\w+|\S)")
_ANY = rf"any ::= [^{_CONTROL}]"
_REPLY = re.compile(r"[`*\s]*(?:line\s+)?(\d{1,7})\s*[`*]*\s*[:|][ \t]*(\S.*)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class LineTask:
    """A stretch of `path` that begins at line `first` (from 1), and what is wrong, as tests and people say it.

    `suspects` are the numbers of the lines that may be written anew; none means every line. Blank ones and long ones
    may not be.
    """

    path: str
    first: int
    lines: tuple[str, ...]
    failure: str = ""
    issue: str = ""
    suspects: tuple[int, ...] = ()

    def text(self, number: int) -> str:
        """The line of that number, without indentation. Raises IndexError if it is not shown."""
        if number < self.first:
            raise IndexError(number)
        return replace_surrogates(self.lines[number - self.first].strip())

    def indentation(self, number: int) -> str:
        """The blanks before that text."""
        line = self.lines[number - self.first]
        return line[: len(line) - len(line.lstrip())]

    @property
    def offered(self) -> tuple[int, ...]:
        """The numbers that a reply may name, in order."""
        shown = range(self.first, self.first + len(self.lines))
        return tuple(n for n in shown if 0 < len(self.text(n)) <= LONGEST and (not self.suspects or n in self.suspects))


@dataclass(frozen=True, slots=True)
class LineEdit:
    """A reply: the line's number and its new text, without indentation."""

    number: int
    text: str


def messages(task: LineTask) -> tuple[Message, ...]:
    """The conversation that asks for a line."""
    return Message("system", _SYSTEM), Message("user", question(task))


def render(task: LineTask, speaker: Dialect, at: int | None = None) -> Prompt:
    """The prompt, a few hundred tokens; thinking is off and the reply begins with its answer.

    With `at` the answer holds the lines shown before that one already. An engine that only chats cannot go on there.
    """
    prompt = speaker.render(messages(task), (), ThinkRequest.OFF, WHY)
    if at is None:
        return prompt
    before = Piece(_numbered(task.first, task.lines[: at - task.first]), trusted=False)
    opening = replace(prompt.opening, text=prompt.opening.text + before.inert)
    return replace(prompt, opening=opening, pieces=(*prompt.pieces, before))


def question(task: LineTask) -> str:
    """What the user's turn says of a task."""
    parts = [f"{task.path}:\n{_numbered(task.first, task.lines).rstrip()}"]
    if task.issue.strip():
        parts.append(f"The issue: {_head(task.issue, _ISSUE)}")
    if task.failure.strip():
        parts.append(f"The test fails:\n{_head(task.failure, _FAILURE)}")
    parts.append("Which line is wrong, and how must it read?")
    return "\n\n".join(parts)


def _numbered(first: int, lines: Sequence[str]) -> str:
    return replace_surrogates(
        "".join(f"{number}: {line.rstrip()[:LONGEST]}\n" for number, line in enumerate(lines, first))
    )


def write(edit: LineEdit) -> str:
    """The reply's answer as a model should give it."""
    return f"{edit.number}: {edit.text.rstrip()}"


def parse(answer: str) -> LineEdit | None:
    """The edit that an answer names in its first line that has the form, or None. A fence around it is looked past."""
    found = next((match for line in answer.splitlines() if (match := _REPLY.fullmatch(line))), None)
    if found is None:
        return None
    return LineEdit(int(found[1]), found[2].strip())


def read(prompt: Prompt, written: str) -> LineEdit | None:
    """The edit in what a model wrote behind a prompt."""
    parser = dialect(prompt.dialect).parser()
    parser.feed(prompt.opening.text)
    opened = len(parser.reply.answer)
    parser.feed(written)
    parser.close()
    return parse(parser.reply.answer[opened:])


def grammar(task: LineTask, part: int | None = None) -> str:
    """GBNF for the reply: one of the numbers offered, and a line that does not begin as the one that stands there is.

    With `part`, from 0 up to `PARTS`, it is the same as that line up to there, and no further than through that part.

    Raises:
        ValueError: nothing is offered.
    """
    if not task.offered:
        raise ValueError("there is no line to write anew: all that are shown are blank or too long")
    choices = " | ".join(
        f"{_literal(f'{number}: {task.indentation(number)}')} line-{number}" for number in task.offered
    )
    lines = "".join(_other(f"line-{number}", escape(task.text(number)), part) for number in task.offered)
    return f'root ::= ({choices}) "\\n"?\n{lines}rest ::= any{{0,{LONGEST}}}\n{_ANY}\n'


def _other(name: str, text: str, part: int | None) -> str:
    """Rules for a line that leaves `text` before its end, or before the end of a part of it.

    A small model that may copy a line does little else, and if it must not stop there it adds a comment: so it may not
    come that far, nor begin with one. Rule number i stands behind the first i characters: another one follows, or the
    same one, or nothing.
    """
    begin, end = (0, len(text)) if part is None else _span(text, part)
    rules = [f"{name} ::= {_literal(text[:begin])} {name}-{begin}\n"]
    for index in range(begin, end):
        blank = _BLANK if index == 0 else ""
        comment = "#" if text[0] != "#" else ""
        follow = f" | {_code(text[index])} {name}-{index + 1}" if index + 1 < end else ""
        rules.append(
            f"{name}-{index} ::= ({_another(text[index], blank + comment)} rest{follow}){'?' if index else ''}\n"
        )
    return "".join(rules)


def _span(text: str, part: int) -> tuple[int, int]:
    """Where a part of a line begins and ends; parts hold as many words and signs, and short lines have fewer parts."""
    starts = [match.start() for match in _WORD.finditer(text)] + [len(text)]
    words = len(starts) - 1
    first = min(words * part // PARTS, words - 1)
    return starts[first], starts[max(first + 1, words * (part + 1) // PARTS)]


def _literal(text: str) -> str:
    return " ".join(map(_code, text))


def _code(character: str) -> str:
    return f'"\\U{ord(character):08X}"'


def _another(character: str, blank: str = "") -> str:
    return f"[^\\U{ord(character):08X}{blank}{_CONTROL}]"


def _head(text: str, most: int) -> str:
    text = text.strip()
    return text if len(text) <= most else f"{text[:most].rstrip()} …"
