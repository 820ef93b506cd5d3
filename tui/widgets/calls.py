"""A tool call: one line that opens to its arguments, its diff and its output."""

from __future__ import annotations

import json

from textual.content import Content

from assistant.events import ApprovalAsked, ApprovalGiven, CallFinished, CallStarted, Decision
from assistant.safety.sanitize import sanitize
from tui.diff import diff_lines
from tui.prose import EMPTY, Line, text_lines
from tui.widgets.fold import LINE_LIMIT, Fold
from tui.words import one_line

_ICONS = {
    "running": ("◌ ", "$primary"),
    "asked": ("? ", "$text-warning"),
    "ok": ("✓ ", "$text-success"),
    "denied": ("⊘ ", "$text-warning"),
    "unfinished": ("– ", "$muted"),
}
_FAILED = ("✗ ", "$text-error")
_DECISIONS = {
    Decision.ONCE: "allowed once",
    Decision.SESSION: "allowed for this session",
    Decision.ALWAYS: "always allowed",
    Decision.NO: "refused",
}
_MARGIN = Content.styled("  │ ", "$faint")


class CallView(Fold):
    """One call, from its start to its outcome."""

    def __init__(self, call: CallStarted) -> None:
        super().__init__(classes="call")
        self.call = call
        self.state = "running"
        self._asked: ApprovalAsked | None = None
        self._given = ""
        self._finished: CallFinished | None = None
        self._say()

    def ask(self, asked: ApprovalAsked) -> None:
        """Somebody is asked about it."""
        self.state, self._asked = "asked", asked
        self._say()

    def answered(self, given: ApprovalGiven) -> None:
        """It was decided."""
        self.state = "running"
        self._given = f"{_DECISIONS[given.decision]} by {one_line(given.by)}"
        self._say()

    def finish(self, finished: CallFinished) -> None:
        """It is over."""
        self.state, self._finished = finished.outcome, finished
        self._say()

    def abandon(self) -> None:
        """The run is over and the call is not."""
        if self._finished is None:
            self.state = "unfinished"
            self._say()

    def _say(self) -> None:
        tool, title = one_line(self.call.tool), one_line(self.call.title)
        parts: list[Content | tuple[str, str]] = [(title or tool, "$foreground")]
        if summary := one_line(self._finished.summary) if self._finished else "":
            parts.append((f"  {summary}", "$muted"))
        icon = Content.styled(*_ICONS.get(self.state, _FAILED))
        self.tell(Content.assemble(*parts), self._details, icon=icon)

    def _details(self) -> list[Line]:
        lines = [Line(Content.styled(one_line(self.call.tool), "bold $muted"), _MARGIN, _MARGIN)]
        for name, value in self.call.arguments.items():
            lines += _argument(name, value)
        if self._asked is not None and self._asked.preview_kind == "diff":
            lines += [line.inset(_MARGIN) for line in diff_lines(sanitize(self._asked.preview))]
        if self._given:
            lines.append(Line(Content.styled(self._given, "$muted"), _MARGIN, _MARGIN))
        if self._finished is not None and self._finished.output:
            output = sanitize(self._finished.output).rstrip("\n")
            lines += [Line(EMPTY, _MARGIN), *text_lines(output, _MARGIN, "$muted", LINE_LIMIT)]
        return lines


def _argument(name: str, value: object) -> list[Line]:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    key = Content.styled(f"{one_line(name)}: ", "$secondary")
    rows = sanitize(text).rstrip("\n").split("\n")
    if len(rows) == 1:
        return [Line(key + rows[0], _MARGIN, _MARGIN)]
    return [Line(key, _MARGIN), *text_lines("\n".join(rows), _MARGIN + "  ", limit=LINE_LIMIT)]
