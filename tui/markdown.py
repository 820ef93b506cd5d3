"""Markdown as lines of prose, parsed again only from its last block on while it streams."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cache, lru_cache

from markdown_it import MarkdownIt
from markdown_it.token import Token
from textual.content import Content, Span
from textual.highlight import highlight

from tui.prose import EMPTY, LONGEST_LINE, GrowingText, Line

_BULLETS = ("• ", "◦ ", "▪ ")
_QUOTE = Content.styled("▎ ", "$secondary")
_CODE_FILL = "on $code"
_CODE_EDGE = Content(" ")
_CODE_LIMIT = 40_000
_INLINE_STYLES = {"em_open": "italic", "strong_open": "bold", "s_open": "strike", "link_open": "underline $primary"}


@cache
def _parser() -> MarkdownIt:
    """Raw HTML is text here: a coding model that writes ``<T>`` means it."""
    return MarkdownIt("gfm-like").disable(["html_block", "html_inline", "linkify"])


class MarkdownText:
    """Markdown that grows; `lines` is how it looks so far, `close` how it looks at its end.

    A block is settled when the next one starts. Code that is not yet closed is shown row by row without colours.
    """

    def __init__(self, source: str = "") -> None:
        self.source = source
        self._settled: list[Line] = []
        self._start = 0
        self._fence: _OpenFence | None = None

    def feed(self, text: str) -> None:
        """Take the next piece."""
        self.source += text

    def lines(self) -> list[Line]:
        """All lines; those of blocks that can no longer change are the same objects as before."""
        if self._fence is not None and not self._read_fence(self._fence):
            return self._settled + self._fence.lines()
        base, tail = self._start, self.source[self._start :]
        tokens = _parser().parse(tail)
        last = next((i for i in reversed(range(len(tokens))) if _opens_block(tokens[i])), 0)
        if last:
            self._settle(tokens[:last], _offset(tail, _first_row(tokens[last])))
        if tokens and tokens[last].type == "fence":
            body = _offset(tail, _first_row(tokens[last]) + 1)
            if tail[body - 1] == "\n":
                self._fence = _OpenFence(tokens[last], follows=bool(self._settled), start=base + body)
                return self.lines()
        return self._settled + render(tokens[last:], follows=bool(self._settled), growing=True)

    def close(self) -> list[Line]:
        """All lines, nothing more to come."""
        return self._settled + render(_parser().parse(self.source[self._start :]), follows=bool(self._settled))

    def _read_fence(self, fence: _OpenFence) -> bool:
        """Whether the fence is closed now; then it is settled."""
        if not fence.read(self.source):
            return False
        self._fence = None
        self._settle(_parser().parse(self.source[self._start : fence.position]), fence.position - self._start)
        return True

    def _settle(self, tokens: list[Token], length: int) -> None:
        self._settled += render(tokens, follows=bool(self._settled))
        self._start += length


class _OpenFence:
    """Code whose end has not come: its rows as they are."""

    def __init__(self, token: Token, *, follows: bool, start: int) -> None:
        mark = token.markup
        self.position = start
        self._close = re.compile(rf" {{0,3}}{re.escape(mark[0])}{{{len(mark)},}}[ \t]*")
        self._above = [Line(EMPTY)] if follows else []
        self._text = GrowingText(_CODE_EDGE, "$text", fill=_CODE_FILL)
        self._rest = ""
        self._long = False

    def read(self, source: str) -> bool:
        """Take what is new in `source`; whether the code is closed, `position` being behind it then."""
        while (end := source.find("\n", self.position)) >= 0:
            row, self.position = source[self.position : end], end + 1
            if not self._long and self._close.fullmatch(row):
                return True
            self._long = False
            self._text.feed(f"{row}\n")
        self._rest = source[self.position :]
        if len(self._rest) > LONGEST_LINE:
            self._text.feed(self._rest)
            self.position, self._rest, self._long = len(source), "", True
        return False

    def lines(self) -> list[Line]:
        """The rows so far."""
        rest = "" if self._close.fullmatch(self._rest) else self._rest
        empty = Line(EMPTY, _CODE_EDGE, fill=_CODE_FILL)
        return [*self._above, *(self._text.lines(rest) or [empty])]


def _first_row(token: Token) -> int:
    return token.map[0] if token.map else 0


def _offset(text: str, row: int) -> int:
    """Where `row` starts in `text`."""
    at = 0
    for _ in range(row):
        at = text.find("\n", at) + 1 or len(text)
    return at


def _opens_block(token: Token) -> bool:
    return token.level == 0 and token.nesting >= 0 and token.map is not None


def render(tokens: Sequence[Token], *, follows: bool = False, growing: bool = False) -> list[Line]:
    """The lines of parsed blocks; `follows` says that others stand above them, `growing` that the last may go on."""
    leaf = next((token for token in reversed(tokens) if token.nesting == 0), None)
    writer = _Writer(follows, leaf if growing else None)
    for token in tokens:
        writer.write(token)
    return writer.lines


class _Writer:
    """Turns block tokens into lines, keeping track of margins, list markers and tables."""

    def __init__(self, follows: bool, growing: Token | None) -> None:
        self.lines: list[Line] = []
        self._follows = follows
        self._growing = growing
        self._margins: list[Content] = []
        self._marker: Content | None = None
        self._counters: list[int | None] = []
        self._style = ""
        self._first = False
        self._table: list[list[Content]] | None = None

    def write(self, token: Token) -> None:
        """Take the next token."""
        if token.nesting < 0:
            self._close(token)
        elif token.nesting > 0:
            self._open(token)
        else:
            self._leaf(token)

    def _open(self, token: Token) -> None:
        match token.type:
            case "bullet_list_open" | "ordered_list_open":
                self._open_list(token)
            case "list_item_open":
                self._open_item()
            case "blockquote_open":
                self._gap(token)
                self._margins.append(_QUOTE)
                self._first = True
            case "heading_open":
                self._gap(token)
                self._style = "bold $primary" if token.tag in ("h1", "h2") else "bold"
            case "paragraph_open":
                self._gap(token)
            case "table_open":
                self._gap(token)
                self._table = []
            case "tr_open" if self._table is not None:
                self._table.append([])
            case _:
                pass

    def _close(self, token: Token) -> None:
        match token.type:
            case "bullet_list_close" | "ordered_list_close":
                self._counters.pop()
            case "list_item_close":
                self._margins.pop()
                self._marker = None
            case "blockquote_close":
                self._margins.pop()
            case "heading_close":
                self._style = ""
            case "table_close":
                self._write_table()
            case _:
                pass

    def _leaf(self, token: Token) -> None:
        match token.type:
            case "inline" if self._table is not None:
                self._table[-1].append(inline(token.children or []))
            case "inline":
                for row in inline(token.children or []).split("\n", allow_blank=True):
                    self._line(row.stylize(self._style) if self._style else row)
            case "fence" | "code_block":
                self._gap(token)
                self._code(token)
            case "hr":
                self._gap(token)
                self._line(Content.styled("─" * 24, "$faint"))
            case _:
                pass

    def _open_list(self, token: Token) -> None:
        if not self._counters:
            self._gap(token)
        ordered = token.type == "ordered_list_open"
        self._counters.append(int(token.attrs.get("start", 1)) if ordered else None)

    def _open_item(self) -> None:
        counter = self._counters[-1]
        text = _BULLETS[(len(self._counters) - 1) % len(_BULLETS)] if counter is None else f"{counter}. "
        if counter is not None:
            self._counters[-1] = counter + 1
        self._marker = Content.styled(text, "$secondary")
        self._margins.append(Content(" " * len(text)))

    def _gap(self, token: Token) -> None:
        first, self._first = self._first, False
        if first or token.hidden or self._marker is not None or not (self.lines or self._follows):
            return
        self.lines.append(Line(EMPTY, self._margin()))

    def _margin(self) -> Content:
        return EMPTY.join(self._margins) if self._margins else EMPTY

    def _line(self, body: Content, fill: str = "") -> None:
        rest = self._margin()
        first = rest
        if self._marker is not None:
            first = EMPTY.join([*self._margins[:-1], self._marker])
            self._marker = None
        self.lines.append(Line(body, first, rest, fill=fill))

    def _code(self, token: Token) -> None:
        code = token.content.rstrip("\n")
        named = token.info.split() if len(code) < _CODE_LIMIT and token is not self._growing else []
        self._margins.append(_CODE_EDGE)
        plain = (Content.styled(row, "$text") for row in code.split("\n"))
        for row in _coloured(code, named[0]) if named else plain:
            self._line(row, fill=_CODE_FILL)
        self._margins.pop()

    def _write_table(self) -> None:
        rows, self._table = self._table or [], None
        widths = [max(cell.cell_length for cell in column) for column in zip(*rows, strict=False)]
        for number, row in enumerate(rows):
            body = Content.styled(" │ ", "$faint").join(_padded(row, widths))
            self._line(body.stylize("bold") if number == 0 else body)
            if number == 0:
                self._line(Content.styled("─┼─".join("─" * width for width in widths), "$faint"))


@lru_cache(maxsize=32)
def _coloured(code: str, language: str) -> tuple[Content, ...]:
    """The rows of code; kept, for a list is rendered anew while it grows."""
    return tuple(highlight(code, language=language).split("\n", allow_blank=True))


def _padded(row: Sequence[Content], widths: Sequence[int]) -> list[Content]:
    return [cell.pad_right(width - cell.cell_length) for cell, width in zip(row, widths, strict=False)]


def inline(tokens: Iterable[Token]) -> Content:
    """The text of a paragraph; links are shown, not followed."""
    parts: list[str] = []
    spans: list[Span] = []
    stack: list[tuple[str, int]] = []
    position = 0
    for token in tokens:
        text, style = _inline_text(token), _INLINE_STYLES.get(token.type)
        if style:
            stack.append((style, position))
        elif token.nesting < 0 and stack:
            opened, start = stack.pop()
            spans.append(Span(start, position, opened))
        elif token.type == "code_inline":
            spans.append(Span(position, position + len(text), "$code-text on $code"))
        parts.append(text)
        position += len(text)
    return Content("".join(parts), spans)


def _inline_text(token: Token) -> str:
    match token.type:
        case "softbreak":
            return " "
        case "hardbreak":
            return "\n"
        case "image":
            return f"[{token.content}]"
        case _:
            return token.content
