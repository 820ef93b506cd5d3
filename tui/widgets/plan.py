"""The model's list of things to do, as it is now."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content

from assistant.records import PlanItem
from tui.prose import Line
from tui.widgets.fold import Fold
from tui.words import one_line

_MARKS = {"done": ("✓ ", "$text-success"), "doing": ("▶ ", "$primary"), "open": ("○ ", "$muted")}
_STYLES = {"done": "$muted", "doing": "bold $foreground", "open": "$foreground"}
_ROWS = 8
"""Things that are shown; of a longer list those around the one in hand."""


class PlanView(Fold):
    """One line that opens to the list; hidden when there is none, and when all of it is done."""

    def __init__(self) -> None:
        super().__init__(opened=True)
        self.id = "plan"
        self.display = False
        self._items: Sequence[PlanItem] = ()
        self._aside = False

    def tell_plan(self, items: Sequence[PlanItem]) -> None:
        """Show this list in the place of the one before."""
        self._items = items
        self._appear()
        self._say()

    def step_aside(self, *, aside: bool) -> None:
        """Leave its rows to a question while there is one."""
        self._aside = aside
        self._appear()

    def draw(self) -> None:
        """Closed, the line names what is in hand; opened, the list does."""
        self._title = self._heading()
        super().draw()

    def _appear(self) -> None:
        self.display = not self._aside and any(item.state != "done" for item in self._items)

    def _say(self) -> None:
        self.tell(self._heading(), self._rows)

    def _heading(self) -> Content:
        done = sum(item.state == "done" for item in self._items)
        counted = Content.assemble(("to do", "$primary"), (f"  {done} of {len(self._items)} done", "$muted"))
        doing = next((one_line(item.text) for item in self._items if item.state != "done"), "")
        return counted if self.opened else Content.assemble(counted, (f" · {doing}", "$foreground"))

    def _rows(self) -> list[Line]:
        start = self._start()
        shown = self._items[start : start + _ROWS]
        lines = [_row(item) for item in shown]
        if start:
            lines.insert(0, _count(f"… {start} before"))
        if rest := len(self._items) - start - len(shown):
            lines.append(_count(f"… {rest} more"))
        return lines

    def _start(self) -> int:
        """The first thing shown: one before the first that is not done, as far as the rest fills the rows."""
        pending = next((n for n, item in enumerate(self._items) if item.state != "done"), 0)
        return max(0, min(pending - 1, len(self._items) - _ROWS))


def _row(item: PlanItem) -> Line:
    return Line(
        Content.styled(one_line(item.text), _STYLES[item.state]), Content.styled(*_MARKS[item.state]), crop=True
    )


def _count(text: str) -> Line:
    return Line(Content.styled(text, "$muted"), Content("  "))
