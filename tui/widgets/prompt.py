"""Where the user writes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import TextArea

from tui.completion import Completions, Entry
from tui.widgets.completions import CompletionsView


class Prompt(TextArea):
    """Enter sends, Shift+Enter or Ctrl+J starts a new line, Up in an empty prompt brings back what was written.

    That is the last message that still waits, which then waits no more, or else what was sent.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "send", "Send"),
        Binding("shift+enter,ctrl+j", "newline", "New line"),
        Binding("up", "earlier", "Empty: edit the last queued message, else an earlier one"),
        Binding("down", "later", "Later message"),
        Binding("tab", "complete", "Complete a command; else go to what asks"),
        Binding("ctrl+s", "say_now", "Say it now, before the next step; empty: the first queued"),
        Binding("ctrl+x", "drop_queued", "Empty: remove the last queued message; else cut the line"),
        Binding("pageup", "app.scroll_transcript(-1)", "Scroll the conversation", show=False),
        Binding("pagedown", "app.scroll_transcript(1)", "Scroll the conversation", show=False),
    ]
    BINDING_GROUP_TITLE = "In the prompt"

    class Sent(Message):
        """The user sent `text`."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    class SaidNow(Message):
        """The user wants `text` to be read before the next step; empty for the first message that waits."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    class Left(Message):
        """The user wants to go elsewhere."""

    def __init__(self, entries: Iterable[Entry] = (), unqueue: Callable[[], str] = str) -> None:
        super().__init__(
            id="prompt",
            compact=True,
            highlight_cursor_line=False,
            placeholder="Ask, or say what to change",
        )
        self.completions = CompletionsView()
        self._completions = Completions(entries)
        self._unqueue = unqueue
        self._sent: list[str] = []
        self._position = 0

    async def _on_key(self, event: events.Key) -> None:
        """Run what a key is bound to here, in the order of the keys: text typed behind it must not come before it."""
        if event.key == "escape" and self._completions.dismiss():
            self._offer()
        elif not await self._ran(event.key):
            return
        event.stop()
        event.prevent_default()

    async def _ran(self, key: str) -> bool:
        for bound in self._bindings.key_to_bindings.get(key, ()):
            if await self.app.run_action(bound.action, self):
                return True
        return False

    def take_back(self, text: str) -> None:
        """Put `text` in front of what stands there."""
        self._put(f"{text}\n{self.text}" if self.text else text)

    def know(self, entries: Iterable[Entry]) -> None:
        """Complete these."""
        self._completions = Completions(entries)

    def update_suggestion(self) -> None:
        """Offer the commands that begin like this."""
        self._completions.write(self.text)
        self._offer()

    def action_send(self) -> None:
        """Send the text and empty the prompt; of a name that is not whole yet, write the rest and wait."""
        if self._completions.unfinished:
            self.action_complete()
        elif text := self._taken():
            self.post_message(self.Sent(text))

    def action_say_now(self) -> None:
        """Say the text between two steps, or what waits first."""
        self.post_message(self.SaidNow(self._taken()))

    def action_complete(self) -> None:
        """Write the picked command."""
        if (entry := self._completions.picked) is None:
            self.post_message(self.Left())
        elif " " not in self.text:
            self._put(f"{entry.name} " if entry.takes_words else entry.name)

    def action_drop_queued(self) -> None:
        """Remove the last message that waits; Up brings it back, as all that was written."""
        if self.text:
            self.action_cut()
        elif text := self._unqueue():
            self._remember(text)

    def action_newline(self) -> None:
        """Start a new line."""
        self.insert("\n")

    def action_earlier(self) -> None:
        """One command or message back; moves the cursor when the text is the user's own."""
        if self._move(-1):
            return
        if not self.text and (text := self._unqueue()):
            self._put(text)
            return
        if not self._sent or not (self.text == "" or self._recalled()):
            self.action_cursor_up()
            return
        self._recall(max(0, self._position - 1))

    def action_later(self) -> None:
        """One command or message forward, to an empty prompt behind the last."""
        if self._move(1):
            return
        if not self._recalled():
            self.action_cursor_down()
            return
        self._recall(self._position + 1)

    def _move(self, by: int) -> bool:
        """Pick another command, where there are several."""
        if len(self._completions.found) < 2 or self._recalled():
            return False
        self._completions.move(by)
        self._offer()
        return True

    def _offer(self) -> None:
        self.suggestion = self._completions.rest
        self.completions.tell(self._completions)

    def _taken(self) -> str:
        """The text, which is no longer there."""
        if text := self.text.strip():
            self._remember(text)
            self.clear()
        return text

    def _remember(self, text: str) -> None:
        if self._sent[-1:] != [text]:
            self._sent.append(text)
        self._position = len(self._sent)

    def _recalled(self) -> bool:
        return self._position < len(self._sent) and self.text == self._sent[self._position]

    def _recall(self, position: int) -> None:
        self._position = position
        self._put(self._sent[position] if position < len(self._sent) else "")

    def _put(self, text: str) -> None:
        self.text = text
        self.move_cursor(self.document.end)
