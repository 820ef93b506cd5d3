"""Messages that wait for their turn."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content

from tui.prose import Line
from tui.widgets.fold import ProseView
from tui.words import one_line

_SHOWN = 3


class QueueView(ProseView):
    """One line for each waiting message, hidden while there is none."""

    def __init__(self) -> None:
        super().__init__(id="queue")
        self.display = False

    def tell(self, waiting: Sequence[str]) -> None:
        """Show what waits."""
        self.display = bool(waiting)
        lines = [self._line(one_line(text)) for text in waiting[:_SHOWN]]
        if len(waiting) > _SHOWN:
            lines.append(self._line(f"and {len(waiting) - _SHOWN} more"))
        self.show(lines)

    @staticmethod
    def _line(text: str) -> Line:
        return Line(Content.styled(text, "$muted"), Content.styled("queued ", "$think-auto"), crop=True)
