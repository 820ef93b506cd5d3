"""How a repository words its commits, read from the messages of those it has."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum

from assistant.chinese import has_chinese

_FEW = 3
"""Commits below which there is no style to speak of (our choice)."""
_TYPES = "build|chore|ci|docs?|feat|fix|hotfix|bugfix|perf|refactor|revert|style|tests?|wip"
_CONVENTIONAL = re.compile(rf"(?P<type>{_TYPES})(?:\((?P<scope>[^()\s]+)\))?!?(?P<colon>[:：] ?)", re.IGNORECASE)
_EMOJI = re.compile(r"(?P<emoji>:[a-z0-9_+-]+:|[\u2190-\u2bff\U0001f000-\U0001faff]\ufe0f?)\s*")
_TICKET = re.compile(r"(?P<open>[\[(]?)(?P<key>[A-Z][A-Z0-9]+-|gh-|GH-|bpo-|#)\d+(?P<close>[\])]?[:：]?\s+)")
_AREA = re.compile(r"(?P<area>[a-z0-9_.][\w./-]*): ")
_SIGNED = re.compile(r"^Signed-off-by: .+<.+>$", re.MULTILINE)
_KANA = re.compile(r"[\u3040-\u30ff]")
_STOP = re.compile(r"[.。]$")
_FIXES = ("fix", "bugfix", "hotfix")
_VERBS = re.findall(
    r"\w+",
    "add allow avoid bump change check clean convert correct create delete disable document enable ensure extend fix "
    "handle implement improve introduce merge move pass prevent refactor remove rename replace return revert show "
    "simplify support test update use",
)
_IRREGULAR = {"make": "made", "build": "built", "write": "wrote", "drop": "dropped", "stop": "stopped"}


class Mood(IntEnum):
    """The form of the verb: fix, fixed, fixes, fixing."""

    IMPERATIVE = 0
    PAST = 1
    PRESENT = 2
    PARTICIPLE = 3


@dataclass(frozen=True, slots=True)
class Style:
    """What most messages have in common.

    `kind` is the type of conventional commits for a bug's fix, `scopes` those in use where most commits have one, and
    `colon` what stands behind; `emoji` that of a bug's fix; `ticket` what stands before, with {} for its number;
    `areas` are parts of the repository that subjects begin with. `bodies` says that commits often have one.
    """

    kind: str = ""
    colon: str = ": "
    scopes: frozenset[str] = frozenset()
    emoji: str = ""
    ticket: str = ""
    areas: frozenset[str] = frozenset()
    mood: Mood = Mood.IMPERATIVE
    capital: bool = True
    stop: bool = False
    chinese: bool = False
    bodies: bool = True
    signed: bool = False


def style_of(messages: Sequence[str]) -> Style:
    """The style of these messages, by majority; a plain English one where there are too few."""
    subjects = [message.splitlines()[0].strip() for message in messages if message.strip()]
    if len(subjects) < _FEW:
        return Style()
    ticket, subjects = _tickets(subjects)
    emoji, subjects = _emojis(subjects)
    kinds = [found for subject in subjects if (found := _CONVENTIONAL.match(subject))]
    conventional = _most(kinds, subjects)
    areas = [found["area"] for subject in subjects if (found := _AREA.match(subject))]
    plain = [_unprefixed(subject) for subject in subjects]
    return Style(
        kind=_kind(kinds) if conventional else "",
        colon=_common(found["colon"] for found in kinds) if conventional else ": ",
        scopes=_scopes(kinds) if conventional else frozenset(),
        emoji=emoji,
        ticket=ticket,
        areas=frozenset(areas) if not conventional and _most(areas, subjects) else frozenset(),
        mood=_mood(plain),
        capital=_capital(plain),
        stop=_share(plain, lambda text: bool(_STOP.search(text))),
        chinese=_share(plain, lambda text: has_chinese(text) and not _KANA.search(text)),
        bodies=_bodies(messages),
        signed=_share(messages, lambda message: bool(_SIGNED.search(message))),
    )


def ticket_in(texts: Sequence[str], ticket: str) -> str:
    """The prefix `ticket` with the number that is named first in these texts; empty where none is."""
    key = re.sub(r"^[\[(]", "", ticket.partition("{}")[0])
    for text in texts:
        if found := re.search(rf"(?<![A-Za-z0-9]){re.escape(key)}(\d{{1,9}})(?!\d)", text, re.IGNORECASE):
            return ticket.replace("{}", found[1])
    return ""


def in_mood(verb: str, mood: Mood) -> str:
    """The form of a verb: `correct`, `corrected`, `corrects`, `correcting`."""
    stem = verb.removesuffix("e")
    match mood:
        case Mood.IMPERATIVE:
            return verb
        case Mood.PAST:
            return _IRREGULAR.get(verb) or (f"{verb[:-1]}ied" if verb.endswith("y") else f"{stem}ed")
        case Mood.PRESENT:
            return f"{verb[:-1]}ies" if verb.endswith("y") else f"{verb}{'es' if verb.endswith(('x', 's')) else 's'}"
        case Mood.PARTICIPLE:
            return f"{stem}ing"


def _forms() -> dict[str, Mood]:
    return {in_mood(verb, mood): mood for verb in (*_VERBS, *_IRREGULAR) for mood in Mood}


def _tickets(subjects: Sequence[str]) -> tuple[str, list[str]]:
    """The form of tickets in front, where most have one, and the subjects without them."""
    found = [match for subject in subjects if (match := _TICKET.match(subject))]
    bare = [_TICKET.sub("", subject, count=1) if _TICKET.match(subject) else subject for subject in subjects]
    if not _most(found, subjects):
        return "", bare
    return _common(f"{match['open']}{match['key']}{{}}{match['close']}" for match in found), bare


def _emojis(subjects: Sequence[str]) -> tuple[str, list[str]]:
    """The sign of a bug's fix, in the form in use, where most begin with a sign; the subjects without them."""
    found = [match["emoji"] for subject in subjects if (match := _EMOJI.match(subject))]
    bare = [_EMOJI.sub("", subject, count=1) if _EMOJI.match(subject) else subject for subject in subjects]
    if not _most(found, subjects):
        return "", bare
    return ":bug:" if _share(found, lambda sign: sign.startswith(":")) else "🐛", bare


def _unprefixed(subject: str) -> str:
    for pattern in (_CONVENTIONAL, _AREA, _EMOJI):
        if found := pattern.match(subject):
            return subject[found.end() :].strip()
    return subject


def _kind(kinds: Sequence[re.Match[str]]) -> str:
    used = Counter(found["type"] for found in kinds)
    fixes = [name for name, _ in used.most_common() if name.lower() in _FIXES]
    capital = _share([*used.elements()], lambda name: name[0].isupper())
    return fixes[0] if fixes else "Fix" if capital else "fix"


def _scopes(kinds: Sequence[re.Match[str]]) -> frozenset[str]:
    scopes = [found["scope"] for found in kinds if found["scope"]]
    return frozenset(scopes) if _most(scopes, kinds) else frozenset()


def _mood(subjects: Sequence[str]) -> Mood:
    forms = _forms()
    used = Counter(forms[word] for subject in subjects if (word := subject.partition(" ")[0].lower()) in forms)
    return used.most_common(1)[0][0] if used else Mood.IMPERATIVE


def _capital(subjects: Sequence[str]) -> bool:
    letters = [subject[0] for subject in subjects if subject[:1].isascii() and subject[:1].isalpha()]
    return not _share(letters, str.islower)


def _bodies(messages: Sequence[str]) -> bool:
    """Whether at least one in five has more than a subject and trailers."""
    bare = [_SIGNED.sub("", message).strip() for message in messages]
    return 5 * sum("\n" in message for message in bare) >= len(bare)


def _share(items: Sequence[str], of: Callable[[str], bool]) -> bool:
    return 2 * sum(map(of, items)) > len(items)


def _most(some: Sequence[object], of: Sequence[object]) -> bool:
    return 2 * len(some) > len(of)


def _common(items: Iterable[str]) -> str:
    return Counter(items).most_common(1)[0][0]
