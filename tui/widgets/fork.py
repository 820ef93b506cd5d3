"""A step both ways, side by side, and which one is better."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.message import Message

from assistant.events import Forked
from assistant.records import Branch, CallOutcome, Choice
from assistant.safety.sanitize import sanitize
from tui.prose import Line, text_lines
from tui.theme import badge
from tui.widgets.asking import AskingPanel
from tui.widgets.calls import call_icon, called_with
from tui.widgets.changes import ChangesView
from tui.widgets.fold import LINE_LIMIT, Fold, ProseView
from tui.words import count, duration, elapsed, one_line, plural, written

_COLUMNS = 70
"""Cells from which on the two stand side by side."""
_MARGIN = Content.styled("  │ ", "$faint")
_NAMES: dict[Choice, str] = {"original": "as it was", "other": "the other way"}
_KEYS: dict[Choice, str] = {"original": "1", "other": "2"}


class ForkView(AskingPanel):
    """Two columns, or one above the other where it is narrow; 1 and 2 say which is better."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("1", "prefer('original')", "Prefer the step as it was"),
        Binding("2", "prefer('other')", "Prefer it the other way"),
        Binding("escape", "leave", "Back to the prompt", show=False),
    ]
    BINDING_GROUP_TITLE = "On a step shown both ways"

    class Preferred(Message):
        """The user likes one branch better."""

        def __init__(self, step: int, choice: Choice) -> None:
            super().__init__()
            self.step, self.choice = step, choice

    class Left(Message):
        """The user goes on without a choice."""

    def __init__(self, forked: Forked, clock: Callable[[], float] = monotonic) -> None:
        super().__init__(None, clock)
        self.add_class("fork")
        self.step = forked.step
        self._title = ProseView()
        self._branches = {
            "original": BranchView("original", forked.original),
            "other": BranchView("other", forked.other),
        }

    def compose(self) -> ComposeResult:
        """What it is, then the two."""
        yield self._title
        with Horizontal():
            yield from self._branches.values()

    def on_mount(self) -> None:
        """Say which keys there are."""
        self.wait_for_quiet()
        keys = "1 or 2 says which is better"
        title = Content.assemble((f"step {self.step} both ways", "bold $primary"), (f"  {keys}", "$muted"))
        self._title.show([Line(title, Content.styled("⇄ ", "$primary"), Content("  "))])

    def on_resize(self, event: events.Resize) -> None:
        """Side by side where there is room."""
        self.set_class(event.size.width >= _COLUMNS, "-columns")

    def action_prefer(self, choice: Choice) -> None:
        """Mark the better one."""
        for name, branch in self._branches.items():
            branch.mark(preferred=name == choice)
        self.post_message(self.Preferred(self.step, choice))

    def action_leave(self) -> None:
        """Go on without a choice."""
        self.post_message(self.Left())


class BranchView(Vertical):
    """One way a step went: mode, cost, thought, answer, calls and patch."""

    def __init__(self, choice: Choice, branch: Branch) -> None:
        super().__init__(classes="branch")
        self._choice, self._branch = choice, branch
        self._preferred = False
        self._heading = ProseView()

    def compose(self) -> ComposeResult:
        """All that there is of it."""
        branch = self._branch
        yield self._heading
        if thought := sanitize(branch.thought).strip():
            yield _thought(thought, branch.record.tokens.think)
        if answer := sanitize(branch.answer).strip():
            yield _answer(answer)
        outputs = [*branch.outputs, *[""] * len(branch.record.calls)]
        yield from map(_call, branch.record.calls, outputs)
        if branch.patch:
            yield ChangesView(sanitize(branch.patch))

    def on_mount(self) -> None:
        """Say which one it is."""
        self._say()

    def mark(self, *, preferred: bool) -> None:
        """Say whether it is the better one."""
        self._preferred = preferred
        self._say()

    def _say(self) -> None:
        record = self._branch.record
        mode = f" think {record.mode or '?'} "
        colour = f"$think-{record.mode or 'auto'}"
        name = Content.styled(f" {_KEYS[self._choice]} {_NAMES[self._choice]} ", "bold")
        mark = Content.styled(" ✓ preferred", "$text-success") if self._preferred else Content("")
        spent = f"{count(written(record.tokens))} tok · {duration(elapsed(record.seconds))} · {one_line(record.rule)}"
        title = Content.assemble((mode, badge(mode, colour)), name, mark)
        self._heading.show([Line(title), Line(Content.styled(spent, "$muted"), Content(" "), Content(" "))])


def _thought(text: str, tokens: int) -> Fold:
    view = Fold(classes="thinking")
    title = Content.assemble(("thought", "$think-on"), (f"  {plural(tokens, 'token')}", "$muted"))
    view.tell(title, lambda: text_lines(text, Content.styled("  ▎ ", "$think-on"), "$muted", LINE_LIMIT))
    return view


def _answer(text: str) -> ProseView:
    from tui.markdown import MarkdownText

    markdown = MarkdownText()
    markdown.feed(text)
    return ProseView(markdown.close(), classes="answer")


def _call(call: CallOutcome, output: str) -> Fold:
    view = Fold(classes="call")
    summary = one_line(call.summary)
    target = next((one_line(value) for value in call.arguments.values() if isinstance(value, str)), "")
    title = Content.assemble(
        (one_line(call.tool), "$foreground"), (f" {target}", "$muted"), (f"  {summary}" if summary else "", "$muted")
    )
    view.tell(title, lambda: [*called_with(call.arguments), *_output(output)], icon=call_icon(call.outcome))
    return view


def _output(output: str) -> list[Line]:
    text = sanitize(output).rstrip("\n")
    return text_lines(text, _MARGIN, "$muted", LINE_LIMIT) if text else []
