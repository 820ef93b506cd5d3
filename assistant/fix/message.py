"""The message of a commit that mends what failed: what was wrong, and what proves that it no longer is."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from assistant.fix.report import FixReport
from assistant.fix.wording import Style, in_mood, style_of, ticket_in
from assistant.safety.sanitize import sanitize

_WIDTH = 72
_NAMED = 5
"""Tests that a body names (our choice)."""
_HUNK = re.compile(r"^@@ [^@\n]*@@(.*)\n((?:[ +\\-].*\n?)*)", re.MULTILINE)
_DEFINED = re.compile(r"\b(?:def|class|func|function|fn)\s+(?:\([^)]*\)\s*)?([^\W\d]\w*)")
_ODD = re.compile(r"[^\w./:-]+")


@dataclass(frozen=True, slots=True)
class Occasion:
    """Who commits (`Name <address>`), and texts that may name a ticket: of the branch, of the issue."""

    author: str = ""
    texts: tuple[str, ...] = ()


def commit_message(report: FixReport, history: Sequence[str], occasion: Occasion | None = None) -> str:
    """The message for a report's patch, worded as the messages in `history` are. Lines of its body have 72 columns."""
    style, occasion = style_of(history), occasion or Occasion()
    parts = [_subject(report, style, occasion)]
    if style.bodies:
        parts.append(_body(report, chinese=style.chinese))
    if style.signed and occasion.author:
        parts.append(f"Signed-off-by: {' '.join(sanitize(occasion.author).split())}")
    return "\n\n".join(parts) + "\n"


def _subject(report: FixReport, style: Style, occasion: Occasion) -> str:
    prefix = _prefix(report, style, occasion)
    stop = ("。" if style.chinese else ".") if style.stop else ""
    room = _WIDTH - len(prefix) - len(stop)
    texts = _in_chinese(report) if style.chinese else _in_english(report, style)
    text = next((each for each in texts if len(each) <= room), texts[-1][:room].rstrip())
    if not style.chinese and style.capital:
        text = text[0].upper() + text[1:]
    return f"{prefix}{text}{stop}"


def _prefix(report: FixReport, style: Style, occasion: Occasion) -> str:
    ticket = ticket_in(occasion.texts, style.ticket) if style.ticket else ""
    sign = f"{style.emoji} " if style.emoji else ""
    scope = _part(report.files, style.scopes)
    kind = f"{style.kind}{f'({scope})' if scope else ''}{style.colon}" if style.kind else ""
    area = _part(report.files, style.areas)
    return f"{ticket}{sign}{kind}{f'{area}: ' if area else ''}"


def _part(files: Sequence[str], known: frozenset[str]) -> str:
    """The part of the repository that the files lie in, by a name that is in use; empty where there is none."""
    names = [name for path in files for name in _names(path)]
    return next((name for name in names if name in known), "")


def _names(path: str) -> list[str]:
    """What a file may be called, the most exact first."""
    pure = PurePosixPath(path)
    folders = [parent for parent in pure.parents if parent.parts]
    return [path, str(pure.with_suffix("")), pure.name, pure.stem, *(n for p in folders for n in (str(p), p.name))]


def _in_english(report: FixReport, style: Style) -> list[str]:
    """Subjects, the one that says most first."""
    begin = f"{in_mood('correct' if style.kind else 'fix', style.mood)} {_what(report)}"
    count = len(report.failed_before)
    if count == 1:
        return [f"{begin} so that {_test(report.failed_before[0])} passes", begin]
    return [f"{begin} so that {f'{count} tests' if count else 'the tests'} pass", begin]


def _in_chinese(report: FixReport) -> list[str]:
    begin = f"修复 {_what(report, others='等 {} 个文件')}"
    count = len(report.failed_before)
    if count == 1:
        return [f"{begin}，使 {_test(report.failed_before[0])} 通过", begin]
    return [f"{begin}，使{f' {count} 个' if count else ''}测试通过", begin]


def _what(report: FixReport, others: str = "and {} more") -> str:
    """What was changed: the function, if it is one, else the first file."""
    files = [path for path in report.files if path not in _written_first(report)] or [*report.files]
    found = {_function(head.strip(), body) for head, body in _HUNK.findall(report.patch)}
    if len(files) == 1 and len(found) == 1 and not report.own_test and (name := found.pop()):
        return name
    if not files:
        return "the code"
    name = _plain(PurePosixPath(files[0]).name)
    return (
        name
        if len(files) == 1
        else f"{name} {others.format(len(files) if others.startswith('等') else len(files) - 1)}"
    )


def _function(head: str, body: str) -> str:
    """The function that a hunk changes, by the last definition above the change that it is indented under."""
    above = [head]
    for row in body.splitlines():
        if row[:1] != " ":
            under = [line for line in above if _indent(line) < _indent(row[1:])] if row[1:].strip() else above
            found = [name for line in [*under, row[1:]] for name in _DEFINED.findall(line)]
            return str(found[-1]) if found else ""
        above.append(row[1:])
    return ""


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _written_first(report: FixReport) -> set[str]:
    """Files of the test that was written for the issue."""
    return {path for path in report.files if f" b/{path}\n" in report.own_test}


def _body(report: FixReport, *, chinese: bool) -> str:
    failed = [_plain(name.partition("[")[0]) for name in report.failed_before]
    names = [*dict.fromkeys(failed)]
    more = len(names) - _NAMED
    named = ", ".join(names[:_NAMED])
    command = " ".join(sanitize(report.test_command).split())
    if chinese:
        rest = f" 等 {len(names)} 个测试" if more > 0 else ""
        lines = [f"此前失败、现已通过：{named}{rest}。"] if names else []
        lines.append(f"验证命令：{command}")
    else:
        rest = f" and {more} more" if more > 0 else ""
        lines = [f"Failed before and {'passes' if len(names) == 1 else 'pass'} now: {named}{rest}."] if names else []
        lines.append(f"Tested with: {command}")
    return "\n".join(wrapped(line) for line in lines)


def wrapped(text: str) -> str:
    """The text in lines of at most 72 columns; a word that is longer has a line of its own."""
    return textwrap.fill(text, _WIDTH, break_long_words=False, break_on_hyphens=False)


def _test(name: str) -> str:
    """The name of a test without its file and parameters."""
    return _plain(re.split(r"::|\s", name.partition("[")[0].strip())[-1]) or "the test"


def _plain(text: str) -> str:
    """Nothing that a forge would take for a mention, a reference or an order."""
    return _ODD.sub("_", sanitize(text)).strip("_:")
