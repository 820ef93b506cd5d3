"""Secrets that show by their shape: keys of known services, signed tokens, key blocks, user info of URLs."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterator
from typing import NamedTuple


class Span(NamedTuple):
    """Where a secret stands, and what to call it."""

    start: int
    end: int
    name: str


_SHAPES: tuple[tuple[str, str], ...] = (
    ("AWS key id", r"(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}"),
    ("GitHub token", r"gh[pousr]_[A-Za-z0-9]{30,255}+|github_pat_[A-Za-z0-9_]{22,255}+"),
    ("GitLab token", r"gl(?:pat|ptt|dt|rt|soat|cbt|ft|imt|agent)-[A-Za-z0-9_-]{20,255}+"),
    ("Slack token", r"xox[abeoprs]-[A-Za-z0-9-]{10,255}+|xapp-[0-9]-[A-Za-z0-9-]{10,255}+"),
    ("Slack webhook", r"hooks\.slack\.com/services/T[A-Za-z0-9]{6,20}/B[A-Za-z0-9]{6,20}/[A-Za-z0-9]{16,40}"),
    ("Stripe key", r"[rs]k_(?:live|test)_[A-Za-z0-9]{16,255}+|whsec_[A-Za-z0-9+/=]{24,255}+"),
    ("Anthropic key", r"sk-ant-[A-Za-z0-9_-]{16,255}+"),
    ("API key", r"sk-[A-Za-z0-9_-]{20,255}+|gsk_[A-Za-z0-9]{40,255}+|xai-[A-Za-z0-9]{40,255}+|r8_[A-Za-z0-9]{30,50}"),
    ("Google key", r"AIza[A-Za-z0-9_-]{35}|GOCSPX-[A-Za-z0-9_-]{20,60}|ya29\.[A-Za-z0-9_-]{20,1024}+"),
    ("npm token", r"npm_[A-Za-z0-9]{36}"),
    ("PyPI token", r"pypi-AgE[A-Za-z0-9_-]{30,1024}+"),
    ("Hugging Face token", r"hf_[A-Za-z0-9]{30,60}"),
    ("SendGrid key", r"SG\.[A-Za-z0-9_-]{16,32}\.[A-Za-z0-9_-]{32,64}"),
    ("Telegram token", r"[0-9]{8,10}:AA[A-Za-z0-9_-]{33}"),
    ("DigitalOcean token", r"do[opr]_v1_[a-f0-9]{64}"),
    ("Docker token", r"dckr_pat_[A-Za-z0-9_-]{20,60}"),
    ("Databricks token", r"dapi[a-f0-9]{32}"),
    ("Shopify token", r"shp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}"),
    ("RubyGems key", r"rubygems_[a-f0-9]{48}"),
    ("crates.io token", r"cio[A-Za-z0-9]{32}"),
    ("Vault token", r"hv[sb]\.[A-Za-z0-9_-]{24,255}+"),
    ("Tailscale key", r"tskey-[a-z]+-[A-Za-z0-9-]{16,80}"),
    ("age key", r"AGE-SECRET-KEY-1[A-Z0-9]{58}"),
    ("JWT", r"eyJ[A-Za-z0-9_-]{8,8192}+\.eyJ[A-Za-z0-9_-]{8,16384}+(?:\.[A-Za-z0-9_-]{0,2048}+){0,3}"),
)
_START = r"(?=[A-Zcdeghnprstwxy0-9])(?:(?<![A-Za-z0-9])|(?<=\\[nrt]))"
_SHAPE = re.compile(
    _START + "(?:" + "|".join(f"(?P<s{n}>{pattern})" for n, (_, pattern) in enumerate(_SHAPES)) + ")(?![A-Za-z0-9])"
)
_RUN = re.compile(r"(?<![A-Za-z0-9_./:+=-])[A-Za-z0-9_./:+=-]{15,}+")
"""What every shape is a part of; looking there alone takes a tenth of the time."""
_AWS_SECRET = re.compile(r"(?<![A-Za-z0-9/+=])[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+=])")
_AWS_NEAR = 240
"""Characters around a key id in which its secret is looked for."""

_USER_INFO = re.compile(r"://([^\s/:@\"'<>`]{0,100}+):([^\s/\"'<>`]{1,256})@")
_LONE_USER = re.compile(r"://([A-Za-z0-9_-]{20,256}+)@")
_USER_FLAG = re.compile(r"(?<=[\s\"'])(?:-u|--user|--proxy-user)[ =][\"']?([\w.@+-]{1,80}):([^\s\"'$<]{3,200})")
_BASIC = re.compile(r"[Bb]asic[ \t]+([A-Za-z0-9+/]{8,1024}+={0,2})")
_BEARER = re.compile(r"[Bb]earer[ \t]+([A-Za-z0-9._~+/=-]{12,4096}+)")

_BLOCK = re.compile(r"-----(BEGIN|END) (?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----")
_BREAK = re.compile(r"(?:\\{1,4}r)?\\{1,4}n|\r?\n")
_BODY_LINE = re.compile(
    r"[\s>|+\-\"',\\]{0,16}+(?:\d{1,6}[\t:|][ ]?)?[\s+\-\"'>|]{0,16}+"
    r"(?:[A-Za-z0-9+/]*+={0,3}|(?:Proc-Type|DEK-Info|Version|Comment|Hash|Charset|MessageID): [^\n\\]{0,120})"
    r"[\s\"',;)\\+]{0,16}"
)
_LEAST_BODY = 16

_PLACEHOLDER = re.compile(
    r"\$[\w{(].*|<[^<>]*>|.*\{[A-Za-z_][^{}]*\}.*|\{\{.*|%[(%sS].*|[*•]+|[xX]{3,}|\.{2,}|…|\[?redacted\b.*|"
    r"(?:your|my|the|some|an?)[ _-].*|(?:none|null|nil|true|false|undefined|todo|tbd|n/a)",
    re.IGNORECASE | re.DOTALL,
)
_DIGIT, _LETTER = re.compile(r"\d"), re.compile(r"[^\W\d_]")
_SPACE = re.compile(r"\s")
_WORDS = re.compile(r"(?:[A-Za-z]{1,24}|\d{1,4})(?:[_\-. /:+*]+(?:[A-Za-z]{1,24}|\d{1,4}))*[_\-.:/]*")


def is_placeholder(value: str) -> bool:
    """Whether it only stands for a value: a variable, a blank to fill in, a mask."""
    return _PLACEHOLDER.fullmatch(value.strip()[:200]) is not None


def is_wordlike(value: str) -> bool:
    """Whether it is made of words and short numbers, as names in code are."""
    return _WORDS.fullmatch(value[:256]) is not None


def is_mixed(value: str, least: int) -> bool:
    """Whether it has `least` characters, a letter and a digit among them, and no white space."""
    return bool(len(value) >= least and _DIGIT.search(value) and _LETTER.search(value) and not _SPACE.search(value))


def shapes(text: str) -> Iterator[Span]:
    """Keys and tokens of known services."""
    seen = 0
    for match in (found for run in _RUN.finditer(text) for found in _SHAPE.finditer(text, *run.span())):
        name = _SHAPES[int((match.lastgroup or "s0")[1:])][0]
        if name == "API key" and match[0].startswith("sk-") and not _is_random(match[0]):
            continue
        yield Span(*match.span(), name)
        if name == "AWS key id":
            yield from _aws_secrets(text, max(seen, match.start() - _AWS_NEAR), match.end() + _AWS_NEAR)
            seen = match.end() + _AWS_NEAR


def urls(text: str) -> Iterator[Span]:
    """Passwords in the user info of URLs, and of `-u user:password`."""
    for match in _USER_INFO.finditer(text):
        if not is_placeholder(match[2]):
            yield Span(*match.span(2), "password")
    for match in _LONE_USER.finditer(text):
        if is_mixed(match[1], 20) and not is_wordlike(match[1]):
            yield Span(*match.span(1), "token")
    for match in _USER_FLAG.finditer(text) if "-u" in text or "--proxy-user" in text else ():
        if not is_placeholder(match[2]):
            yield Span(*match.span(2), "password")


def schemes(text: str) -> Iterator[Span]:
    """What follows `Basic` and `Bearer`, wherever they stand."""
    for match in _BASIC.finditer(text) if "asic" in text else ():
        if _is_pair(match[1]):
            yield Span(*match.span(1), "basic auth")
    for match in _BEARER.finditer(text) if "earer" in text else ():
        if is_mixed(match[1], 12) and not is_wordlike(match[1]) and not is_placeholder(match[1]):
            yield Span(*match.span(1), "bearer token")


def key_blocks(text: str) -> Iterator[Span]:
    """PEM and PGP private keys, whole or cut at either end."""
    last = 0
    for match in _BLOCK.finditer(text):
        if match.start() < last:
            continue
        if match[1] == "BEGIN":
            end, letters = _body_end(text, match.end())
            closing = _BLOCK.match(text, end)
            last = closing.end() if closing else end
            start = match.start()
        else:
            start, letters = _body_start(text, match.start(), last)
            last = match.end()
        if letters >= _LEAST_BODY:
            yield Span(start, last, "private key")


FINDERS: tuple[Callable[[str], Iterator[Span]], ...] = (key_blocks, shapes, urls, schemes)


def _is_random(key: str) -> bool:
    return any(c.isdigit() for c in key) and any(c.isupper() for c in key)


def _aws_secrets(text: str, start: int, end: int) -> Iterator[Span]:
    for match in _AWS_SECRET.finditer(text, max(0, start - 1), end):
        if any(c.isupper() for c in match[0]) and any(c.islower() for c in match[0]):
            yield Span(*match.span(), "AWS secret")


def _is_pair(encoded: str) -> bool:
    """Whether it is `user:password` in base64."""
    try:
        decoded = base64.b64decode(encoded + "=" * (-len(encoded) % 4)).decode()
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return False
    return ":" in decoded and decoded.isprintable()


def _body_end(text: str, at: int) -> tuple[int, int]:
    """Where the lines of a key end that begin at `at`, and how many characters they have."""
    letters, end = 0, at
    limit = text.find("-----", at)
    limit = len(text) if limit < 0 else limit
    while at < limit:
        found = _BREAK.search(text, at, limit)
        stop, following = found.span() if found else (limit, limit)
        if not _BODY_LINE.fullmatch(text, at, stop):
            return end, letters
        letters += stop - at
        at = end = following
    return end, letters


def _body_start(text: str, at: int, floor: int) -> tuple[int, int]:
    """Where the lines of a key begin that end at `at`; its head, and maybe its first lines, were cut off."""
    letters, start = 0, at
    while start > floor:
        line_start = max(text.rfind("\n", floor, start - 1) + 1, floor)
        line = text[line_start:start].removesuffix("\n")
        if not _BODY_LINE.fullmatch(line) or (letters and len(line.strip()) < _LEAST_BODY):
            break
        letters += len(line.strip())
        start = line_start
    return start, letters
