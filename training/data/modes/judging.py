"""The text of a judge: one or two sentences that say why a reply thinks, or does not, and what speaks for it.

The evidence is what the model can know when it writes: what kind of task it is, how large, what the user wishes, and
how often tasks are solved in either mode. Shares of votes stand there as words ("mostly", "seldom") and never as
counts: a model can learn how often tasks like this one succeed, but numbers of tries it could only make up.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence

from assistant.chinese import count_chinese
from model.format import Mode
from training.data.modes.intent import BINDING
from training.data.modes.judging_words import BY_SIZE, BY_TRIES, BY_WISH, ENDS, SHARES, TYPES, UNKNOWN
from training.data.schema import Tags, Votes

FEWEST, MOST = 5, 40
"""Words that a judge's text has, in English; a character of Chinese counts as half a word. Our choice."""
_SHORT, _LONG = 1_200.0, 4_000.0
"""Characters of what a task shows below which it is called short, and above which long; our choice."""
_WORD = re.compile(r"[A-Za-z0-9'’-]+")


def judge_text(rng: random.Random, mode: Mode, tags: Tags, votes: Votes, language: str = "en") -> str:
    """Why a reply to a task with these tags and votes is in that mode; of `FEWEST` to `MOST` words."""
    language = language if language in TYPES else "en"
    what = rng.choice(TYPES[language].get(tags.type, UNKNOWN[language]))
    known = rng.choice(evidence(mode, tags, votes, language))
    said = [what, known, rng.choice(ENDS[language][mode])]
    if rng.random() < 0.5 or _against(mode, votes) or length(_joined(said, language)) > MOST:
        said.pop()
    return _joined(said, language)


def length(text: str) -> int:
    """Words of a text; a character of Chinese is half a one."""
    return len(_WORD.findall(text)) + count_chinese(text) // 2


def share(passed: int, tried: int) -> str:
    """A share as a word: never, seldom (up to a third), half, mostly (from two thirds), always; our choice."""
    if not 0 <= passed <= tried or not tried:
        raise ValueError(f"{passed} of {tried} is no share")
    if passed == 0:
        return "never"
    if passed == tried:
        return "always"
    return "seldom" if 3 * passed <= tried else "mostly" if 3 * passed >= 2 * tried else "half"


def evidence(mode: Mode, tags: Tags, votes: Votes, language: str) -> Sequence[str]:
    """Sentences of which each names what speaks for the mode; the user's wish goes before votes, votes before size."""
    if abs(tags.intent) >= BINDING and (tags.intent > 0) is (mode is Mode.ON):
        return BY_WISH[language][mode]
    if votes.on_tried and votes.off_tried:
        words: Mapping[str, str] = SHARES[language]
        on, off = words[share(votes.on_passed, votes.on_tried)], words[share(votes.off_passed, votes.off_tried)]
        return [each.format(on=on, off=off) for each in BY_TRIES[language][mode, _thought_wins(votes)]]
    return BY_SIZE[language][mode, _size(tags)]


def _against(mode: Mode, votes: Votes) -> bool:
    """Whether the votes speak for the other mode, as they may in the random share; then nothing more is claimed."""
    return bool(votes.on_tried and votes.off_tried) and _thought_wins(votes) is (mode is Mode.OFF)


def _thought_wins(votes: Votes) -> bool:
    """Whether thinking solved more, beyond the difference that means nothing."""
    return votes.on_passed / votes.on_tried - votes.off_passed / votes.off_tried > votes.delta


def _size(tags: Tags) -> str:
    hunks, shown = tags.measures.get("hunks", 1.0), tags.measures.get("context", 0.0)
    if hunks > 1 or shown > _LONG or tags.difficulty == "hard":
        return "long"
    return "short" if 0 < shown <= _SHORT and tags.difficulty == "easy" else "plain"


def _joined(sentences: Sequence[str], language: str) -> str:
    return ("" if language == "zh" else " ").join(sentences)
