"""Reasoning that stands in an answer: a heuristic over English and Chinese, for replies that did not think.

Code, quotations and quoted lines are not looked at. One strong mark is enough: a tag of the reply format, or words with
which people think aloud at the beginning of a sentence ("Wait,", "Hmm", "let me think", 让我想想, 等等，). Words that
plain answers have too ("Actually,", "maybe I", 首先…其次…, 不对，) count only where two kinds of them meet. Which marks
these are is our choice; the heuristic misses reasoning that is worded like a report.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

_NOT_PROSE = re.compile(
    r"```.*?(?:```|\Z)|~~~.*?(?:~~~|\Z)|`[^`\n]*`|^[ \t]*>.*$|\"[^\"\n]{1,200}\"|“[^”\n]{1,200}”|「[^」\n]{1,200}」",
    re.DOTALL | re.MULTILINE,
)
_START = r"(?:^|(?<=[.!?…。！？；\n]))[ \t\"'(*_-]*"
"""Where a sentence begins."""
_CLAUSE = r"(?:^|(?<=[.,!?:;…。，！？：；\n]))[ \t*_-]*"
_ORDERED = r"(?:then|and|or|for|until)\b"
"""What follows a "wait," that tells somebody else to."""
_THINKING_ALOUD = (
    r"(?:think|reconsider|re-?think|reason|work (?:this|it|that) (?:out|through)|figure (?:this|it|that) out)"
)


class _Mark(NamedTuple):
    """A sign of reasoning. One of `words` must be there, in lower case, before the pattern is tried: it is slower."""

    words: tuple[str, ...]
    pattern: re.Pattern[str]


def _mark(words: str, pattern: str) -> _Mark:
    return _Mark(tuple(words.split("|")), re.compile(pattern, re.IGNORECASE | re.MULTILINE))


_STRONG = (
    _mark("<judge>|<think|</", r"^[ \t]*<(?:judge|think|think_on|think_off)>|</(?:judge|think)>"),
    _mark(
        "wait",
        rf"{_START}(?:but |no,? |oh,? )?wait(?:,(?! {_ORDERED})| ?(?:…|\.{{3}}|—|!|\. (?:i|that|if)\b))",
    ),
    _mark("hmm", rf"{_START}hmm+\b"),
    _mark("let me ", rf"{_CLAUSE}(?:ok(?:ay)?,? |so,? |now,? |but |first,? )?let me {_THINKING_ALOUD}\b"),
    _mark("second thought|scratch that", rf"{_START}(?:on second thought|scratch that)\b"),
    _mark("让我", r"让我(?:先|再|仔细|好好|重新)*(?:想想|想一想|想一下|思考|考虑|捋一捋|理一理)"),
    _mark("我", r"我(?:再|得|先|需要)+(?:仔细|好好)?(?:想想|想一想|思考一下)"),
    _mark("等等|等一下|慢着", rf"{_START}(?:哦|不|但是?)?[，,]?(?:等等|等一下|慢着)[，,。.…！!—]"),
    _mark("嗯", rf"{_START}嗯+[，,。.…—]"),
)
_WEAK = (
    _mark("actually,", rf"{_START}actually,"),
    _mark("alternatively|maybe|perhaps", rf"{_START}(?:alternatively|maybe|perhaps),? i\b"),
    _mark("i need to|i have to", r"\bi (?:need|have) to (?:figure out|think about|consider|understand)\b"),
    _mark("so|therefore", rf"{_START}(?:so|therefore),? (?:the answer|it) (?:is|must be|should be)\b"),
    _mark("首先", r"首先[\s\S]{1,400}?其次[\s\S]{1,400}?(?:最后|所以|因此|然后)"),
    _mark("不", rf"{_START}(?:不对|不过等|不，)[，,。]?"),
    _mark("也许|可能|或许", r"(?:也许|可能|或许)我(?:应该|需要|得)"),
    _mark("那么|所以", rf"{_START}(?:那么|所以)[，,]?(?:答案|应该)(?:是|就)"),
)
_AROUND = 60
"""Characters of the answer that an example shows."""


def leaked(answer: str) -> str | None:
    """The words of an answer that show reasoning in it, on one line; None where there are none."""
    prose = _NOT_PROSE.sub(lambda found: "\n" * found[0].count("\n"), answer)
    strong = _found(_STRONG, prose)
    weak = _found(_WEAK, prose)
    if not strong and len(weak) < 2:
        return None
    first = min(strong or weak, key=lambda found: found.start())
    return " ".join(prose[first.start() : first.start() + _AROUND].split())


def _found(marks: Sequence[_Mark], prose: str) -> list[re.Match[str]]:
    """The first match of each mark that has one."""
    lower = prose.lower()
    tried = (mark.pattern for mark in marks if any(word in lower for word in mark.words))
    return [found for pattern in tried if (found := pattern.search(prose))]
