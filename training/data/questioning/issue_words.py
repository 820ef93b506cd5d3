"""A commit's message made into what a user would say who wants that commit: without the fix, names and numbers."""

from __future__ import annotations

import random
import re
from collections.abc import Collection, Iterator, Sequence

_NUMBER = re.compile(r"(?:\b(?:gh|bpo|issue|pr)[-\s]?)?#?\(?(?:\b(?:gh|bpo)-|#)\d+\)?", re.IGNORECASE)
_CLOSING = re.compile(
    r"\b(?:fix(?:es|ed)?|clos(?:es?|ed)|resolv(?:es?|ed)|refs?|see(?: also)?|related to|part of|addresses|backport of)"
    r":?\s+(?:(?:issues?|prs?|pull requests?|ticket)\s+)?(?:\w+/\w+)?#\d+(?:\s*(?:,|and|&)\s*#\d+)*\.?",
    re.IGNORECASE,
)
_NOISE = re.compile(
    r"https?://\S+|\b(?=[0-9a-f]*\d)(?=[0-9a-f]*[a-f])[0-9a-f]{7,40}\b|(?<!\S)@[\w-]+|:[a-z_]+:(?!\w)|"
    r"\[(?:\w|[ -]){1,20}\]\s*"
)
_PREFIX = re.compile(
    r"^(?:fix|feat|feature|bug|bugfix|perf|enh|tst|bld|chore|refactor|docs?|test|ci|style)(?:\([^)]*\))?!?:\s*",
    re.IGNORECASE,
)
_SCOPE = re.compile(r"^[\w./-]{1,40}:\s+(?=\S)")
_TRAILER = re.compile(
    r"^(?:[A-Z][\w]*(?:-[\w]+)+|cc|bug|issue|ticket|differential revision|test plan|reviewers?)\s*:", re.IGNORECASE
)
_PICKED = re.compile(r"^\(?(?:cherry[- ]picked from|backported from|this reverts)|^[-*=_]{3,}$|^\* ", re.IGNORECASE)
_HOW = re.compile(
    r"[,;]?\s+(?:by (?:\w+ly )?\w+ing|using|via|with the help of|so we now|instead of relying)\b.*$", re.IGNORECASE
)
_TELLS = re.compile(
    r"^(?:(?:also |so |thus |then |now |simply |just )*(?:use|uses|using|replaced?|call|change[ds]?|move[ds]?|"
    r"rename[ds]?|switch|swap|convert|check|remove[ds]?|delete[ds]?|add(?:ed|s)?|drop|make sure|wrap|return|set|skip|"
    r"pass|refactor)\b|"
    r"this (?:commit|patch|change|pr|mr|fix)|the (?:fix|solution|patch)|we (?:now|should)|"
    r"i (?:added|changed|have|made)|"
    r"instead,?|to fix|fix(?:ed)?\b|thanks|credit|reported by|co-?authored)",
    re.IGNORECASE,
)
_DULL = re.compile(
    r"^(?:wip|typos?|fix(?:es|ed)?|update[sd]?|clean ?up|misc\w*|minor|tests?|fix(?:ed)? tests?|add(?:ed)? tests?|"
    r"more tests?|"
    r"refactor\w*|review\w*|address\w*|lint\w*|format\w*|changes?|improve\w*|tweak\w*|polish\w*|initial|final|again|stuff|"
    r"black|"
    r"ruff|mypy|coverage|oops|nits?|bugs?|bug ?fix(?:es)?|small|some|the|a|and|of|for|in|code|it)(?:\s+|$)",
    re.IGNORECASE,
)
CHORE = re.compile(
    r"^(?:bump|release|prepare (?:for )?release|version|merge|revert|back to development|update changelog|"
    r"(?:update|upgrade|pin) (?:dependenc|requirement|pre-?commit)|\[?pre-commit|v?\d+(?:\.\d+)+)",
    re.IGNORECASE,
)
"""Messages of commits that nobody would ask for."""
_FIXING = re.compile(
    r"^(?:(?:hot|bug)?fix(?:es|ed|ing)?|correct(?:s|ed)?|repair(?:s|ed)?|resolve[sd]?|solve[sd]?)\b[:,]?\s+(.+)$",
    re.IGNORECASE,
)
_REQUEST = re.compile(
    r"^(?:add|allow|support|handle|ensure|make|avoid|prevent|raise|return|accept|implement|introduce|enable|let|"
    r"do not|don't|"
    r"stop|keep|preserve|improve|provide|expose|respect|reject|ignore|validate|treat|show|use|"
    r"remove|check)\b",
    re.IGNORECASE,
)
_LEFT = re.compile(r"[,;:]?\s*\b(?:see(?: also)?|cf\.?|per|introduced (?:in|by)|since)\s*([.!?]?)\s*$", re.IGNORECASE)
_WORD = re.compile(r"[^\W\d_]{2,}")
_NAME = re.compile(r"[A-Za-z_]\w{3,}")
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z`\"'(])")
_MOST = 3
_LONGEST = 600
"""Sentences of a message's body that are kept, and characters of a statement; our choices."""

_BUGS = (
    "There is a bug: {x}.",
    "I ran into this problem: {x}. Please fix it.",
    "Something is wrong here: {x}. Can you find out why and repair it?",
    "Please fix this: {x}.",
    "Bug report: {x}.",
)
_BROKEN = (
    "Something is wrong with {x}. Please look into it and fix it.",
    "{x}: this does not work as it should. Please repair it.",
    "There is a bug that concerns {x}. Can you fix it?",
)
_WISHES = (
    "Please {x}.",
    "Could you do this: {x}?",
    "I would like you to {x}.",
    "Task: {x}.",
)
_OTHERS = (
    "This is wanted: {x}.",
    "Please see to this: {x}.",
    "The goal: {x}. Please implement it.",
)
_HOLDS = (
    "The following should hold, but does not yet:\n{x}\nPlease change the code so that it does.",
    "Please make the code behave like this:\n{x}",
    "Expected behaviour, which is missing or broken at the moment:\n{x}",
)
_NAMED = ("It should be there as {x}.", "Call it {x}.", "Other code expects to find {x}.")


def statement(message: str, new: Collection[str], chance: random.Random) -> str | None:
    """What a user would say; None where the message says nothing. `new` are names that only the fix brings in."""
    subject, _, body = message.strip().partition("\n")
    subject = _subject(subject)
    if not subject or not _says(subject) or _names(subject) & {*new}:
        return None
    words = [_framed(subject, chance), *_kept(body, new)]
    return " ".join(words)[:_LONGEST].strip()


def expected(tests: Sequence[str], chance: random.Random) -> str | None:
    """What a user would say, from the names of tests that are to pass; None where they say nothing."""
    said = [words for name in tests if _says(words := " ".join(name.removeprefix("test").split("_")).strip())]
    if not said:
        return None
    return chance.choice(_HOLDS).format(x="\n".join(f"- {words}" for words in dict.fromkeys(said[:_MOST])))


def named(names: Sequence[str], chance: random.Random) -> str:
    """A sentence that says how something new is to be called."""
    return chance.choice(_NAMED).format(x=" and ".join(f"`{name}`" for name in names))


def _subject(line: str) -> str:
    line = _NOISE.sub("", _CLOSING.sub("", line))
    line = _SCOPE.sub("", _PREFIX.sub("", _NUMBER.sub("", line).strip()).strip())
    return re.sub(r"\s+", " ", _HOW.sub("", line)).strip(" .:;-–,()")


def _says(words: str) -> bool:
    """Whether these are three words or more, those that say nothing not counted."""
    while match := _DULL.match(words):
        words = words[match.end() :]
    return len(_WORD.findall(words)) >= 3 or len(re.findall(r"[\u4e00-\u9fff]", words)) >= 6


def _framed(subject: str, chance: random.Random) -> str:
    if match := _FIXING.match(subject):
        what = match[1]
        return chance.choice(_BUGS if _is_event(what) else _BROKEN).format(x=what)
    if _REQUEST.match(subject):
        return chance.choice(_WISHES).format(x=subject[0].lower() + subject[1:])
    return chance.choice(_OTHERS).format(x=subject)


def _is_event(what: str) -> bool:
    """Whether it tells what goes wrong, and not only where."""
    return (
        re.search(
            r"\b(?:crash|error|exception|bug|fail|wrong|missing|when|not|leak|incorrect|regress|broken|invalid)",
            what,
            re.IGNORECASE,
        )
        is not None
    )


def _kept(body: str, new: Collection[str]) -> Iterator[str]:
    """Sentences of the body that tell of the problem and not of the fix."""
    count = 0
    for paragraph in re.split(r"\n\s*\n", body):
        lines = [line.strip() for line in paragraph.split("\n")]
        if any(line.startswith(("```", ">>>", "- ", "$ ", "@@", "    ")) for line in lines):
            continue
        kept = (line for line in lines if line and not _TRAILER.match(line) and not _PICKED.match(line))
        for sentence in _SENTENCE.split(" ".join(kept)):
            words = _tidied(_NOISE.sub("", _NUMBER.sub("", _CLOSING.sub("", sentence))))
            if count < _MOST and _says(words) and not _TELLS.match(words) and not _names(words) & {*new}:
                count += 1
                yield words if words.endswith((".", "!", "?")) else f"{words}."


def _tidied(text: str) -> str:
    """Without what a reference that is gone leaves behind: empty brackets, and a "see" with nothing to see."""
    return re.sub(r"\s+", " ", _LEFT.sub(r"\1", re.sub(r"\(\s*\)|\[\s*\]", "", text))).strip()


def _names(text: str) -> set[str]:
    return {*_NAME.findall(text)}
