"""The commands that fit what is written, above the prompt."""

from __future__ import annotations

from textual.content import Content

from tui.completion import Completions, Entry
from tui.prose import Line
from tui.widgets.fold import ProseView
from tui.words import one_line

_SHOWN = 6
_COLUMN = 26


class CompletionsView(ProseView):
    """One line for each command, hidden while there is none."""

    def __init__(self) -> None:
        super().__init__(id="completions")
        self.display = False

    def tell(self, completions: Completions) -> None:
        """Show the commands around the picked one."""
        found = completions.found
        self.display = bool(found)
        start = max(0, min(completions.at - _SHOWN // 2, len(found) - _SHOWN))
        lines = [_line(entry, picked=entry is completions.picked) for entry in found[start : start + _SHOWN]]
        self.show([*lines, *_more(len(found) - len(lines))])


def _line(entry: Entry, *, picked: bool) -> Line:
    mark = Content.styled("▸ " if picked else "  ", "$primary")
    usage = Content.styled(f"/{entry.usage:<{_COLUMN}} ", "bold $primary" if picked else "$foreground")
    return Line(Content.assemble(usage, (one_line(entry.help), "$muted")), mark, crop=True)


def _more(number: int) -> list[Line]:
    text = f"… {number} more; ↑ ↓ pick, Tab completes"
    return [Line(Content.styled(text, "$faint"), Content("  "), crop=True)] if number > 0 else []
