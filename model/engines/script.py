"""What the scripted server plays: lines of JSON, taken in order, and the part of a reply that an opening leaves."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import takewhile
from pathlib import Path
from typing import Any

from model.dialects import dialect
from model.format import Mode, Reply, Segment

_WORD = re.compile(r"\w+|[^\w\s]")


@dataclass(frozen=True, slots=True)
class ScriptLine:
    """One thing the server does.

    reply: text in KAT's format, beginning inside the judge.
    match: a regular expression that the prompt must hold; None fits every prompt.
    times: how often the line may be used; 0 is for ever.
    delay, pause: seconds before the first byte, and between two chunks.
    chunk, wire: characters in an event, and bytes in one write to the socket (None: a whole event).
    cut_after: characters after which the connection is dropped.
    status, body, retry_after: an error instead of a reply, with a Retry-After of so many seconds.
    raw: bytes, written as Latin-1, instead of events.
    html: a web page instead of a reply.
    """

    reply: str = ""
    match: str | None = None
    times: int = 1
    delay: float = 0.0
    pause: float = 0.0
    chunk: int | None = None
    wire: int | None = None
    cut_after: int | None = None
    status: int = 200
    body: Any = None
    retry_after: float | None = None
    raw: str | None = None
    html: bool = False


_KEYS = tuple(field.name for field in fields(ScriptLine))


def read_line(data: Mapping[str, Any], where: str = "the script") -> ScriptLine:
    """A line from its JSON object.

    Raises:
        ValueError: a key does not exist, or `match` is no regular expression; the message begins with `where`.
    """
    if not isinstance(data, Mapping):
        raise ValueError(f"{where}: a line is a JSON object")  # noqa: TRY004
    unknown = [key for key in data if key not in _KEYS]
    if unknown:
        raise ValueError(f"{where}: there is no key {unknown[0]!r}; the keys are {', '.join(_KEYS)}")
    line = ScriptLine(**data)
    try:
        re.compile(line.match or "")
    except re.error as error:
        raise ValueError(f"{where}: {line.match!r} is no regular expression: {error}") from None
    return line


def read_script(path: Path) -> list[ScriptLine]:
    """All lines of a JSONL file; blank lines and lines that begin with # are skipped. Raises ValueError, OSError."""
    lines = []
    for number, text in enumerate(path.read_text("utf-8").splitlines(), 1):
        if not text.strip() or text.lstrip().startswith("#"):
            continue
        where = f"{path} line {number}"
        try:
            data = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"{where}: not valid JSON: {error.msg}") from None
        lines.append(read_line(data, where))
    return lines


class Script:
    """Lines and how often each was used. Safe to use from several threads."""

    def __init__(self, lines: Iterable[ScriptLine | Mapping[str, Any]]) -> None:
        self._lines = [line if isinstance(line, ScriptLine) else read_line(line) for line in lines]
        self._used = [0] * len(self._lines)
        self._lock = threading.Lock()

    def take(self, prompt: str) -> ScriptLine | None:
        """The first line that is not used up and fits, or None."""
        with self._lock:
            for index, line in enumerate(self._lines):
                if line.times and self._used[index] >= line.times:
                    continue
                if line.match is None or re.search(line.match, prompt):
                    self._used[index] += 1
                    return line
        return None

    def add(self, line: ScriptLine | Mapping[str, Any]) -> None:
        """Put one more line at the end."""
        with self._lock:
            self._lines.append(line if isinstance(line, ScriptLine) else read_line(line))
            self._used.append(0)


def words(text: str) -> list[str]:
    """What the scripted server counts as tokens."""
    return _WORD.findall(text)


def common_prefix(first: Sequence[str], second: Sequence[str]) -> int:
    """How many items two sequences share from the start."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, second, strict=False)))


def parse(text: str) -> Reply:
    """The reply that a line's text means."""
    parser = dialect("kat").parser()
    parser.feed(text)
    parser.close()
    return parser.reply


def forced(reply: Reply, mode: Mode) -> Reply:
    """The reply as a model would have given it in that mode; a thought that is missing is empty."""
    return replace(reply, mode=mode, think=reply.think if mode is Mode.ON else "")


def behind(text: str, opening: str, dialect_name: str) -> str:
    """What follows `opening` when `text`, a reply in KAT's format, is given by a model of that dialect.

    Without an opening KAT's text is sent as it stands, so a script may hold malformed replies, and so is the rest of a
    reply that begins with the opening. Behind another one the reply is written anew: judge and mode are the opening's,
    and a segment that stands open there is continued.
    """
    speaker = dialect(dialect_name)
    as_it_stands = text if dialect_name == "kat" else speaker.write(parse(text))
    if as_it_stands.startswith(opening):
        return as_it_stands.removeprefix(opening)
    parser = speaker.parser()
    parser.feed(opening)
    segment, opened, reply = parser.segment, parser.reply, parse(text)
    held = _held(opening, opened.answer if segment is Segment.ANSWER else opened.think)
    if segment is Segment.JUDGE:
        reply = replace(reply, judge=_continued(opened.judge, reply.judge))
    elif opened.judge:
        reply = replace(reply, judge=opened.judge)
    if segment is Segment.THINK:
        reply = replace(reply, mode=Mode.ON, think=_continued(opened.think + held, reply.think))
    elif segment is Segment.ANSWER:
        mode = opened.mode or Mode.OFF
        reply = replace(reply, mode=mode, think=opened.think, answer=_continued(opened.answer + held, reply.answer))
    whole = speaker.write(reply)
    return whole.removeprefix(opening)


def _held(opening: str, text: str) -> str:
    """The line breaks behind a segment's text, which a parser holds: they might belong to the closing tag."""
    end = opening[len(opening.rstrip("\n")) :]
    return end if text and not text.endswith("\n") else ""


def _continued(opened: str, scripted: str) -> str:
    return scripted if scripted.startswith(opened) else opened + scripted
