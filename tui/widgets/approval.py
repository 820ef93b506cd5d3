"""The question before an edit or a command."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import ClassVar, get_args

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.widgets import Input

from assistant.events import Action, ApprovalAsked, Decision
from assistant.safety.sanitize import sanitize
from tui.diff import diff_lines
from tui.prose import EMPTY, Line, text_lines
from tui.widgets.asking import AskingPanel
from tui.widgets.fold import ProseView
from tui.words import one_line

_NARROW = 40
_KEY_STYLE = "bold $text-warning on $warning 18%"
_ONCE, _SESSION, _ALWAYS, _NO = ("y", "once"), ("s", "this session"), ("a", "always"), ("n", "no")
_OVERWRITE, _LEAVE = ("y", "overwrite"), ("n", "leave all as it is")


class ApprovalPanel(AskingPanel):
    """Asks about one call at a time; the answer needs the focus and a moment of quiet."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "decide('once')", "Allow once"),
        Binding("s", "decide('session')", "Allow for this session"),
        Binding("a", "always", "Always allow, where a rule is offered"),
        Binding("n", "refuse", "Refuse"),
        Binding("up", "scroll_preview(-1)", "Scroll up", show=False),
        Binding("down", "scroll_preview(1)", "Scroll down", show=False),
        Binding("pageup", "scroll_preview(-10)", "Page up", show=False),
        Binding("pagedown", "scroll_preview(10)", "Page down", show=False),
    ]
    BINDING_GROUP_TITLE = "When you are asked"

    class Decided(Message):
        """The user's answer."""

        def __init__(self, asked: ApprovalAsked, decision: Decision, note: str) -> None:
            super().__init__()
            self.asked, self.decision, self.note = asked, decision, note

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        super().__init__("approval", clock)
        self._waiting: list[ApprovalAsked] = []
        self._title = ProseView(classes="title")
        self._preview = ProseView(classes="preview")
        self._choices = ProseView(classes="choices")
        self._note = Input(placeholder="Why not? One sentence for the model, or just Enter", classes="note")

    def compose(self) -> ComposeResult:
        """Title, preview and choices; the note only after a no."""
        self.display = self._note.display = False
        yield self._title
        with VerticalScroll(can_focus=False):
            yield self._preview
        yield self._choices
        yield self._note

    @property
    def asked(self) -> ApprovalAsked | None:
        """What is being asked."""
        return self._waiting[0] if self._waiting else None

    @property
    def _restores(self) -> bool:
        """Whether it is the user's own undo that asks."""
        return self.asked is not None and self.asked.tool in get_args(Action)

    def ask(self, asked: ApprovalAsked) -> None:
        """Ask, or wait until what is being asked is answered."""
        self._waiting.append(asked)
        if len(self._waiting) == 1:
            self._show(asked)

    def drop(self, approval: str) -> None:
        """It was decided, here or elsewhere."""
        shown = self.asked
        self._waiting = [one for one in self._waiting if one.id != approval]
        if shown is not self.asked:
            self._next()

    def drop_all(self) -> None:
        """The run is over."""
        self._waiting.clear()
        self._next()

    def on_focus(self) -> None:
        """Say that the keys count here."""
        self._tell_choices(answers=True)

    def on_blur(self) -> None:
        """Say how to come back."""
        self._tell_choices(answers=False)

    def on_resize(self) -> None:
        """Lay the choices out for the new width."""
        self._tell_choices(answers=self.has_focus)
        self._fit()

    def action_decide(self, decision: str) -> None:
        """Answer yes; of a restore there is no yes for the session."""
        if decision == Decision.ONCE or not self._restores:
            self._decide(Decision(decision), "")

    def action_always(self) -> None:
        """Answer yes and keep the rule that is shown; there is nothing to answer where none is."""
        if self.asked and self.asked.always:
            self._decide(Decision.ALWAYS, "")

    def action_refuse(self) -> None:
        """Ask for a sentence to go with the no, where a model reads it."""
        if self._restores:
            self._decide(Decision.NO, "")
            return
        self._note.display = True
        self._choices.display = False
        self._note.focus()

    def action_scroll_preview(self, rows: int) -> None:
        """Scroll the preview."""
        self.query_one(VerticalScroll).scroll_relative(y=rows, animate=False)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Answer no, with the sentence."""
        event.stop()
        self._decide(Decision.NO, event.value.strip())

    def leave_note(self) -> bool:
        """Back from the sentence to the choices; False if it was not being written."""
        if not self._note.has_focus:
            return False
        self._reset_note()
        self.focus()
        return True

    def _decide(self, decision: Decision, note: str) -> None:
        if asked := self.asked:
            self.post_message(self.Decided(asked, decision, note))
            self.drop(asked.id)

    def _next(self) -> None:
        if asked := self.asked:
            self._show(asked)
        else:
            self.display = False

    def _show(self, asked: ApprovalAsked) -> None:
        self._reset_note()
        self.wait_for_quiet()
        reason = one_line(asked.reason)
        self._title.show(
            [
                Line(Content.styled(one_line(asked.title), "bold"), Content.styled("? ", "bold $text-warning")),
                *([Line(Content.styled(reason, "$muted"), Content("  "), Content("  "))] if reason else []),
            ]
        )
        self._preview.show(_preview_lines(asked))
        self._tell_choices(answers=self.has_focus)
        self.display = True
        self.call_after_refresh(self._fit)
        self.query_one(VerticalScroll).scroll_home(animate=False)

    def _fit(self) -> None:
        self.fit(self.query_one(VerticalScroll), self._title, self._choices, self._note)

    def _reset_note(self) -> None:
        self._note.clear()
        self._note.display = False
        self._choices.display = True

    def _tell_choices(self, *, answers: bool) -> None:
        if not answers:
            self._choices.show([Line(Content.styled("press Tab or click here to answer", "$text-warning"))])
            return
        rule = one_line(self.asked.always) if self.asked else ""
        yes, no = [_ONCE, _SESSION, *([_ALWAYS] if rule else [])], _NO
        if self._restores:
            yes, no = [_OVERWRITE], _LEAVE
        narrow = self.app.size.width < _NARROW
        rows = [[yes[0], no], *([choice] for choice in yes[1:])] if narrow else [[*yes, no]]
        lines = [Line(Content("   ").join(map(_choice, row))) for row in rows]
        self._choices.show([*lines, *([_kept(rule)] if rule else [])])


def _kept(rule: str) -> Line:
    muted = "$muted"
    return Line(Content.assemble(("always keeps the rule ", muted), rule, (" for this repository", muted)))


def _choice(choice: tuple[str, str]) -> Content:
    key, label = choice
    return Content.assemble((f" {key} ", _KEY_STYLE), f" {label}")


def _preview_lines(asked: ApprovalAsked) -> list[Line]:
    text = sanitize(asked.preview).rstrip("\n")
    match asked.preview_kind:
        case "diff":
            return diff_lines(text)
        case "command":
            margin = Content.styled(" $ ", "$muted on $code")
            return [
                Line(Content(row), margin if number == 0 else Content("   "), Content("   "), fill="on $code")
                for number, row in enumerate(text.split("\n"))
            ]
        case _:
            return text_lines(text) if text else [Line(EMPTY)]
