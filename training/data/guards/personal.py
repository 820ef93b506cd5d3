"""Personal data that shows by its shape: addresses of mail, telephone numbers, accounts, cards, addresses of hosts.

Each finder yields where a value stands, and its kind. Reserved values, that can belong to nobody, are left alone:
domains of RFC 2606, telephone numbers 555-01xx, the networks of RFC 5737, the card numbers that payment services give
out for tests.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import NamedTuple


class Found(NamedTuple):
    """A value in a text, from `start` to `end`, and what it is."""

    start: int
    end: int
    kind: str


_MAIL = re.compile(
    r"(?<![\w.+/@:%-])[A-Za-z0-9][\w.+-]{0,63}@((?:[A-Za-z0-9-]{1,63}\.)+[A-Za-z]{2,24})(?![\w@-]|\.\w|\()"
)
_RESERVED = re.compile(
    r"(?:^|\.)(?:example|test|invalid|localhost|local|internal|lan)$|(?:^|\.)example\.\w+$"
    r"|(?:^|\.)(?:users\.noreply\.github\.com|domain\.com|email\.com|foo\.com|bar\.com|host\.com|company\.com|acme\.\w+)$",
    re.IGNORECASE,
)
"""RFC 2606 and the names that writers of documents use in their place."""
_SERVICES = frozenset({"git", "hg", "svn", "noreply", "no-reply", "actions", "user", "username", "name", "someone"})
_FILES = frozenset({"png", "jpg", "jpeg", "gif", "svg", "webp", "py", "js", "css", "json", "txt", "md", "html", "so"})
_PHONES = (
    re.compile(r"\+(?<![\w.+/=-].)[1-9]\d{0,2}[ .-](?:\(\d{1,4}\)[ .-]?)?\d{2,4}(?:[ .-]\d{2,4}){1,4}(?!\w|[.,]\d)"),
    re.compile(r"\((?<![\w(].)\d{3}\) ?\d{3}-\d{4}(?!\w)"),
    re.compile(r"(?:(?:tel|fax|phone)[.:]{1,2} ?)(\+?\d[\d .()-]{6,18}\d)(?!\w)", re.IGNORECASE),
)
"""The sign comes first in each pattern and what may not stand before it second, so that a search is quick."""
_FICTION = re.compile(r"555[ .-]?01\d\d$")
_IBAN = re.compile(r"(?<![A-Za-z0-9])[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?![A-Za-z0-9])")
_IBAN_LENGTHS = {
    "AD": 24, "AE": 23, "AT": 20, "BE": 16, "BG": 22, "BR": 29, "CH": 21, "CY": 28, "CZ": 24, "DE": 22, "DK": 18,
    "EE": 20, "ES": 24, "FI": 18, "FR": 27, "GB": 22, "GR": 27, "HR": 21, "HU": 28, "IE": 22, "IL": 23, "IS": 26,
    "IT": 27, "LI": 21, "LT": 20, "LU": 20, "LV": 21, "MC": 27, "MT": 31, "NL": 18, "NO": 15, "PL": 28, "PT": 25,
    "RO": 24, "RS": 22, "SA": 24, "SE": 24, "SI": 19, "SK": 24, "TR": 26, "UA": 29,
}  # fmt: skip
"""Of the IBAN registry (ISO 13616)."""
_CARD = re.compile(
    r"(?<![\w.+/=-])(?:\d{4}([ -])\d{4}\1\d{4}\1\d{4}|3[47]\d{2}([ -])\d{6}\2\d{5}|\d{15,16})(?![\w/*]|[.-]\d)"
)
_NETWORKS = re.compile(
    r"4\d{15}|5[1-5]\d{14}|2(?:2[2-9]|[3-6]\d|7[01])\d{13}|3[47]\d{13}|6(?:011|5\d\d)\d{12}|35\d{14}"
)
"""Visa, Mastercard, American Express, Discover and JCB, by ISO/IEC 7812 prefixes."""
_TEST_CARDS = frozenset(
    {"4111111111111111", "4242424242424242", "4012888888881881", "5555555555554444", "5105105105105100",
     "378282246310005", "371449635398431", "6011111111111117", "6011000990139424", "3530111333300000",
     "4000056655665556", "5200828282828210", "2223003122003222", "4000000000000002"}
)  # fmt: skip
_HOST = re.compile(r"(?<![\w.:=~<>-])(?:\d{1,3}\.){3}\d{1,3}(?![\w]|\.\d|-\d)")
_RELEASE = re.compile(r"(?:version|release|section|chapter|\bver|\bv|[~=<>!]=|[<>^~])[\s\"':=]{0,12}$", re.IGNORECASE)
"""What stands before four numbers that are no address."""
_RESOLVERS = frozenset(
    {"1.1.1.1", "1.0.0.1", "8.8.8.8", "8.8.4.4", "9.9.9.9", "1.2.3.4", "123.45.67.89", "114.114.114.114"}
)
"""Public services, and what people write for any address."""


def mail(text: str) -> Iterator[Found]:
    """Addresses of mail."""
    for match in _MAIL.finditer(text) if "@" in text else ():
        local, domain = match[0].partition("@")[0].lower(), match[1].lower()
        if local in _SERVICES or _RESERVED.search(domain) or domain.rpartition(".")[2] in _FILES:
            continue
        if not text.startswith("://", match.end()):
            yield Found(*match.span(), "email")


def phones(text: str) -> Iterator[Found]:
    """Telephone numbers that are written as such: with a code and separators, or behind a word."""
    for match in (found for pattern in _PHONES for found in pattern.finditer(text)):
        start, end = match.span(match.lastindex or 0)
        number = text[start:end]
        digits = [c for c in number if c.isdigit()]
        if 7 <= len(digits) <= 15 and len(set(digits)) > 2 and not _FICTION.search(number):
            yield Found(start, end, "phone")


def accounts(text: str) -> Iterator[Found]:
    """Bank accounts (IBAN) whose length and check digits are right."""
    for match in _IBAN.finditer(text):
        plain = match[0].replace(" ", "")
        if _IBAN_LENGTHS.get(plain[:2]) == len(plain) and _is_iban(plain):
            yield Found(*match.span(), "iban")


def cards(text: str) -> Iterator[Found]:
    """Numbers of cards whose prefix and check digit are right."""
    for match in _CARD.finditer(text):
        plain = re.sub(r"\D", "", match[0])
        if _NETWORKS.fullmatch(plain) and plain not in _TEST_CARDS and len(set(plain)) > 3 and _is_luhn(plain):
            yield Found(*match.span(), "card")


def hosts(text: str) -> Iterator[Found]:
    """IPv4 addresses that anybody could reach; numbers of releases and masks are none."""
    for match in _HOST.finditer(text):
        octets = match[0].split(".")
        if max(map(int, octets)) > 255 or any(len(octet) > 1 and octet[0] == "0" for octet in octets):
            continue
        public = ipaddress.IPv4Address(match[0]).is_global and match[0] not in _RESOLVERS
        if public and sum(len(octet) > 1 for octet in octets) > 1 and not _before(text, match.start()):
            yield Found(*match.span(), "ip")


@lru_cache(64)
def people(names: tuple[str, ...]) -> Callable[[str], Iterator[Found]]:
    """A finder of the full names given; one word alone is no full name, as it may be any word."""
    full = sorted(
        {" ".join(name.split()) for name in names if len(name.split()) > 1}, key=lambda name: (-len(name), name)
    )
    pattern = re.compile(r"(?<!\w)(?:" + "|".join(map(re.escape, full)) + r")(?!\w)") if full else None

    def found(text: str) -> Iterator[Found]:
        yield from (Found(*match.span(), "name") for match in (pattern.finditer(text) if pattern else ()))

    return found


FINDERS: tuple[Callable[[str], Iterator[Found]], ...] = (mail, phones, accounts, cards, hosts)


def _before(text: str, at: int) -> bool:
    return _RELEASE.search(text, max(0, at - 24), at) is not None


def _is_iban(plain: str) -> bool:
    """ISO 7064, modulo 97."""
    digits = "".join(str(int(c, 36)) for c in plain[4:] + plain[:4])
    return int(digits) % 97 == 1


def _is_luhn(digits: str) -> bool:
    """ISO/IEC 7812-1, annex B."""
    doubled = (int(c) * 2 if place % 2 else int(c) for place, c in enumerate(reversed(digits)))
    return sum(value - 9 if value > 9 else value for value in doubled) % 10 == 0
