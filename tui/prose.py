"""Text laid out in logical lines, each with its own margin: what every widget of the transcript shows.

One widget that shows a `Prose` replaces the many that Textual's Markdown mounts. Margins are not part of the text, so
a selection copies what was written and nothing else.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate

from rich.segment import Segment
from rich.style import Style as RichStyle
from textual.content import Content
from textual.css.styles import RulesMap
from textual.geometry import Offset
from textual.selection import Selection
from textual.strip import Strip
from textual.style import Style
from textual.visual import RenderOptions, Visual

EMPTY = Content("")

LONGEST_LINE = 1000
"""Characters after which a line that still grows goes on in another, so that adding to it stays cheap."""


@dataclass(eq=False, slots=True)
class Line:
    """A logical line: `first` stands before its first row, `rest` before those it wraps to.

    `tail` is set flush right where there is room, `fill` is a style for the row's whole width, and with `crop` the
    line takes one row and ends in an ellipsis. Lines are shown more than once and must not be changed.
    """

    body: Content
    first: Content = EMPTY
    rest: Content = EMPTY
    tail: Content = EMPTY
    fill: str = ""
    crop: bool = False
    _strips: dict[tuple[int, int, Style], list[Strip]] = field(default_factory=dict, init=False, repr=False)
    _height: tuple[int, int] = field(default=(0, 0), init=False, repr=False)

    def inset(self, margin: Content) -> Line:
        """The same line further to the right."""
        return Line(self.body, margin + self.first, margin + self.rest, self.tail, self.fill, self.crop)

    def height(self, rules: RulesMap, width: int) -> int:
        """Rows that the line takes at `width` cells."""
        if self._height[0] != width:
            self._height = width, 1 if self.crop or not self.body else self.body.get_height(rules, self._room(width))
        return self._height[1]

    def strips(self, width: int, y: int, style: Style, options: RenderOptions) -> list[Strip]:
        """The rows, with offsets for selection as if the line were the `y`-th of the text."""
        if options.selection is not None:
            return self._render(width, y, style, options)
        key = (width, y, style)
        if key not in self._strips:
            self._strips.clear()
            self._strips[key] = self._render(width, y, style, options)
        return self._strips[key]

    def _room(self, width: int) -> int:
        return max(1, width - max(self.first.cell_length, self.rest.cell_length))

    def _render(self, width: int, y: int, style: Style, options: RenderOptions) -> list[Strip]:
        base = style + options.get_style(self.fill) if self.fill else style
        body, tail = self._fitted(self._room(width))
        rows = body.render_strips(self._room(width), None, base, _for_line(options, y)) or [Strip([])]
        margins = [self.first] + [self.rest] * (len(rows) - 1)
        strips = [_joined(margin, row, y, base, options) for margin, row in zip(margins, rows, strict=True)]
        if tail:
            gap = width - strips[0].cell_length - tail.cell_length
            strips[0] = Strip.join([strips[0], Strip.blank(gap, base.rich_style), _strip(tail, base, options)])
        if self.fill:
            strips = [strip.extend_cell_length(width, base.rich_style) for strip in strips]
        return strips

    def _fitted(self, room: int) -> tuple[Content, Content]:
        """Body and tail, cut to `room` cells: the tail goes when the body would keep less than half of it."""
        body = self.body or Content(" ")
        tail = self.tail
        if tail and min(body.cell_length, room // 2) + tail.cell_length + 2 > room:
            tail = EMPTY
        if self.crop:
            body = body.truncate(room - (tail.cell_length + 2 if tail else 0), ellipsis=True)
        return body, tail


def _for_line(options: RenderOptions, y: int) -> RenderOptions:
    """The options for one line of the text, its part of the selection told as if it stood alone."""
    if options.selection is None or (span := options.selection.get_span(y)) is None:
        return replace(options, selection=None)
    start, end = span
    return replace(options, selection=Selection(Offset(start, 0), None if end == -1 else Offset(end, 0)))


def _strip(content: Content, style: Style, options: RenderOptions) -> Strip:
    plain = replace(options, selection=None)
    return content.render_strips(max(1, content.cell_length), 1, style, plain)[0]


def _joined(margin: Content, row: Strip, y: int, style: Style, options: RenderOptions) -> Strip:
    moved = Strip([_moved(segment, y) for segment in row], row.cell_length) if y else row
    if not margin:
        return moved
    edge = _strip(margin, style, options)
    start = RichStyle.from_meta({"offset": (0, y)})
    edge = Strip([Segment(text, (edge_style or RichStyle()) + start) for text, edge_style, _ in edge], edge.cell_length)
    return Strip.join([edge, moved])


def _moved(segment: Segment, y: int) -> Segment:
    style = segment.style
    if style is None or "offset" not in style.meta:
        return segment
    return Segment(segment.text, style + RichStyle.from_meta({"offset": (style.meta["offset"][0], y)}))


class Prose(Visual):
    """Lines, one under the other; a row is made when it is looked at."""

    def __init__(self, lines: Sequence[Line]) -> None:
        self.lines = lines
        self._width = 0
        self._ends: list[int] = []

    @property
    def plain(self) -> str:
        """The text without margins, tails and styles."""
        return "\n".join(line.body.plain for line in self.lines)

    def get_optimal_width(self, rules: RulesMap, container_width: int) -> int:
        """The width at which nothing wraps, in cells."""
        return max((line.first.cell_length + line.body.cell_length for line in self.lines), default=0)

    def get_height(self, rules: RulesMap, width: int) -> int:
        """Rows at `width` cells."""
        return next(reversed(self._rows(width)), 0)

    def line_at(self, row: int, width: int) -> int:
        """The index of the line that shows in `row` at `width` cells."""
        return max(0, min(bisect_right(self._rows(width), row), len(self.lines) - 1))

    def render_row(self, row: int, width: int, style: Style, options: RenderOptions) -> Strip | None:
        """One row at `width` cells, None below the last; no other line is rendered for it."""
        ends = self._rows(width)
        if width <= 0 or not ends or not 0 <= row < ends[-1]:
            return None
        y = bisect_right(ends, row)
        strips = self.lines[y].strips(width, y, style, options)
        at = row - ends[y] + self.lines[y].height({}, width)
        return strips[at] if at < len(strips) else None

    def render_strips(self, width: int, height: int | None, style: Style, options: RenderOptions) -> list[Strip]:
        """The rows at `width` cells, `height` of them at most."""
        if width <= 0:
            return []
        strips = [strip for y, line in enumerate(self.lines) for strip in line.strips(width, y, style, options)]
        return strips if height is None else strips[:height]

    def _rows(self, width: int) -> list[int]:
        if self._width != width:
            self._width, self._ends = width, list(accumulate(line.height({}, width) for line in self.lines))
        return self._ends


class GrowingText:
    """Plain text that grows by pieces: whole rows keep their lines, only the last one is made anew."""

    def __init__(self, margin: Content = EMPTY, style: str = "", fill: str = "") -> None:
        self._margin, self._style, self._fill = margin, style, fill
        self._done: list[Line] = []
        self._rest = ""

    def __bool__(self) -> bool:
        return bool(self._done or self._rest)

    def feed(self, text: str) -> None:
        """Take the next piece."""
        *rows, rest = (self._rest + text).split("\n")
        for row in rows:
            self._done.append(self._line(self._shortened(row)))
        self._rest = self._shortened(rest)

    def lines(self, more: str = "") -> list[Line]:
        """All lines, `more` behind the last; blank ones at the end wait for text."""
        if last := self._rest + more:
            return [*self._done, self._line(last)]
        end = len(self._done)
        while end and not self._done[end - 1].body:
            end -= 1
        return self._done[:end]

    def _shortened(self, row: str) -> str:
        """The end of `row`, once whole lines are cut from its front."""
        while len(row) > LONGEST_LINE:
            cut = row.rfind(" ", 1, LONGEST_LINE) + 1 or LONGEST_LINE
            self._done.append(self._line(row[:cut].rstrip(" ")))
            row = row[cut:]
        return row

    def _line(self, row: str) -> Line:
        return Line(Content.styled(row, self._style), self._margin, self._margin, fill=self._fill)


def text_lines(text: str, margin: Content = EMPTY, style: str = "", limit: int = 0) -> list[Line]:
    """Plain text as lines; of more than `limit` lines (0 is no limit) the first are shown and the rest is counted."""
    rows = text.split("\n")
    shown = rows[:limit] if limit else rows
    lines = [Line(Content.styled(row, style), margin, margin) for row in shown]
    if len(shown) < len(rows):
        lines.append(Line(Content.styled(f"… {len(rows) - len(shown)} more lines", "$muted"), margin, margin))
    return lines
