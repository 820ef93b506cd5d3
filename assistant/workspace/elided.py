"""Lines that stand for others, which must never be written into a file."""

from __future__ import annotations

import re
from collections.abc import Sequence

from assistant.workspace.errors import EditError
from assistant.workspace.indent import indent_of

_DOTS = r"(?:\.{3,}|…)"
_OPEN = r"(?:#+|//+|/\*+|<!--|--+|;+|%+|\(\*|\{/\*)"
_CLOSE = r"(?:\*+/\}?|-->|\*\))"
_PARTS = r"(?:code|file|functions?|methods?|class(?:es)?|imports?|lines?|tests?|content|implementation|logic|parts?)"
_WORDS = (
    rf"(?:(?:rest|remainder) of|(?:remaining|existing|other|previous|same) (?:\w+ )?{_PARTS}|unchanged|omitted"
    r"|snip(?:ped)?|elided|truncated|as before|same as (?:before|above))"
)
_LAST = rf"(?:unchanged|here|same|before|above|{_PARTS})"
_FORMS = (
    rf"{_OPEN}?\s*[\[(<]?\s*{_DOTS}\s*[\])>]?\s*{_CLOSE}?",
    rf"{_OPEN}?\s*[\[(<]?\s*{_DOTS}[^.…]{{1,60}}{_DOTS}\s*[\])>]?\s*{_CLOSE}?",
    rf"{_OPEN}?\s*[\[(<]?\s*{_DOTS}.*\b{_WORDS}\b.*",
    rf"(?:{_OPEN}\s*|[\[(<]).*\b{_WORDS}\b.*{_DOTS}.*",
    rf"{_OPEN}\s*[\[(<]?\s*(?:the |all )?{_WORDS}\b[^.]*{_LAST}\s*[\])>]?\s*{_CLOSE}?",
    rf"{_OPEN}\s*(?:unchanged|omitted|snip(?:ped)?)\s*{_CLOSE}?",
)
_LONGEST = 200
_ELIDED = re.compile("|".join(_FORMS), re.IGNORECASE)


def is_elision(line: str) -> bool:
    """Whether a line looks as if it stood for others: ``...``, or a comment such as ``# ... existing code ...``."""
    return len(line) <= _LONGEST and bool(_ELIDED.fullmatch(line.strip()))


def refuse_elided(text: str, old: str, new: str) -> None:
    """Raise `EditError` where `old` or `new` leaves out lines, unless the file really holds such a line there."""
    if not any(map(is_elision, (*old.split("\n"), *new.split("\n")))):
        return
    held = {line.strip() for line in text.split("\n")}
    for line in old.split("\n"):
        if is_elision(line) and line.strip() not in held:
            raise EditError(_refusal("old", line))
    kept = {line.strip() for line in old.split("\n")}
    lines = new.split("\n")
    for number, line in enumerate(lines):
        if is_elision(line) and line.strip() not in kept and not (line.strip() in held and _is_body(lines, number)):
            raise EditError(_refusal("new", line))


def _is_body(lines: Sequence[str], number: int) -> bool:
    """Whether ``...`` is the whole body of a Python block."""
    above = next((line for line in reversed(lines[:number]) if line.strip()), "")
    below = next((line for line in lines[number + 1 :] if line.strip()), "")
    deep = indent_of(lines[number])
    body = lines[number].strip() == "..." and (not above or above.rstrip().endswith((":", '"""')))
    return body and (not below or len(indent_of(below)) < len(deep))


def _refusal(which: str, line: str) -> str:
    return (
        f"The {which} text leaves out lines ({line.strip()[:60]!r} is not in the file there); write every line out, or "
        "make several smaller edits. A body of three dots goes behind its colon."
    )
