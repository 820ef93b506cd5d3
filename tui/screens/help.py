"""Keys and commands, read from the bindings and the command list."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen

from tui.commands import COMMANDS
from tui.prose import EMPTY, Line
from tui.widgets.fold import ProseView

_KEY_NAMES = {
    "enter": "Enter",
    "escape": "Esc",
    "space": "Space",
    "up": "↑",
    "down": "↓",
    "pageup": "PgUp",
    "pagedown": "PgDn",
    "end": "End",
    "f1": "F1",
}

Section = tuple[str, Sequence[BindingType]]


class HelpScreen(ModalScreen[None]):
    """Closes with Escape, Enter or F1."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,enter,f1,q", "dismiss", "Close")]

    def __init__(self, sections: Iterable[Section]) -> None:
        super().__init__()
        self._sections = list(sections)

    def compose(self) -> ComposeResult:
        """One scrolling page."""
        with VerticalScroll(id="help"):
            yield ProseView(help_lines(self._sections))


def help_lines(sections: Iterable[Section]) -> list[Line]:
    """The text of the help page."""
    lines: list[Line] = []
    for title, bindings in sections:
        rows = [(_keys(one.key), one.description) for one in Binding.make_bindings(bindings) if one.show]
        lines += _section(title, _merged(rows))
    return lines + _section("Commands", [(f"/{one.usage}", one.help) for one in COMMANDS])


def _keys(key: str) -> str:
    """A key as it is printed on keyboards; a single letter stays small."""
    *modifiers, last = key.split("+")
    name = _KEY_NAMES.get(last, last.upper() if modifiers else last)
    return "+".join([*(part.capitalize() for part in modifiers), name])


def _merged(rows: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Keys that do the same on one row."""
    merged: dict[str, list[str]] = {}
    for key, description in rows:
        merged.setdefault(description, []).append(key)
    return [(", ".join(keys), description) for description, keys in merged.items()]


def _section(title: str, rows: Sequence[tuple[str, str]]) -> list[Line]:
    width = 22
    lines = [Line(Content.styled(title, "bold $primary"))]
    for key, description in rows:
        first = Content.styled(f"  {key:<{width - 2}}", "$foreground")
        lines.append(Line(Content.styled(description, "$muted"), first, Content("    ")))
    return [*lines, Line(EMPTY)]
