"""What panels that ask have in common: a key counts as an answer only after a moment of quiet."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

from textual import events
from textual.containers import Vertical, VerticalScroll
from textual.message import Message
from textual.widget import Widget

QUIET_SECONDS = 0.5
"""Keys are not taken as an answer until the panel has stood this long without one."""

_SHARE = 0.65
"""Of the screen's rows, for the panel: prompt and status stay below it."""


class Typed(Message):
    """A key that was meant for the prompt."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text


class AskingPanel(Vertical, can_focus=True):
    """A panel that answers to keys while it has the focus, but not to those that were on their way to the prompt."""

    def __init__(self, id: str | None, clock: Callable[[], float] = monotonic) -> None:  # noqa: A002 - as Textual names it
        super().__init__(id=id)
        self._clock = clock
        self._quiet_until = 0.0

    @property
    def quiet(self) -> bool:
        """Whether keys count."""
        return self._clock() >= self._quiet_until

    def wait_for_quiet(self) -> None:
        """Take no key as an answer for a moment."""
        self._quiet_until = self._clock() + QUIET_SECONDS

    def on_key(self, event: events.Key) -> None:
        """Pass on what is typed too early, or is no answer: it was meant for the prompt."""
        if not self.has_focus or (self.quiet and event.key in self._bindings.key_to_bindings):
            return
        if event.is_printable and event.character:
            event.stop()
            self.post_message(Typed(event.character))
        elif event.key == "enter" and not self.quiet:
            event.stop()

    def fit(self, body: VerticalScroll, *others: Widget) -> None:
        """Give `body` the rows that the `others` leave of the panel's share of the screen."""
        taken = sum(part.outer_size.height for part in others if part.display)
        edges = self.gutter.height + body.styles.margin.height
        body.styles.max_height = max(1, int(self.app.size.height * _SHARE) - taken - edges)
