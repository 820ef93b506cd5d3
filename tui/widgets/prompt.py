"""Where the user writes."""

from __future__ import annotations

from typing import ClassVar

from textual import events
from textual.actions import SkipAction
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import TextArea


class Prompt(TextArea):
    """Enter sends, Shift+Enter or Ctrl+J starts a new line, Up in an empty prompt brings back what was sent."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "send", "Send"),
        Binding("shift+enter,ctrl+j", "newline", "New line"),
        Binding("up", "earlier", "Earlier message, in an empty prompt", priority=True),
        Binding("down", "later", "Later message", priority=True),
    ]
    BINDING_GROUP_TITLE = "In the prompt"

    class Sent(Message):
        """The user sent `text`."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    def __init__(self, commands: tuple[str, ...] = ()) -> None:
        super().__init__(
            id="prompt",
            compact=True,
            highlight_cursor_line=False,
            placeholder="Ask, or say what to change",
        )
        self._commands = commands
        self._sent: list[str] = []
        self._position = 0

    async def _on_key(self, event: events.Key) -> None:
        """Keys that are not text, in the order in which they came: a burst of typing may end with Enter."""
        match event.key:
            case "enter":
                act = self.action_send
            case "shift+enter" | "ctrl+j":
                act = self.action_newline
            case _:
                return
        event.stop()
        event.prevent_default()
        act()

    def take_back(self, text: str) -> None:
        """Put `text` in front of what stands there."""
        self._put(f"{text}\n{self.text}" if self.text else text)

    def update_suggestion(self) -> None:
        """Complete a command's name while there is only one."""
        found = [name for name in self._commands if name.startswith(self.text)] if self.text.startswith("/") else []
        self.suggestion = found[0][len(self.text) :] if len(found) == 1 else ""

    def action_send(self) -> None:
        """Send the text and empty the prompt."""
        text = self.text.strip()
        if not text:
            return
        if self._sent[-1:] != [text]:
            self._sent.append(text)
        self._position = len(self._sent)
        self.clear()
        self.post_message(self.Sent(text))

    def action_newline(self) -> None:
        """Start a new line."""
        self.insert("\n")

    def action_earlier(self) -> None:
        """One message back; moves the cursor when the text is the user's own."""
        if not self._sent or not (self.text == "" or self._recalled()):
            raise SkipAction
        self._recall(max(0, self._position - 1))

    def action_later(self) -> None:
        """One message forward, to an empty prompt behind the last."""
        if not self._recalled():
            raise SkipAction
        self._recall(self._position + 1)

    def _recalled(self) -> bool:
        return self._position < len(self._sent) and self.text == self._sent[self._position]

    def _recall(self, position: int) -> None:
        self._position = position
        self._put(self._sent[position] if position < len(self._sent) else "")

    def _put(self, text: str) -> None:
        self.text = text
        self.move_cursor(self.document.end)
