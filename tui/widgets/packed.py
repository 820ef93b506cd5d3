"""Parts that can be shown as one widget: the cost of a screen grows with its widgets, and old steps are many."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.content import Content

from tui.prose import EMPTY, Line
from tui.widgets.fold import Fold, ProseView


class Packable(ProseView):
    """A container of prose that can stand for its parts, looking like them, until it is clicked."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter,space", "unpack", "Open", show=False)]

    def __init__(self, *, classes: str) -> None:
        super().__init__(classes=classes)
        self.packed = False
        self._shown: list[ProseView] = []
        self._titles: dict[int, ProseView] = {}

    @property
    def is_container(self) -> bool:
        """Packed, it is a leaf for the layout."""
        return not self.packed

    def pack(self, parts: Sequence[ProseView]) -> None:
        """Show what `parts` show, where they show it, and hide them."""
        lines: list[Line] = []
        self._titles = {}
        for part in parts:
            lines += [Line(EMPTY)] * part.styles.margin.top
            self._titles[len(lines)] = part
            margin = Content(" " * part.styles.padding.left)
            lines += [line.inset(margin) for line in part.lines]
        self._shown = list(parts)
        self._turn(packed=True)
        self.show(lines)

    def unpack(self) -> None:
        """Show the parts again."""
        if self.packed:
            self._turn(packed=False)
            self.show([])

    def action_unpack(self) -> None:
        """Show the parts and go to the first."""
        self.unpack()
        self._shown[0].focus()

    def on_click(self, event: events.Click) -> None:
        """Show the parts, and open the one whose title was clicked; a click that ends a selection does nothing."""
        if not self.packed or self.screen.get_selected_text():
            return
        event.stop()
        part = self._titles.get(self.line_at(event.y))
        self.unpack()
        if isinstance(part, Fold):
            part.focus()
            part.action_fold()

    def _turn(self, *, packed: bool) -> None:
        self.packed = self.can_focus = packed
        for part in self._shown:
            part.display = not packed
