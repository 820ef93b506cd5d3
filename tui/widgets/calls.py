"""A tool call: one line that opens to its arguments, its diff and its output."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping

from textual.content import Content

from assistant.events import ApprovalAsked, ApprovalGiven, CallFinished, CallStarted, Decision
from assistant.safety.sanitize import Sanitizer, sanitize
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
    "held": ("– ", "$muted"),
    "stopped": ("– ", "$text-warning"),
}
_FAILED = ("✗ ", "$text-error")
_DECISIONS = {
    Decision.ONCE: "allowed once",
    Decision.SESSION: "allowed for this session",
    Decision.ALWAYS: "always allowed",
    Decision.NO: "refused",
}
_MARGIN = Content.styled("  │ ", "$faint")
_PEEK = 3
"""Rows of a running call's output that its closed fold shows."""
_KEPT_ROWS = 200
_ROW_LENGTH = 500
"""What is kept of a running call's output: the last rows, and the end of each."""


class _Tail:
    """The end of an output that grows, made harmless on the way in; memory is bounded."""

    def __init__(self) -> None:
        self.rows: deque[str] = deque([""], _KEPT_ROWS)
        self.seen = 1
        self.fresh = False
        self._sanitizer = Sanitizer()

    def feed(self, text: str) -> None:
        first, *rest = self._sanitizer.feed(text).split("\n")
        self.rows[-1] = (self.rows[-1] + first)[-_ROW_LENGTH:]
        self.rows.extend(row[-_ROW_LENGTH:] for row in rest)
        self.seen += len(rest)
        self.fresh = True

    def lines(self, limit: int = _KEPT_ROWS) -> list[Line]:
        """The last rows, and how many came before them."""
        rows = list(self.rows)
        if not rows[-1]:
            rows.pop()
        shown = rows[-limit:]
        before = self.seen - (len(self.rows) - len(rows)) - len(shown)
        above = [Line(Content.styled(f"… {before} earlier lines", "$faint"), _MARGIN, crop=True)] if before > 0 else []
        return above + [Line(Content.styled(row, "$muted"), _MARGIN, _MARGIN, crop=limit == _PEEK) for row in shown]


class CallView(Fold):
    """One call, from its start to its outcome."""

    def __init__(self, call: CallStarted) -> None:
        super().__init__(classes="call")
        self.call = call
        self.state = "running"
        self._asked: ApprovalAsked | None = None
        self._given = ""
        self._finished: CallFinished | None = None
        self._live: _Tail | None = None
        self._say()

    @property
    def runs(self) -> bool:
        """Whether it is at work right now."""
        return self.state == "running"

    def ask(self, asked: ApprovalAsked) -> None:
        """Somebody is asked about it."""
        self.state, self._asked = "asked", asked
        self._say()

    def answered(self, given: ApprovalGiven) -> None:
        """It was decided."""
        self.state = "running"
        self._given = f"{_DECISIONS[given.decision]} by {one_line(given.by)}"
        self._say()

    def feed(self, text: str) -> None:
        """Keep the end of what it puts out while it runs; `flush` shows it."""
        if self._finished is None:
            self._live = self._live or _Tail()
            self._live.feed(text)

    def flush(self) -> None:
        """Show the output that came since the last flush."""
        if self._live and self._live.fresh:
            self._live.fresh = False
            self._say()

    def finish(self, finished: CallFinished) -> None:
        """It is over."""
        self.state, self._finished, self._live = finished.outcome, finished, None
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
        icon = call_icon(self.state)
        peek = self._live.lines(_PEEK) if self._live else ()
        self.tell(Content.assemble(*parts), self._details, icon=icon, peek=peek)

    def _details(self) -> list[Line]:
        lines = [Line(Content.styled(one_line(self.call.tool), "bold $muted"), _MARGIN, _MARGIN)]
        lines += called_with(self.call.arguments)
        if self._asked is not None and self._asked.preview_kind == "diff":
            lines += [line.inset(_MARGIN) for line in diff_lines(sanitize(self._asked.preview))]
        if self._given:
            lines.append(Line(Content.styled(self._given, "$muted"), _MARGIN, _MARGIN))
        if self._finished is not None and self._finished.output:
            output = sanitize(self._finished.output).rstrip("\n")
            lines += [Line(EMPTY, _MARGIN), *text_lines(output, _MARGIN, "$muted", LINE_LIMIT)]
        if self._live is not None:
            lines += [Line(EMPTY, _MARGIN), *self._live.lines()]
        return lines


def call_icon(state: str) -> Content:
    """The mark of a call that runs, is asked about, or ended in this way."""
    return Content.styled(*_ICONS.get(state, _FAILED))


def called_with(arguments: Mapping[str, object]) -> list[Line]:
    """The arguments of a call, each under its name."""
    return [line for name, value in arguments.items() for line in _argument(name, value)]


def _argument(name: str, value: object) -> list[Line]:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    key = Content.styled(f"{one_line(name)}: ", "$secondary")
    rows = sanitize(text).rstrip("\n").split("\n")
    if len(rows) == 1:
        return [Line(key + rows[0], _MARGIN, _MARGIN)]
    return [Line(key, _MARGIN), *text_lines("\n".join(rows), _MARGIN + "  ", limit=LINE_LIMIT)]
