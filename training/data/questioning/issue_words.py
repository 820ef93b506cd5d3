"""A commit's message made into what a user would say who wants that commit: without the fix, names and numbers."""

from __future__ import annotations

import random
import re
from collections.abc import Collection, Iterator, Sequence

from assistant.chinese import count_chinese, has_chinese

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
    r"^(fix|hotfix|feat|feature|bug|bugfix|perf|enh|tst|bld|chore|refactor|docs?|test|ci|style"
    r"|修复|修正|新增|添加|增加|功能|优化|重构|改进)(?:[(\uff08]([^)\uff09]*)[)\uff09])?!?[:\uff1a]\s*",
    re.IGNORECASE,
)
_SCOPE = re.compile(r"^([\w./-]{1,40}):\s+(?=\S)")
_PLACE = re.compile(r"(?=\w*[a-z])[A-Za-z_][\w./]*\w")
_ANYWHERE = frozenset({"all", "api", "build", "core", "deps", "general", "lib", "main", "misc", "src", "wip"})
"""What stands before the colon of a subject and says where it is, or says nothing."""
_FIXES_ISSUE = re.compile(r"(?:fix|clos|resolv)\w*\s+(?:issue\s+)?#\d+", re.IGNORECASE)
_NEW = frozenset({"feat", "feature", "enh", "新增", "添加", "增加", "功能"})
_FIX = frozenset({"fix", "hotfix", "bug", "bugfix", "修复", "修正"})
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
    r"instead,?|to fix|fix(?:ed)?\b|thanks|credit|reported by|co-?authored|"
    r"(?:现在)?(?:改为|改成|改用|使用|替换|调用|删除|移除|新增|增加)|本次|此提交|这个提交)",
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
_REQUESTS = """add allow support handle ensure make avoid prevent raise return accept implement introduce enable let
stop keep preserve improve provide expose respect reject ignore validate treat show use remove check"""
_FORMS = {"made": "make", "kept": "keep", "stopped": "stop", "do not": "do not", "don't": "don't"}
_FORMS |= {
    verb.removesuffix("e" if end[:1] in "ei" and end else "") + end: verb
    for verb in _REQUESTS.split()
    for end in ("", "s", "ed", "ing")
}
_REQUEST = re.compile(rf"^({'|'.join(sorted(_FORMS, key=len, reverse=True))})\b", re.IGNORECASE)
_REQUEST_ZH = re.compile(r"^(?:修复|修正|新增|添加|增加|支持|允许|避免|防止|处理|改进|优化|实现|使|让|移除|删除)")
_LEFT = re.compile(r"[,;:]?\s*\b(?:see(?: also)?|cf\.?|per|introduced (?:in|by)|since)\s*([.!?]?)\s*$", re.IGNORECASE)
_WORD = re.compile(r"[^\W\d_]{2,}")
_NAME = re.compile(r"[A-Za-z_]\w{3,}")
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z`\"'(])|(?<=[\u3002\uff01\uff1f])")
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
_FIXES = (
    "Please fix this: {x}.",
    "Bug report: {x}.",
    "This has to be put right: {x}.",
)
_WISHES = (
    "Please {x}.",
    "Could you do this: {x}?",
    "I would like you to {x}.",
    "Task: {x}.",
)
_WANTED = (
    "This is wanted: {x}.",
    "A feature that I miss: {x}.",
    "The goal: {x}. Please implement it.",
)
_OTHERS = (
    "Please see to this: {x}.",
    "Please look into this: {x}.",
    "This is to be done: {x}.",
)
"""Where nobody can tell whether it says what is wrong or what is wanted."""
_HOLDS = (
    "The following should hold, but does not yet:\n{x}\nPlease change the code so that it does.",
    "Please make the code behave like this:\n{x}",
    "Expected behaviour, which is missing or broken at the moment:\n{x}",
)
_FIXES_ZH = ("请修复这个问题：{x}。", "有个问题需要修复：{x}。", "缺陷报告：{x}。")
_WISHES_ZH = ("请{x}。", "能否{x}？", "任务：{x}。")
_WANTED_ZH = ("需要这个功能：{x}。", "目标：{x}。请实现。")
_OTHERS_ZH = ("请处理这件事：{x}。", "待办：{x}。", "请看一下这件事：{x}。")
_ABOUT = ("This is about `{x}`.", "It concerns `{x}`.", "The place is `{x}`.")
_ABOUT_ZH = ("与 `{x}` 有关。", "涉及的是 `{x}`。")
_MISSING = ("`{f}` is missing in `{p}`: {x}", "Please write `{f}` ({p}). {x}", "I need `{f}` in `{p}`. {x}")
_NAMED = ("It should be there as {x}.", "Call it {x}.", "Other code expects to find {x}.")


def statement(message: str, new: Collection[str], chance: random.Random) -> str | None:
    """What a user would say; None where the message says nothing. `new` are names that only the fix brings in."""
    subject, _, body = message.strip().partition("\n")
    kind, place, subject = _parts(subject)
    if not subject or not _says(subject) or _names(f"{subject} {place}") & {*new}:
        return None
    chinese = has_chinese(subject)
    frames = _frames_zh(subject, kind) if chinese else _frames(subject, kind)
    words = [chance.choice(frames[0]).format(x=frames[1])]
    if place and place not in subject:
        words.append(chance.choice(_ABOUT_ZH if chinese else _ABOUT).format(x=place))
    return " ".join([*words, *_kept(body, new)])[:_LONGEST].strip()


def missing(name: str, path: str, summary: str, chance: random.Random) -> str:
    """What a user would say who wants a function of that name in a file, which is to do what `summary` says."""
    return chance.choice(_MISSING).format(f=name, p=path, x=summary)


def expected(tests: Sequence[str], chance: random.Random) -> str | None:
    """What a user would say, from the names of tests that are to pass; None where they say nothing."""
    said = [words for name in tests if _says(words := " ".join(name.removeprefix("test").split("_")).strip())]
    if not said:
        return None
    return chance.choice(_HOLDS).format(x="\n".join(f"- {words}" for words in dict.fromkeys(said[:_MOST])))


def named(names: Sequence[str], chance: random.Random) -> str:
    """A sentence that says how something new is to be called."""
    return chance.choice(_NAMED).format(x=" and ".join(f"`{name}`" for name in names))


def _parts(line: str) -> tuple[str, str, str]:
    """The kind of commit that a subject names, if it does, the place, and what else it says."""
    closes = _FIXES_ISSUE.match(line)
    line = _NUMBER.sub("", _NOISE.sub("", _CLOSING.sub("", line))).strip(" :\uff1a")
    prefix = _PREFIX.match(line)
    line = line[prefix.end() :].strip() if prefix else line
    scope = _SCOPE.match(line)
    line = line[scope.end() :] if scope else line
    place = (prefix[2] if prefix else None) or (scope[1] if scope else "")
    kept = _PLACE.fullmatch(place) is not None and place.lower() not in _ANYWHERE
    kind = prefix[1].lower() if prefix else "fix" if closes else ""
    return kind, place if kept else "", re.sub(r"\s+", " ", _HOW.sub("", line)).strip(" .\u3002:\uff1a;-–,()")


def _says(words: str) -> bool:
    """Whether these are three words or more, those that say nothing not counted."""
    while match := _DULL.match(words):
        words = words[match.end() :]
    return len(_WORD.findall(words)) >= 3 or count_chinese(words) >= 6


def _frames(subject: str, kind: str) -> tuple[Sequence[str], str]:
    """The sentences that suit a subject, and what of it stands in them."""
    if match := _FIXING.match(subject):
        return (_BUGS if _is_event(match[1]) else _BROKEN), match[1]
    if match := _REQUEST.match(subject):
        return _WISHES, _FORMS[match[1].lower()] + subject[match.end() :]
    if kind in _FIX:
        return (_BUGS if _is_event(subject) else _FIXES), subject
    return (_WANTED if kind in _NEW else _OTHERS), subject


def _frames_zh(subject: str, kind: str) -> tuple[Sequence[str], str]:
    if _REQUEST_ZH.match(subject):
        return _WISHES_ZH, subject
    return (_FIXES_ZH if kind in _FIX else _WANTED_ZH if kind in _NEW else _OTHERS_ZH), subject


def _is_event(what: str) -> bool:
    """Whether it tells what goes wrong, and not only where."""
    return (
        re.search(
            r"\b(?:crash|error|exception|bug|fail|wrong|missing|when|not|loses?|lost|gives|gave|breaks|broke|ignore[sd]|leak|incorrect|regress|broken|invalid)",
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
                yield words if words.endswith((".", "!", "?", "\u3002", "\uff01", "\uff1f")) else f"{words}."


def _tidied(text: str) -> str:
    """Without what a reference that is gone leaves behind: empty brackets, and a "see" with nothing to see."""
    return re.sub(r"\s+", " ", _LEFT.sub(r"\1", re.sub(r"\(\s*\)|\[\s*\]", "", text))).strip()


def _names(text: str) -> set[str]:
    return {*_NAME.findall(text)}
