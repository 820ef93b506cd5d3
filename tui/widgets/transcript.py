"""The conversation so far, oldest first."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widget import Widget

from tui.prose import Line
from tui.widgets.fold import ProseView
from tui.widgets.step import StepView

MOUNTED_LIMIT = 200
"""Entries that stay mounted; above it the oldest leave, a few at a time."""
_BATCH = 20
_LOOSE = 8
"""Latest entries that are never packed."""


class Transcript(VerticalScroll):
    """Follows the end unless the user has scrolled up."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("end", "follow", "To the end"),
    ]
    BINDING_GROUP_TITLE = "In the conversation"

    def __init__(self, limit: int = MOUNTED_LIMIT) -> None:
        super().__init__(id="transcript")
        self.limit = limit
        self._gone = 0
        self._gone_line = ProseView(classes="gone")

    def on_mount(self) -> None:
        """Follow the end from the start."""
        self.anchor()

    async def add(self, entry: Widget) -> None:
        """Put `entry` at the end."""
        await self.mount(entry)
        entries = self._entries()
        for old in entries[-_LOOSE - 2 : -_LOOSE]:
            if isinstance(old, StepView):
                old.pack_all()
        if len(entries) > self.limit:
            await self._drop(entries[: len(entries) - self.limit + min(_BATCH, self.limit // 2)])

    async def clear(self) -> None:
        """Take everything off the screen; the session keeps it."""
        self._gone = 0
        await self.remove_children("*")

    def toggle_thinking(self) -> None:
        """Open all thinking, or close all of it if any is open."""
        steps = list(self.query_children(StepView))
        opened = not any(step.thinks_openly for step in steps)
        for step in steps:
            step.fold_thinking(opened)

    def action_follow(self) -> None:
        """Go to the end and stay there."""
        self.anchor()

    def _entries(self) -> list[Widget]:
        return [child for child in self.children if child is not self._gone_line]

    async def _drop(self, entries: list[Widget]) -> None:
        self._gone += len(entries)
        noun = "entry is" if self._gone == 1 else "entries are"
        text = f"… {self._gone} earlier {noun} no longer shown; the session keeps them"
        self._gone_line.show([Line(Content.styled(text, "$faint"))])
        if not self._gone_line.is_attached:
            await self.mount(self._gone_line, before=0)
        await self.remove_children(entries)
