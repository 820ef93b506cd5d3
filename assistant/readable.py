"""What a person would read of an HTML page, as text: headings, lists, code and links marked as in Markdown.

Not the standard library's parser: that of Python 3.11 takes minutes for a hostile page of a few hundred kilobytes.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from urllib.parse import urljoin

_UNREAD = frozenset(
    {"script", "style", "noscript", "template", "svg", "math", "iframe", "object", "select", "textarea"}
)
_BLOCKS = frozenset(
    re.findall(
        r"\w+",
        "address article aside blockquote br dd details div dl dt fieldset figcaption figure footer form h1 h2 h3 h4 "
        "h5 h6 header hr li main nav ol p section summary table title tr ul",
    )
)
_BEFORE = {"li": "- ", "td": " | ", "th": " | ", **{f"h{n}": f"{'#' * n} " for n in range(1, 7)}, "title": "# "}
_NAME = re.compile(r"</?([a-zA-Z][a-zA-Z0-9:-]*)")
_HREF = re.compile(r"""\bhref\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'>]+))""", re.IGNORECASE)
_LONGEST_TAG = 8_192
_SPACES = re.compile(r"[ \t\n\r\f]+")
_GAPS = re.compile(r"\n[ \t]*(?:\n[ \t]*)+")


def readable(page: str, base: str = "") -> str:
    """The text of a page; links are absolute, by `base`. The time it takes is linear, whatever the page is."""
    writer = _Writer(base)
    for piece in _pieces(page):
        if tag := _NAME.match(piece):
            writer.tag(tag[1].lower(), piece)
        else:
            writer.text(piece)
    return _GAPS.sub("\n\n", "".join(writer.out)).strip()


def _pieces(page: str) -> Iterator[str]:
    """Tags and the texts between them, without comments and what is not read."""
    at = 0
    while at < len(page):
        begin = page.find("<", at)
        if begin < 0:
            yield page[at:]
            return
        if begin > at:
            yield page[at:begin]
        name = _NAME.match(page, begin)
        if name is None and page[begin + 1 : begin + 2] not in ("!", "?"):
            yield "<"
            at = begin + 1
            continue
        at = _end(page, begin)
        if name is None:
            continue
        yield page[begin:at]
        if page[begin + 1] != "/" and name[1].lower() in _UNREAD and not page[begin:at].endswith("/>"):
            closing = _closing(name[1].lower()).search(page, at)
            at = closing.start() if closing else len(page)


def _end(page: str, begin: int) -> int:
    """Behind the tag or comment that begins here; the end of the page where it does not end."""
    if page.startswith("<!--", begin):
        end = page.find("-->", begin)
        return end + 3 if end >= 0 else len(page)
    end = page.find(">", begin)
    while 0 <= end < begin + _LONGEST_TAG and _within_quotes(page[begin:end]):
        end = page.find(">", end + 1)
    return end + 1 if end >= 0 else len(page)


def _within_quotes(tag: str) -> bool:
    """Whether a value in double quotes is open where a tag is cut off."""
    return '="' in tag and tag.count('"') % 2 == 1


@cache
def _closing(name: str) -> re.Pattern[str]:
    return re.compile(f"</{name}", re.IGNORECASE)


class _Writer:
    """Gathers text; `out` is what came so far."""

    def __init__(self, base: str) -> None:
        self.out: list[str] = []
        self._base = base
        self._code = False
        self._link = ""

    def tag(self, name: str, piece: str) -> None:
        """A tag, beginning or ending something."""
        ends = piece.startswith("</")
        if name == "pre":
            if self._code == ends:
                self.out.append("\n```\n")
            self._code = not ends
        elif name == "a":
            self._end_link()
            self._link = "" if ends else self._target(piece)
            self.out.append("[" if self._link else "")
        else:
            self.out.append("\n" if name in _BLOCKS else "")
            self.out.append("" if ends else _BEFORE.get(name, ""))

    def text(self, text: str) -> None:
        """What stands between tags."""
        with suppress(ValueError):  # a number of thousands of digits is no character
            text = html.unescape(text)
        self.out.append(text if self._code else _SPACES.sub(" ", text))

    def _end_link(self) -> None:
        if self._link:
            self.out.append(f"]({self._link})")

    def _target(self, piece: str) -> str:
        """An address that can be fetched, or an empty string."""
        found = _HREF.search(piece[:_LONGEST_TAG])
        href = html.unescape(next(filter(None, found.groups()), "")) if found else ""
        if not href or href.startswith("#"):
            return ""
        with suppress(ValueError):
            target = urljoin(self._base, href)
            return target if target.startswith(("https://", "http://")) else ""
        return ""
