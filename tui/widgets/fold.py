"""Prose in one widget, and prose under a title that opens and closes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar, cast

from textual import events
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.css.styles import RulesMap
from textual.selection import Selection
from textual.strip import Strip
from textual.style import Style
from textual.visual import RenderOptions
from textual.widgets import Static

from tui.prose import EMPTY, Line, Prose

LINE_LIMIT = 400
"""Lines of a tool's output that an opened fold shows."""


class ProseView(Static):
    """Shows lines; a selection copies their text without margins. Only rows on the screen are rendered."""

    _looks: tuple[Style, RenderOptions] | None = None

    def __init__(self, lines: Sequence[Line] = (), *, classes: str = "", id: str | None = None) -> None:  # noqa: A002
        super().__init__(Prose(lines), markup=False, classes=classes, id=id)

    def show(self, lines: Sequence[Line]) -> None:
        """Show other lines."""
        self.update(Prose(lines))

    @property
    def lines(self) -> Sequence[Line]:
        """What is shown."""
        return self.visual.lines if isinstance(self.visual, Prose) else ()

    def line_at(self, row: int) -> int:
        """The index of the line that shows in `row`."""
        return self.visual.line_at(row, self.size.width) if isinstance(self.visual, Prose) else 0

    @property
    def plain(self) -> str:
        """What is shown, as text."""
        return self.visual.plain if isinstance(self.visual, Prose) else ""

    def render_line(self, y: int) -> Strip:
        """One row; Textual would render all of them, and a long text is mostly out of sight."""
        if self._looks is None or self._dirty_regions:
            self._looks = self.visual_style, self._options()
            self._dirty_regions.clear()
        style, options = self._looks
        visual, width = self.visual, self.size.width
        strip = visual.render_row(y, width, style, options) if isinstance(visual, Prose) else None
        return Strip.blank(width, style.rich_style) if strip is None else strip

    def _options(self) -> RenderOptions:
        selection, look = self.text_selection, None
        if selection is not None:
            look = Style.from_styles(self.screen.get_component_styles("screen--selection"))
        return RenderOptions(self._get_style, cast("RulesMap", self.styles), selection, look)

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        """The selected text."""
        return selection.extract(self.plain), "\n"


class Fold(ProseView, can_focus=True):
    """A title of one line over a body that is only built while it is open."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter,space", "fold", "Open or close")]
    BINDING_GROUP_TITLE = "On a line with ▸"

    def __init__(self, *, classes: str = "", opened: bool = False) -> None:
        super().__init__(classes=classes)
        self.opened = opened
        self._title: Content = EMPTY
        self._tail: Content = EMPTY
        self._icon: Content | None = None
        self._body: Callable[[], list[Line]] | None = None
        self._peek: Sequence[Line] = ()

    def tell(
        self,
        title: Content,
        body: Callable[[], list[Line]] | None = None,
        *,
        tail: Content = EMPTY,
        icon: Content | None = None,
        peek: Sequence[Line] = (),
    ) -> None:
        """Set what it says; without `body` it cannot be opened, without `icon` it shows which way it stands.

        `peek` is shown below the title while it is closed.
        """
        self._title, self._body, self._tail, self._icon, self._peek = title, body, tail, icon, peek
        self.draw()

    def draw(self) -> None:
        """Show it as it is now."""
        body = self._body() if self.opened and self._body is not None else self._peek
        self.show([Line(self._title, self._mark(), Content("  "), tail=self._tail, crop=True), *body])

    def fold(self, opened: bool) -> None:
        """Open or close it."""
        if opened != self.opened:
            self.opened = opened
            self.draw()

    def action_fold(self) -> None:
        """Open it if closed, close it if open."""
        if self._body is not None:
            self.fold(not self.opened)

    def on_click(self, event: events.Click) -> None:
        """A click on the title toggles, unless it ends a selection."""
        if event.y == 0 and not self.screen.get_selected_text():
            event.stop()
            self.action_fold()

    def _mark(self) -> Content:
        if self._icon is not None:
            return self._icon
        return Content.styled("▾ " if self.opened else "▸ ", "$muted") if self._body else Content("  ")
