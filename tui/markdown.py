"""Markdown as lines of prose, parsed again only from its last block on while it streams."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache

from markdown_it import MarkdownIt
from markdown_it.token import Token
from textual.content import Content, Span
from textual.highlight import highlight

from tui.prose import EMPTY, Line

_BULLETS = ("• ", "◦ ", "▪ ")
_QUOTE = Content.styled("▎ ", "$secondary")
_CODE_FILL = "on $code"
_CODE_LIMIT = 40_000
_INLINE_STYLES = {"em_open": "italic", "strong_open": "bold", "s_open": "strike", "link_open": "underline $primary"}


@cache
def _parser() -> MarkdownIt:
    """Raw HTML is text here: a coding model that writes ``<T>`` means it."""
    return MarkdownIt("gfm-like").disable(["html_block", "html_inline", "linkify"])


class MarkdownText:
    """Markdown that grows; `lines` is how it looks so far. Feeding is linear for text made of short blocks."""

    def __init__(self, source: str = "") -> None:
        self.source = source
        self._settled: list[Line] = []
        self._start = 0

    def feed(self, text: str) -> None:
        """Take the next piece."""
        self.source += text

    def lines(self) -> list[Line]:
        """All lines; those of blocks that can no longer change are the same objects as before."""
        tail = self.source[self._start :]
        tokens = _parser().parse(tail)
        last = next((i for i in reversed(range(len(tokens))) if _opens_block(tokens[i])), 0)
        if last:
            self._settled += render(tokens[:last], follows=bool(self._settled))
            row = (tokens[last].map or [0])[0]
            self._start += sum(map(len, tail.split("\n")[:row])) + row
        return self._settled + render(tokens[last:], follows=bool(self._settled))


def _opens_block(token: Token) -> bool:
    return token.level == 0 and token.nesting >= 0 and token.map is not None


def render(tokens: Iterable[Token], *, follows: bool = False) -> list[Line]:
    """The lines of parsed blocks; `follows` says that other blocks stand above them."""
    writer = _Writer(follows)
    for token in tokens:
        writer.write(token)
    return writer.lines


class _Writer:
    """Turns block tokens into lines, keeping track of margins, list markers and tables."""

    def __init__(self, follows: bool) -> None:
        self.lines: list[Line] = []
        self._follows = follows
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
        language = token.info.split()[0] if token.info.split() and len(code) < _CODE_LIMIT else "text"
        edge = Content(" ")
        self._margins.append(edge)
        for row in highlight(code, language=language).split("\n", allow_blank=True):
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
