"""Messages that wait for their turn."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content

from tui.prose import Line
from tui.widgets.fold import ProseView
from tui.words import one_line

_SHOWN = 3
_KEYS = "↑ edit · ^S now · ^X remove"


class QueueView(ProseView):
    """One line for each waiting message, and how to change them; hidden while there is none."""

    def __init__(self) -> None:
        super().__init__(id="queue")
        self.display = False

    def tell(self, waiting: Sequence[str], said: Sequence[str] = ()) -> None:
        """Show what waits for its turn, and what is said to the step in hand and not read yet."""
        self.display = bool(waiting or said)
        lines = [_line("now ▸ ", "$text-warning", text) for text in said[-1:]]
        lines += [_line("queued ", "$think-auto", text) for text in waiting[:_SHOWN]]
        if len(waiting) > _SHOWN:
            lines.append(_line("queued ", "$think-auto", f"and {len(waiting) - _SHOWN} more"))
        if waiting:
            lines[-1].tail = Content.styled(_KEYS, "$muted")
        self.show(lines)


def _line(label: str, colour: str, text: str) -> Line:
    return Line(Content.styled(one_line(text), "$muted"), Content.styled(label, colour), crop=True)
