"""Lines of the transcript that are no step: the user's words, notices, how a run ended."""

from __future__ import annotations

from typing import Literal

from textual.content import Content

from assistant.events import Compacted, QuestionAnswered, QuestionAsked
from assistant.safety.sanitize import sanitize
from tui.prose import Line, text_lines
from tui.widgets.fold import Fold, ProseView
from tui.words import count

Level = Literal["info", "warning", "error", "done"]

_MARKS: dict[Level, tuple[str, str]] = {
    "info": ("· ", "$muted"),
    "warning": ("! ", "$text-warning"),
    "error": ("✗ ", "$text-error"),
    "done": ("✓ ", "$muted"),
}


class UserMessage(ProseView):
    """What the user sent."""

    def __init__(self, text: str) -> None:
        super().__init__(text_lines(sanitize(text), Content.styled("▍ ", "$primary")), classes="user")


class NoticeLine(ProseView):
    """A sentence for the user."""

    def __init__(self, level: Level, text: str) -> None:
        mark, style = _MARKS[level]
        rows = sanitize(text).strip().split("\n")
        lines = [Line(Content.styled(row, style), Content("  "), Content("  ")) for row in rows]
        lines[0].first = Content.styled(mark, style)
        super().__init__(lines, classes=f"notice -{level}")


class AnsweredQuestion(ProseView):
    """A question of the model, and what the user said."""

    def __init__(self, asked: QuestionAsked | None, answered: QuestionAnswered) -> None:
        lines: list[Line] = []
        if asked is not None:
            lines = text_lines(sanitize(asked.question).strip(), Content("  "), "$muted")
            lines[0].first = Content.styled("? ", "$text-accent")
        margin = Content.styled("▍ ", "$primary")
        answer = sanitize(answered.answer).strip()
        lines += text_lines(answer, margin) if answer else [Line(Content.styled("no answer", "italic $muted"), margin)]
        super().__init__(lines, classes="notice")


class CompactedLine(Fold):
    """That the conversation is shorter for the model now; opens to what stands for the old steps."""

    def __init__(self, event: Compacted) -> None:
        super().__init__(classes="notice compacted")
        about = "" if event.exact else "about "
        summary = sanitize(event.summary).strip()
        title = Content.assemble(
            ("compacted", "$primary"),
            (f"  {about}{count(event.before)} → {count(event.after)} tokens", "$foreground"),
            ("  all of it is in the session" if not summary else "", "$muted"),
        )
        margin = Content.styled("  │ ", "$faint")
        self.tell(title, (lambda: text_lines(summary, margin, "$muted")) if summary else None)


class Greeting(ProseView):
    """The first lines of a session."""

    def __init__(self, version: str, repository: str, greeting: str) -> None:
        title = Content.assemble(("KAT Pilot", "bold $primary"), (f"  {version}", "$muted"))
        lines = [Line(title), Line(Content.styled(repository, "$muted"))]
        if greeting:
            lines += [Line(Content("")), *text_lines(sanitize(greeting))]
        super().__init__(lines, classes="greeting")
