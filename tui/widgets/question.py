"""A question of the model: numbered proposals, and a line for any other answer."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.widgets import Input

from assistant.events import QuestionAsked
from assistant.safety.sanitize import sanitize
from tui.prose import Line, text_lines
from tui.widgets.asking import AskingPanel
from tui.widgets.fold import ProseView
from tui.words import one_line

_KEY_STYLE = "bold $text-accent on $accent 18%"
_KEYS = 9
"""Proposals that have a key; others are answered in words."""


class QuestionPanel(AskingPanel):
    """Asks one question at a time. A digit picks a proposal, any other key begins an answer in words."""

    BINDINGS: ClassVar[list[BindingType]] = [
        *(Binding(str(digit), f"pick({digit})", "Answer with this proposal") for digit in range(1, _KEYS + 1)),
        Binding("enter", "write", "Write an answer", show=False),
        Binding("escape", "give_up", "Give no answer"),
        Binding("up", "scroll_question(-1)", "Scroll up", show=False),
        Binding("down", "scroll_question(1)", "Scroll down", show=False),
    ]
    BINDING_GROUP_TITLE = "When the model asks you"

    class Answered(Message):
        """What the user said; empty where he gave it up."""

        def __init__(self, asked: QuestionAsked, text: str) -> None:
            super().__init__()
            self.asked, self.text = asked, text

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        super().__init__("question", clock)
        self._waiting: list[QuestionAsked] = []
        self._question = ProseView()
        self._hint = ProseView(classes="choices")
        self._words = Input(placeholder="Your answer, then Enter", classes="note", select_on_focus=False)

    def compose(self) -> ComposeResult:
        """The question with its proposals, how to answer, and the line to write in."""
        self.display = False
        with VerticalScroll(can_focus=False):
            yield self._question
        yield self._hint
        yield self._words

    @property
    def asked(self) -> QuestionAsked | None:
        """What is being asked."""
        return self._waiting[0] if self._waiting else None

    def ask(self, asked: QuestionAsked) -> None:
        """Ask, or wait until what is being asked is answered."""
        self._waiting.append(asked)
        if len(self._waiting) == 1:
            self._show(asked)

    def drop(self, question: str) -> None:
        """It was answered, here or elsewhere."""
        shown = self.asked
        self._waiting = [one for one in self._waiting if one.id != question]
        if shown is not self.asked:
            self._next()

    def drop_all(self) -> None:
        """The run is over."""
        self._waiting.clear()
        self._next()

    def on_key(self, event: events.Key) -> None:
        """Begin an answer with the first letter of it; digits are keys."""
        if not self.quiet or not self.has_focus or not event.is_printable or not event.character:
            return
        if self.asked and event.character.isdigit() and 0 < int(event.character) <= len(self.asked.options):
            return
        event.stop()
        event.prevent_default()
        self._words.focus()
        self._words.insert_text_at_cursor(event.character)

    @on(events.Focus)
    @on(events.Blur)
    @on(events.DescendantFocus)
    @on(events.DescendantBlur)
    def _focus_moved(self) -> None:
        """Say what the keys do, or how to come back, once the focus has settled."""
        self.call_after_refresh(self._tell)

    def on_resize(self) -> None:
        """Lay it out for the new size."""
        self._fit()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Answer in words."""
        event.stop()
        if text := event.value.strip():
            self._answer(text)

    def action_pick(self, number: int) -> None:
        """Answer with a proposal."""
        if self.asked and number <= len(self.asked.options):
            self._answer(self.asked.options[number - 1])

    def action_write(self) -> None:
        """Go to the line to write in."""
        self._words.focus()

    def action_give_up(self) -> None:
        """Give no answer, unless the key came too early to be meant."""
        if self.quiet:
            self._answer("")

    def action_scroll_question(self, rows: int) -> None:
        """Scroll a long question."""
        self.query_one(VerticalScroll).scroll_relative(y=rows, animate=False)

    def _answer(self, text: str) -> None:
        if asked := self.asked:
            self.post_message(self.Answered(asked, text))
            self.drop(asked.id)

    def _next(self) -> None:
        if asked := self.asked:
            self._show(asked)
        else:
            self.display = False

    def _show(self, asked: QuestionAsked) -> None:
        self.wait_for_quiet()
        self._words.clear()
        mark = Content.styled("? ", "bold $text-accent")
        rows = text_lines(sanitize(asked.question).strip(), Content("  "))
        self._question.show([Line(rows[0].body, mark, Content("  ")), *rows[1:], *map(_option, _numbered(asked))])
        self._tell()
        self.display = True
        self.call_after_refresh(self._fit)
        self.query_one(VerticalScroll).scroll_home(animate=False)

    def _fit(self) -> None:
        self.fit(self.query_one(VerticalScroll), self._hint, self._words)

    def _tell(self) -> None:
        if not (self.has_focus or self.has_focus_within):
            self._hint.show([Line(Content.styled("press Tab or click here to answer", "$text-warning"), crop=True)])
            return
        picks = len(self.asked.options[:_KEYS]) if self.asked else 0
        digits = f"press 1 to {picks}" if picks > 1 else "press 1"
        text = f"{digits}, or write · Esc: no answer" if picks else "write an answer · Esc: no answer"
        self._hint.show([Line(Content.styled(text, "$muted"), crop=True)])


def _numbered(asked: QuestionAsked) -> list[tuple[str, str]]:
    """Each proposal with its key."""
    keys = [str(number) if number <= _KEYS else "·" for number in range(1, len(asked.options) + 1)]
    return list(zip(keys, asked.options, strict=True))


def _option(option: tuple[str, str]) -> Line:
    key, text = option
    first = Content.assemble((f" {key} ", _KEY_STYLE), " ")
    return Line(Content(one_line(text)), Content("  ") + first, Content("      "))
