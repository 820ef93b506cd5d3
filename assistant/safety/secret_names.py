"""Secrets that show by the name they are given: `password = "…"`, `TOKEN=…`, `Authorization: …`, `?api_key=…`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import NamedTuple

from assistant.safety.secret_shapes import Span, is_mixed, is_placeholder, is_wordlike

_STRONG = (
    r"pass[_-]?(?:word|wd|phrase|code)|(?:(?<=[_.-])|(?<![A-Za-z]))pass|(?<=[_-])(?:pwd|pw)|secret|"
    r"(?:secret|private|access|api|signing|encryption|account|master|auth|role|storage|consumer|license|subscription)"
    r"[_ .-]?key"
)
_WEAK = r"token|credentials?|(?<=_)auth"
_NAME = re.compile(r"pass(?:[_-]?(?:word|wd|phrase|code))?|secret(?:[_-]?key)?|token|credentials?|[_-]pwd?|key|_auth")
"""Where a name may end, in lower case; `_WHOLE_NAME` judges it. One that begins with letters is found quickly."""
_IN_NAMES = ("pass", "secret", "token", "credential", "pw", "key", "_auth")
"""One of these is in every name: most text has none, and need not be looked at closely."""
_WHOLE_NAME = re.compile(
    rf"[\w.-]*?(?:(?P<strong>{_STRONG})|(?P<weak>{_WEAK}|authorization|cookie|pwd|auth))[_-]?\d{{0,3}}", re.IGNORECASE
)
_ASSIGNED = re.compile(
    r"[_-]?\d{0,3}(?![A-Za-z])(?P<quote>\\*[\"'`])?\]?"
    r"(?P<sep>(?P<type>:[ ]?[A-Za-z_][\w.\[\]|<>?]{0,40}(?:[ ]\|[ ]\w{1,20})?[ ]=(?![=~>])[ ](?=[bBrRuU]?\\*[\"'`]))"
    r"|[ \t]{0,20}(?::=|=>|=(?![=~>])|:(?![:=]))|>)(?P<space>[ \t]{0,20})"
)
_PAIRED = re.compile(
    r"\d{0,3}\\*[\"']?,?\s{1,80}\\*[\"']?(?:[\w-]{0,10}:)?(?:value|val)\\*[\"']?[ \t]{0,8}[=:][ \t]{0,8}"
)
_CALLED = re.compile(r"\d{0,3}\\*[\"'][ ]?,[ \t]{0,8}(?=[bBrRuU]?\\*[\"'])")
_CALL_BEFORE = re.compile(
    r"(?:define|setenv|set_?secret|putenv|add_?header|set_?header|setdefault)\(\s*\\*[\"'][\w.-]*$"
)
_OPENING = re.compile(r"\s{0,40}(?P<prefix>[bBrRuUfF]{1,2}(?=[\"']))?(?P<mark>(?P<slashes>\\*)(?:\"\"\"|'''|[\"'`]))")
_QUOTE = re.compile(r"(\\*)(\"\"\"|'''|[\"'`])")
_DSN = re.compile(r"\b\w+=[^\s,;()\"'=]+ \Z")
_PROPERTY = re.compile(r"(?!self\.|this\.|cls\.)[a-z]\w*\.[\w.-]*-?\w+\Z")
_JUDGED = 80
_PLAIN = re.compile(rf"[^\s\"'`\\<>]{{1,{_JUDGED}}}")
_PLAIN_REST = re.compile(r"[^\s\"'`\\<>]+")
_XML = re.compile(r"([^<>\n]{1,4096})</")
_BLOCK_SCALAR = re.compile(r"[|>][+-]?[ \t]*\n[ \t]+(\S[^\n]*)")
_NAME_BEFORE = re.compile(r"[\w.-]*+")
_WORD_BEFORE = re.compile(r" (?:ipa|ssecca|terces|etavirp|tnuocca|htua)\b", re.IGNORECASE)
"""The same backwards: what stands before the end of a name."""
_CODE = re.compile(r"[@&*!~-]{0,2}[A-Za-z_][\w.:>?!-]*[(\[{<]|[(\[{<|&*]")
_IDENTIFIER = re.compile(r"[A-Za-z_$][\w.$]*(?:[-+*/%][A-Za-z_][\w.]*)*")
_SECTION = re.compile(r"^(?:\s*\d+\t|[+ -])?\[[\w.\"' :-]+\]\s*$", re.MULTILINE)
_TALKS_OF_SECRETS = re.compile(r"pass|token|secret|key|cred|auth|pw", re.IGNORECASE)
_CONSTANT = re.compile(r"[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+|[A-Z]+")
_LONGEST = 4096

_WORDS_BESIDE = (
    "str string bytes int bool boolean any object text number optional required none null true false hidden hashed "
    "invalid incorrect wrong missing failed changed expired empty unset set reset given unknown valid ok yes no and or "
    "the a an is are was to for of in on if it its not with from by as option flag argument value field name type "
    "char varchar symbol never void undefined secretstr default ask prompt input env file stdin keyring vault"
)
_NO_VALUES = frozenset(_WORDS_BESIDE.split())
"""What stands behind such names in types, schemas and prose."""


class _Key(NamedTuple):
    """A name that a value follows: `tight` without white space between, `sep` is what stands there."""

    name: str
    strong: bool
    sep: str
    tight: bool
    constant: bool
    flag: bool
    config: bool


@lru_cache(512)
def secret_name(name: str) -> tuple[str, bool] | None:
    """What to call the value under a key of this name, and whether any value under it is secret; None if none is."""
    found = _WHOLE_NAME.fullmatch(name[-200:])
    if found is None:
        return None
    return _shown(found["strong"] or found["weak"]), found["strong"] is not None


def is_secret_value(value: str, *, strong: bool) -> bool:
    """Whether a quoted value under a secret's name is one, and not a placeholder, a name or a sentence."""
    text = value.strip()
    if not text or is_placeholder(text) or text.lower() in _NO_VALUES:
        return False
    spoken = _TALKS_OF_SECRETS.search(text) is not None
    if any(c.isspace() for c in text):
        return strong and not spoken and any(c.isalnum() for c in text)
    if spoken and (_CONSTANT.fullmatch(text) or (is_wordlike(text) and len(re.split(r"[_\-. /]", text)) > 1)):
        return False
    if not any(c.isalnum() for c in text):
        return False
    return strong or (is_mixed(text, 7) and not is_wordlike(text)) or _is_long_random(text)


def assigned(text: str, lowered: str) -> Iterator[Span]:
    """Values of names, in code, data, settings and command lines."""
    if not any(word in lowered for word in _IN_NAMES):
        return
    ini = _SECTION.search(text) is not None
    at = 0
    while found := _NAME.search(lowered, at):
        span = _assigned_at(text, found.start(), found.end(), ini)
        at = max(found.end(), span.end if span else 0)
        if span is not None:
            yield span


def _assigned_at(text: str, core: int, end: int, ini: bool) -> Span | None:
    after = _ASSIGNED.match(text, end)
    if after is None:
        return _indirect(text, core, end)
    start = _name_start(text, core)
    named = secret_name(text[start:end])
    if named is None or (text[start - 1 : start] in ("?", "&") and after["sep"] == "="):
        return None  # what ends a parameter of a URL, `parameters` knows
    if after["sep"] == ">":
        return _element(text, start, after, named[0])
    whole = text[start:end]
    key = _Key(
        *named,
        "=" if after["type"] else after["sep"].strip()[-1:],
        tight=not after["space"] and after["sep"] == "=",
        constant=whole.upper() == whole,
        flag=whole.startswith("-") or text[start - 1 : start] == ";" or _is_dsn(text, start),
        config=ini or _PROPERTY.match(whole) is not None,
    )
    return _value(text, after.end(), key, named_in_quotes=after["quote"] is not None)


def _name_start(text: str, core: int) -> int:
    backwards = text[max(0, core - 64) : core][::-1]
    if backwards[:1] == " " and (word := _WORD_BEFORE.match(backwards)):
        return core - word.end()
    name = _NAME_BEFORE.match(backwards)
    return core - (name.end() if name else 0)


def _indirect(text: str, core: int, end: int) -> Span | None:
    """`name: DB_PASSWORD, value: …` and `setenv("DB_PASSWORD", "…")`."""
    follows = _PAIRED.match(text, end)
    if follows is None and (called := _CALLED.match(text, end)):
        follows = called if _CALL_BEFORE.search(text, max(0, core - 80), core) else None
    named = secret_name(text[_name_start(text, core) : end]) if follows else None
    if follows is None or named is None:
        return None
    return _value(text, follows.end(), _Key(*named, ",", False, True, False, True), named_in_quotes=True)


def _is_dsn(text: str, start: int) -> bool:
    """Whether the name follows ``user=x `` as in a connection string."""
    head = text[max(0, start - 80) : start]
    return head.endswith(" ") and _DSN.search(head) is not None


def _element(text: str, start: int, after: re.Match[str], name: str) -> Span | None:
    inner = _XML.match(text, after.end()) if text[start - 1 : start] == "<" else None
    if inner is None or not is_secret_value(inner[1], strong=True):
        return None
    return Span(*inner.span(1), name)


def _value(text: str, at: int, key: _Key, *, named_in_quotes: bool) -> Span | None:
    opening = _OPENING.match(text, at)
    if opening and ("\n" in text[at : opening.start("mark")]) and not named_in_quotes:
        return None
    if opening:
        return _quoted(text, opening, key, named_in_quotes)
    if block := _BLOCK_SCALAR.match(text, at):
        return Span(*block.span(1), key.name) if key.strong else None
    return _plain(text, at, key)


def _plain(text: str, at: int, key: _Key) -> Span | None:
    """A value without quotes, judged by its beginning."""
    found = _PLAIN.match(text, at)
    if found is None:
        return None
    value = found[0].rstrip("," if key.constant else ",;)]}")
    rest = text[at + len(value) : at + len(value) + 80].partition("\n")[0].strip()
    if not value or not _is_plain_secret(value, rest, key):
        return None
    whole = found if len(value) < _JUDGED else _PLAIN_REST.match(text, at)
    return Span(at, whole.end() if whole and len(value) >= _JUDGED else at + len(value), key.name)


def _quoted(text: str, opening: re.Match[str], key: _Key, named_in_quotes: bool) -> Span | None:
    start = opening.end()
    follows = text[start : start + 1]
    if key.sep == ":" and not named_in_quotes and (not follows or follows in "),;]} +\n\\"):
        return None  # the quote that closes `input("Password: ")`
    end = _closing(text, start, opening["mark"], opening["slashes"])
    value = text[start:end]
    if opening["prefix"] and "f" in opening["prefix"].lower() and "{" in value:
        return None
    return Span(start, end, key.name) if is_secret_value(_without_scheme(value), strong=key.strong) else None


def _closing(text: str, start: int, mark: str, slashes: str) -> int:
    """Where a quoted value ends; without a closing quote, at the end of its line."""
    limit = min(len(text), start + _LONGEST)
    if len(mark) - len(slashes) == 1:
        line_end = text.find("\n", start, limit)
        limit = line_end if line_end >= 0 else limit
    for found in _QUOTE.finditer(text, start, limit):
        if found[2].startswith(mark[len(slashes) :]) and len(found[1]) == len(slashes):
            return found.start()
    return limit


def _is_plain_secret(value: str, rest: str, key: _Key) -> bool:
    """Whether a value without quotes is a secret, and not an expression, a type or a word of prose."""
    if is_placeholder(value) or value.lower() in _NO_VALUES or _CODE.match(value) or not any(map(str.isalnum, value)):
        return False
    if _CONSTANT.fullmatch(value) and _TALKS_OF_SECRETS.search(value):
        return False
    alone = not rest or rest.startswith("#")
    if key.constant and key.tight:
        return key.strong or (len(value) >= 4 and not value.isdigit())
    if key.flag and key.tight:
        return key.strong or not is_wordlike(value)
    if key.sep in ":," or key.config:
        return _is_setting(value, alone, key)
    return _is_no_expression(value, alone, key)


def _is_setting(value: str, alone: bool, key: _Key) -> bool:
    """YAML, INI, or an annotation in code."""
    if not key.strong:
        return (alone and is_mixed(value, 7) and not is_wordlike(value)) or _is_long_random(value)
    if is_mixed(value, 6) and not (value[:1].isupper() and value.isidentifier() and not any(map(str.isdigit, value))):
        return "(" not in value and not (_IDENTIFIER.fullmatch(value) and "." in value)
    return alone and len(value) >= 4 and not value[:1].isupper() and "." not in value


def _is_no_expression(value: str, alone: bool, key: _Key) -> bool:
    """After `=` in what may be code: a name, a number or a sum of names stays."""
    if not key.strong:
        return _is_long_random(value) and not _IDENTIFIER.fullmatch(value)
    if _IDENTIFIER.fullmatch(value):
        plain = "." not in value and "_" not in value and not _TALKS_OF_SECRETS.search(value)
        return plain and alone and is_mixed(value, 6)
    return "(" not in value and (is_mixed(value, 6) or (alone and len(value) >= 6 and not is_wordlike(value)))


def _is_long_random(value: str) -> bool:
    return is_mixed(value, 16) and not is_wordlike(value)


def _shown(name: str) -> str:
    return name.lower().replace("-", "_").replace(" ", "_").strip("_.")


_SCHEME = re.compile(r"(?:bearer|basic|token|digest|apikey|bot)[ \t]+", re.IGNORECASE)
_AUTHORIZATION = re.compile(
    r"authorization\\*[\"']?\]?[ \t]{0,8}[:=,](?![=:])[ \t]{0,8}\\*[\"'`]?"
    r"(?:(?:bearer|basic|token|apikey|bot|negotiate)[ \t]+)?"
    r"((?:digest|aws4-hmac-sha256|hawk)[ \t]+[^\n\"'\\]{1,4096}|[^\s\"'`\\]{6,8192})"
)
_COOKIE = re.compile(
    r"cookie\\*[\"']?[ \t]{0,8}:[ \t]{0,8}\\*[\"']?(?!str=|string=)"
    r"([\w!#$%&*+.^|~-]{1,100}=[^\s;\"'\\]{1,4096}(?:;[^\n\"'\\]{0,4096})?)"
)
_API_HEADER = re.compile(r"x-[\w-]{0,30}?(?:key|token|secret|auth)[ \t]{0,4}:[ \t]{0,8}([^\s\"'`\\]{6,4096})")
_PARAMETER = re.compile(r"[?&](?:amp;)?([\w.-]{1,64})=([^&\s\"'`#<>\\]{1,2048})")
_FLAG = re.compile(
    r"(pass(?:word|phrase|wd)|token|secret|api-?key|access-?key)[ \t]+\\*([\"']?)([^\s\"'`\\-][^\s\"'`\\]{3,2048})\2"
)
_FLAG_BEFORE = re.compile(r"(?<![\w-])--?[\w-]*$")
_NETRC = re.compile(r"login\s{1,8}\S{1,200}\s{1,8}password\s{1,8}(\S{1,200})")
_SQL = re.compile(r"(?:identified\s{1,4}by|(?:with|encrypted)\s{1,4}password)\s{1,4}\\*'([^'\n]{1,200})'")


def headers(text: str, lowered: str) -> Iterator[Span]:
    """HTTP headers that let somebody in."""
    for match in _AUTHORIZATION.finditer(lowered):
        if not (is_placeholder(match[1]) or _CODE.match(match[1])) and not _is_prose(match[1]):
            yield Span(*match.span(1), "authorization")
    for match in _COOKIE.finditer(lowered):
        yield Span(*match.span(1), "cookie")
    for match in _API_HEADER.finditer(lowered):
        if not _is_code(match[1]):
            yield Span(*match.span(1), "api_key")


def parameters(text: str, lowered: str) -> Iterator[Span]:
    """Parameters of URLs."""
    for match in _PARAMETER.finditer(text):
        named, value = secret_name(match[1]), match[2]
        if named is None and match[1].lower() in ("key", "sig", "signature", "x-amz-signature"):
            named = (_shown(match[1]), False)
        if named and is_secret_value(value, strong=named[1]):
            yield Span(*match.span(2), named[0])


def commands(text: str, lowered: str) -> Iterator[Span]:
    """`--password …`, netrc, and SQL."""
    if not any(word in lowered for word in ("pass", "token", "secret", "key", "identified")):
        return
    for match in _FLAG.finditer(lowered):
        value = text[match.start(3) : match.end(3)]
        if _FLAG_BEFORE.search(text, max(0, match.start() - 40), match.start()) and _is_argument(value, match[2]):
            yield Span(*match.span(3), "password" if "pass" in match[1] else "token")
    for pattern in (_NETRC, _SQL):
        for match in pattern.finditer(lowered):
            if not is_placeholder(match[1]):
                yield Span(*match.span(1), "password")


def _is_argument(value: str, quote: str) -> bool:
    if value.lower().rstrip(".,;:") in _NO_VALUES or (value.isupper() and value.isalpha()) or is_placeholder(value):
        return False
    return is_mixed(value, 6) or not is_wordlike(value) or bool(quote)


def _is_prose(value: str) -> bool:
    return not is_mixed(value, 8) and (is_wordlike(value) or value in _NO_VALUES)


def _is_code(value: str) -> bool:
    return is_placeholder(value) or is_wordlike(value) or _CODE.match(value) is not None


FINDERS: tuple[Callable[[str, str], Iterator[Span]], ...] = (parameters, headers, commands, assigned)


def _without_scheme(value: str) -> str:
    found = _SCHEME.match(value)
    return value[found.end() :] if found else value
