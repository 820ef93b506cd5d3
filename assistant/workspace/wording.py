"""New text with the file's own quotes, dashes and line endings, where the old text shows what those are."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from itertools import pairwise

from assistant.workspace.errors import EditError
from assistant.workspace.matching import newlines, plain

_STRETCH = 4
_COMPARED = 1_000_000
_TOLD_APART = frozenset("\"'-")
_UNTOLD = (
    "The old text matches only with other quotes or dashes than the file has, and it cannot be told which ones the new "
    "text should have; copy the lines from the file as they are"
)


def as_in_file(old: str, new: str, real: str, ending: str) -> str:
    """`new`, written beside `old`, as it must stand in a file that has `real` in the place of `old`.

    What both have in common stays as it is in the file. `ending` is for new lines where `real` has none. Raises
    `EditError` where it cannot be told what the file would have.
    """
    new = newlines(new)
    forms = [real[a:b] for a, b in _pieces(real)]
    if forms == list(old):
        return new
    agreed = _agreed(old, new, forms)
    lines, known = _lines(old, forms), _known(old, forms)
    endings = {form for form, char in zip(forms, old, strict=True) if char == "\n"}
    end = endings.pop() if len(endings) == 1 else ending
    written, at = [], 0
    for line in new.split("\n"):
        same = lines.get(line, set())
        chars = (agreed.get(at + i) or _character(char, known) for i, char in enumerate(line))
        written.append(next(iter(same)) if len(same) == 1 else "".join(chars))
        at += len(line) + 1
        written.append(agreed.get(at - 1, end))
    return "".join(written[:-1])


def _agreed(old: str, new: str, forms: list[str]) -> dict[int, str]:
    """The places in `new` of what it surely has from `old`, and their forms: beginning, end, and unique stretches."""
    head = _common(old, new)
    tail = _common(old[head:][::-1], new[head:][::-1])
    found = {at: forms[at] for at in range(head)}
    found |= {len(new) - back: forms[len(old) - back] for back in range(1, tail + 1)}
    for block in _blocks(old[head : len(old) - tail], new[head : len(new) - tail]):
        there, here = head + block.a, head + block.b
        text = old[there : there + block.size]
        if block.size >= _STRETCH and occurs_once(old, text) and occurs_once(new, text):
            found |= {here + i: forms[there + i] for i in range(1, block.size - 1)}
    return found


def _blocks(old: str, new: str) -> list[difflib.Match]:
    if len(old) * len(new) > _COMPARED:
        return []
    return difflib.SequenceMatcher(None, old, new, autojunk=False).get_matching_blocks()


def occurs_once(text: str, part: str) -> bool:
    """Whether `part` stands in `text` in one place only, overlapping ones counted."""
    first = text.find(part)
    return first >= 0 and text.find(part, first + 1) < 0


def _common(one: str, other: str) -> int:
    """How many characters both begin with."""
    pairs = zip(one, other, strict=False)
    return next((at for at, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def _pieces(real: str) -> Iterator[tuple[int, int]]:
    """The bounds in `real` of each character of its plain form."""
    whole = plain(real)
    bounds = [whole.offset(position) for position in range(len(whole.text) + 1)]
    return pairwise(bounds)


def _known(old: str, forms: list[str]) -> dict[str, set[str]]:
    known: dict[str, set[str]] = {}
    for char, form in zip(old, forms, strict=True):
        if char != "\n":
            known.setdefault(char, set()).add(form)
    return known


def _lines(old: str, forms: list[str]) -> dict[str, set[str]]:
    """The whole lines of the old text, and what each is in the file."""
    lines: dict[str, set[str]] = {}
    at = 0
    for line in old.split("\n"):
        lines.setdefault(line, set()).add("".join(forms[at : at + len(line)]))
        at += len(line) + 1
    return lines


def _character(char: str, known: dict[str, set[str]]) -> str:
    """One character of text that is new. Raises `EditError` where the old text shows that it may be another."""
    forms = known.get(char, set())
    keyboard = char.isascii()
    if keyboard:
        if char in _TOLD_APART and forms - {char}:
            raise EditError(_UNTOLD)
        return char
    if plain(char).text == char:
        return char
    if len(forms) == 1:
        return next(iter(forms))
    altered = any(not c.isascii() and f != {c} for c, f in known.items())
    if forms or altered:
        raise EditError(_UNTOLD)
    return char
