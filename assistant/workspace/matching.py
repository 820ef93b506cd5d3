"""Where in a text the lines are that an edit means: exactly there, or there but for how they were copied; else nowhere.

The ladder has three rungs, each taken only where it finds one place: the text itself; the text but for line endings,
typographic characters and copied line numbers; whole lines but for the white space around them.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from assistant.workspace.errors import EditError
from assistant.workspace.nearest import ambiguous

_PLAIN = str.maketrans(
    {
        **dict.fromkeys("“”„‟″", '"'),
        **dict.fromkeys("‘’‚‛′", "'"),
        **dict.fromkeys("‐‑‒–—―−", "-"),
        **dict.fromkeys("\u00a0\u2007\u2009\u202f", " "),
        "\r": "\n",
    }
)
_DECIMAL = re.compile(r"\.\d")
_NUMBER = re.compile(r"[ \t]*(\d+)(?:\t|→| ?[|:]|$)")


@dataclass(frozen=True, slots=True)
class Match:
    """One place: characters `start` to `end` of the text stand for `old`, the wanted text with plain newlines.

    `numbers` says how it was understood where line numbers had been copied with it.
    """

    start: int
    end: int
    old: str
    numbers: Numbers | None = None


@dataclass(frozen=True, slots=True)
class Numbers:
    """Line numbers that were copied: the first of them, and whether a space stood behind each."""

    first: int
    spaced: bool


@dataclass(frozen=True, slots=True)
class Plain:
    """A text with plain newlines and characters; `offset` finds the place of a character in the text it was made of."""

    text: str
    returns: tuple[int, ...]

    def offset(self, position: int) -> int:
        """The place in the original of character `position` of the plain text."""
        return position + bisect_right(self.returns, position - 1)

    def line(self, position: int) -> int:
        """The number, from 1, of the line that a character of the plain text is in."""
        return self.text.count("\n", 0, position) + 1


def plain(text: str) -> Plain:
    """`text` with every line ending as a newline, and typographic quotes, dashes and spaces as those of a keyboard."""
    returns = tuple(found.start() - number for number, found in enumerate(re.finditer("\r\n", text)))
    return Plain(text.replace("\r\n", "\n").translate(_PLAIN), returns)


def exactly(text: str, old: str) -> Match | None:
    """The one place where `old` stands. Raises `EditError` where there are several, or it ends within a word."""
    places = occurrences(text, old)
    if not places:
        return None
    _alone(places, text)
    _alone(_as_shown(text, old), newlines(text))
    start, end = places[0], places[0] + len(old)
    if _within_ending(text, start) or _within_ending(text, end):
        return None
    if _within_word(text, start) or _within_word(text, end):
        line = _line(text, start)
        raise EditError(
            f"The old text begins or ends within a word of line {line}; copy whole words, best whole lines."
        )
    return Match(start, end, old)


def everywhere(text: str, old: str) -> list[Match]:
    """Every place where `old` stands. Raises `EditError` where some overlap, or only some are parts of words."""
    starts = [found.start() for found in re.finditer(re.escape(old), text)]
    if any(-1 < text.find(old, at + 1) < at + len(old) for at in starts):
        raise EditError(
            f"The places of the old text overlap, first in line {_line(text, starts[0])}; edit each of them."
        )
    parts = [at for at in starts if _within_word(text, at) or _within_word(text, at + len(old))]
    if parts and len(parts) < len(starts):
        lines = ", ".join(dict.fromkeys(str(_line(text, at)) for at in parts[:10]))
        raise EditError(f"The old text also stands within words, in line {lines}; add what is around it to tell them.")
    return [Match(at, at + len(old), old) for at in starts]


def nearly(text: str, old: str, slack: int = 0) -> Match | None:
    """The one place that differs from `old` in line endings, typographic characters or copied numbers only.

    Those numbers must be the place's, or at most `slack` lines off. Raises `EditError` where there are several.
    """
    whole, raw = plain(text), newlines(old)
    wanted = raw.translate(_PLAIN)
    places = occurrences(whole.text, wanted)
    if not places:
        return _numbered(whole, raw, slack)
    _alone(places, whole.text)
    _without_rival(whole, places[0], wanted)
    start, end = places[0], places[0] + len(wanted)
    if _within_word(whole.text, start) or _within_word(whole.text, end):
        return None
    return Match(whole.offset(start), whole.offset(end), raw)


def newlines(text: str) -> str:
    """`text` with plain newlines."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def without_numbers(text: str) -> list[tuple[int, str]] | None:
    """The lines and their numbers where each begins with one, each one more than that before; else None."""
    found = [_NUMBER.match(line) for line in text.strip("\n").split("\n")]
    pairs = [(int(match[1]), match.string[match.end() :]) for match in found if match]
    if len(pairs) < len(found) or any(b[0] - a[0] != 1 for a, b in pairwise(pairs)):
        return None
    return pairs


def renumbered(new: str, numbers: Numbers) -> str:
    """`new` without the numbers that were copied into it too. Raises `EditError` where only some lines have one."""
    lines = new.split("\n")
    found = [_NUMBER.match(line) for line in lines]
    having = [match for match, line in zip(found, lines, strict=True) if match and line.strip()]
    if not having:
        return "\n".join(lines)
    if len(having) < sum(bool(line.strip()) for line in lines) or int(having[0][1]) != numbers.first:
        raise EditError("The old and the new text hold line numbers, which do not agree; write both without them.")
    bare = [match.string[match.end() :] if match else "" for match in found]
    return "\n".join(line.removeprefix(" ") if numbers.spaced else line for line in bare)


def occurrences(text: str, wanted: str) -> list[int]:
    """The places of `wanted`, overlapping ones too, up to 1,000."""
    found, at = list[int](), text.find(wanted)
    while at >= 0 and len(found) < 1_000:
        found.append(at)
        at = text.find(wanted, at + 1)
    return found


def same_lines(lines: Sequence[str], wanted: Sequence[str]) -> int | None:
    """Where `wanted` stands among `lines`, white space around each aside. Raises `EditError` where that is not once."""
    found = _bare_places(lines, wanted)
    if len(found) > 1:
        raise EditError(ambiguous([index + 1 for index in found]))
    same = all(line.strip() == lines[at].strip() for first in found for at, line in enumerate(wanted, first))
    return found[0] if found and same else None


def _bare_places(lines: Sequence[str], wanted: Sequence[str]) -> list[int]:
    """Where lines stand that differ from `wanted` in white space around them and typographic characters at most."""
    bare, target = ([line.strip().translate(_PLAIN) for line in each] for each in (lines, wanted))
    last = len(bare) - len(target)
    return [i for i in range(last + 1) if bare[i] == target[0] and bare[i : i + len(target)] == target]


def _numbered(whole: Plain, old: str, slack: int) -> Match | None:
    """A match of whole lines behind the numbers that were copied with them."""
    pairs = without_numbers(old)
    if pairs is None:
        return None
    lines, tight = whole.text.split("\n"), [line for _, line in pairs]
    loose = [line.removeprefix(" ") for line in tight]
    found = [(at, wanted is loose) for wanted in (tight, loose) for at in _standing(lines, wanted)]
    places = sorted({at for at, _ in found})
    if len(places) > 1:
        raise EditError(ambiguous([at + 1 for at in places]))
    if not places or abs(pairs[0][0] - places[0] - 1) > slack:
        return None
    start = sum(len(line) + 1 for line in lines[: places[0]])
    raw = "\n".join(loose if found[0][1] else tight)
    return Match(whole.offset(start), whole.offset(start + len(raw)), raw, Numbers(pairs[0][0], found[0][1]))


def _standing(lines: Sequence[str], wanted: Sequence[str]) -> list[int]:
    """Where these lines stand, whole."""
    target = [line.translate(_PLAIN) for line in wanted]
    if not any(line.strip() for line in target):
        return []
    last = len(lines) - len(target)
    return [i for i in range(last + 1) if lines[i] == target[0] and lines[i : i + len(target)] == target]


def _as_shown(text: str, old: str) -> list[int]:
    """Where `old` stands for one who cannot tell line endings apart, nor whether the last line has one."""
    if "\n" not in old:
        return []
    shown, wanted = newlines(text), newlines(old)
    places = occurrences(shown, wanted)
    start = len(shown) - len(wanted) + 1
    if shown.endswith(wanted[:-1]) and wanted.endswith("\n") and start not in places:
        places.append(start)
    return places


def _without_rival(whole: Plain, place: int, wanted: str) -> None:
    """Raise `EditError` where other lines would match but for their white space."""
    lines = wanted.strip("\n").split("\n")
    first = whole.text.count("\n", 0, place) + len(wanted) - len(wanted.lstrip("\n"))
    rivals = [at for at in _bare_places(whole.text.split("\n"), lines) if at != first]
    if rivals:
        raise EditError(ambiguous(sorted(at + 1 for at in (first, *rivals))))


def _alone(places: Sequence[int], text: str) -> None:
    if len(places) > 1:
        raise EditError(ambiguous([text.count("\n", 0, place) + 1 for place in places[:11]], len(places)))


def _within_word(text: str, at: int) -> bool:
    """Whether a word or number goes on across this place, or a character that is made of several."""
    if not 0 < at < len(text):
        return False
    before, after = text[at - 1], text[at]
    if unicodedata.combining(after):
        return True
    decimal = before.isdigit() and _DECIMAL.match(text, at) is not None
    return decimal or (_is_of_word(before) and _is_of_word(after))


def _is_of_word(char: str) -> bool:
    """Whether words are made of it, in a script that puts spaces between them."""
    return char == "_" or char.isdecimal() or char.lower() != char.upper()


def _within_ending(text: str, at: int) -> bool:
    return text[max(0, at - 1) : at + 1] == "\r\n"


def _line(text: str, at: int) -> int:
    return text.count("\n", 0, at) + 1
