"""The sessions of this folder: search them, and go on with one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList
from textual.widgets.option_list import Option

from assistant.errors import UserError
from tui.words import ago, one_line, plural

if TYPE_CHECKING:
    from assistant.sessions import SessionSummary

_SHOWN = 200


class SessionsScreen(ModalScreen[str | None]):
    """A line to search in above the list. Enter goes on with a session, Escape with the one at hand."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "close", "Close"),
        Binding("up", "move(-1)", "The one above", priority=True),
        Binding("down", "move(1)", "The one below", priority=True),
    ]

    def __init__(self, search: Callable[[str], Sequence[SessionSummary]], words: str, current: str) -> None:
        super().__init__()
        self._search = search
        self._words = Input(words, placeholder="Words of the sessions that you look for", classes="note")
        self._list = OptionList(markup=False)
        self._current = current

    def compose(self) -> ComposeResult:
        """The line and the list."""
        with Vertical(id="sessions"):
            yield self._words
            yield self._list

    def on_mount(self) -> None:
        """Show those that fit from the start."""
        self._list.can_focus = False
        self._words.focus()
        self._look(self._words.value)

    def on_input_changed(self, event: Input.Changed) -> None:
        """Search while it is written."""
        self._look(event.value)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Go on with the session that is marked."""
        event.stop()
        if (at := self._list.highlighted) is not None:
            self._choose(self._list.get_option_at_index(at).id)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Go on with the session that was clicked."""
        self._choose(event.option.id)

    def action_move(self, by: int) -> None:
        """Mark another one."""
        if by < 0:
            self._list.action_cursor_up()
        else:
            self._list.action_cursor_down()

    def action_close(self) -> None:
        """Go on with the session at hand."""
        self.dismiss(None)

    def _choose(self, session: str | None) -> None:
        self.dismiss(None if session == self._current else session)

    @work(exclusive=True)
    async def _look(self, words: str) -> None:
        now, why = datetime.now(UTC), "no session has these words"
        try:
            found = await asyncio.to_thread(self._search, words)
        except (UserError, OSError) as error:
            found, why = (), one_line(str(error))
        options = [Option(self._line(one, now), id=one.id) for one in found[:_SHOWN]]
        self._list.clear_options()
        self._list.add_options(options or [Option(why, disabled=True)])
        self._list.highlighted = 0 if options else None

    def _line(self, one: SessionSummary, now: datetime) -> Content:
        name = one_line(getattr(one, "name", "") or one.first_words) or "(nothing was said)"
        here = ("  this one", "$primary") if one.id == self._current else ("", "")
        about = f"  {ago(one.last or one.started, now)} · {plural(one.steps, 'step')} · {one_line(one.model)}"
        return Content.assemble((name, "$foreground"), here, (about, "$muted"))
