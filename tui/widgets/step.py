"""A step: its badge, the judge's line, the thinking, the answer and the tool calls."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.app import ComposeResult
from textual.content import Content

from assistant.events import CallStarted, StepFinished, StepStarted
from assistant.records import Intervention, StepRecord
from assistant.safety.sanitize import Sanitizer
from model.format import Mode, Segment
from tui.prose import GrowingText, Line, text_lines
from tui.theme import badge
from tui.widgets.calls import CallView
from tui.widgets.fold import Fold, ProseView
from tui.widgets.packed import Packable
from tui.words import count, duration, elapsed, one_line, plural, written

if TYPE_CHECKING:
    from tui.markdown import MarkdownText

_THINK_MARGIN = Content.styled("  ▎ ", "$think-on")
_DETAIL_MARGIN = Content("    ")
_SHORT_JUDGE = 60
_CUTS = {
    "judge_budget": "budget: judging cut at {}",
    "think_budget": "budget: thought cut at {}",
    "enough": "enough: you asked for the answer at {}",
}


class _Stream:
    """A segment's text as it grows, made harmless on the way in."""

    def __init__(self) -> None:
        self.text = ""
        self.fresh = ""
        self._sanitizer = Sanitizer()

    def feed(self, text: str) -> None:
        self.fresh += self._sanitizer.feed(text)

    def close(self) -> None:
        self.fresh += self._sanitizer.close()

    def take(self) -> str:
        fresh, self.fresh = self.fresh, ""
        self.text += fresh
        return fresh


class StepView(Packable):
    """One step. `feed` only keeps text; `flush` shows it, so a fast stream costs no more than a slow one."""

    def __init__(self, started: StepStarted) -> None:
        super().__init__(classes="step")
        self.step = started.step
        self.calls: dict[str, CallView] = {}
        self.mode: Mode | None = None
        self._why = one_line(started.why or started.rule)
        self._record: StepRecord | None = None
        self._streams = {segment: _Stream() for segment in (Segment.JUDGE, Segment.THINK, Segment.ANSWER)}
        self._thought = GrowingText(_THINK_MARGIN, "$muted")
        self._markdown: MarkdownText | None = None
        self._thinks = True
        self._header = Fold(classes="header")
        self._judge = Fold(classes="judge")
        self.thinking = Fold(classes="thinking", opened=True)
        self._marks = ProseView(classes="marks")
        self._interventions: tuple[Intervention, ...] = ()
        self.answer = ProseView(classes="answer")
        self._settled = False

    def compose(self) -> ComposeResult:
        """All parts; those without text are hidden."""
        for part in (self._judge, self.thinking, self._marks, self.answer):
            part.display = False
        yield from (self._header, self._judge, self.thinking, self._marks, self.answer)

    def on_mount(self) -> None:
        """Say what is known at the start."""
        self._say()

    def feed(self, segment: Segment, text: str) -> None:
        """Keep text of a segment; the text of calls is not shown, only whole calls are."""
        if stream := self._streams.get(segment):
            stream.feed(text)

    def choose(self, mode: Mode) -> None:
        """The mode is known."""
        self.mode = mode
        self._say()

    def intervene(self, *interventions: Intervention) -> None:
        """Something stepped into the reply."""
        self._interventions += interventions
        self._marks.show([_mark(one) for one in self._interventions])
        self._marks.display = bool(self._interventions)

    def flush(self) -> None:
        """Show what came since the last flush."""
        for segment, stream in self._streams.items():
            if fresh := stream.take():
                self._grow(segment, fresh)
        for call in self.calls.values():
            call.flush()

    async def add_call(self, call: CallStarted) -> None:
        """Show a tool call, in its first state."""
        self._close_thinking()
        view = CallView(call)
        view.set_class(self.answer.display and not self.calls, "-after-answer")
        self.calls[call.id] = view
        await self.mount(view)

    def finish(self, finished: StepFinished) -> None:
        """Show the record."""
        self._record = finished.record
        self.mode = finished.record.mode or self.mode
        if not self._interventions:
            self.intervene(*finished.record.interventions)
        self.settle()

    def settle(self) -> None:
        """Nothing more will come."""
        for stream in self._streams.values():
            stream.close()
        self.flush()
        self._close_answer()
        self._close_thinking()
        self._say_thinking()
        self._say()
        for call in self.calls.values():
            call.abandon()
        self._settled = True

    @property
    def thinks_openly(self) -> bool:
        """Whether its thinking can be read."""
        return self.thinking.opened and bool(self._streams[Segment.THINK].text)

    def fold_thinking(self, opened: bool) -> None:
        """Open or close the thinking, packed or not."""
        packed = self.packed
        self.unpack()
        self.thinking.fold(opened)
        if packed:
            self.pack_all()

    def pack_all(self) -> None:
        """Show the step as one widget until it is asked for again; only once nothing more will come."""
        if self._settled and not self.packed:
            parts = [self._header, self._judge, self.thinking, self._marks, self.answer, *self.calls.values()]
            self.pack([part for part in parts if part.display])

    def _grow(self, segment: Segment, fresh: str) -> None:
        match segment:
            case Segment.JUDGE:
                self._say_judge()
            case Segment.THINK:
                self._thought.feed(fresh if self._thought else fresh.lstrip("\n"))
                self._say_thinking()
            case _:
                self._close_thinking()
                self._say_answer(fresh)

    def _say(self) -> None:
        mode = "…" if self.mode is None else f"think {self.mode}"
        colour = "$think-auto" if self.mode is None else f"$think-{self.mode}"
        title = Content.assemble((f" {mode} ", badge(mode, colour)), *self._switch(), (f"  {self._why}", "$muted"))
        icon = Content.styled("● " if self._record or self.mode else "○ ", colour)
        body = self._details if self._record else None
        self._header.tell(title, body, tail=self._cost(), icon=icon)

    def _switch(self) -> list[tuple[str, str]]:
        """That the mode is another one than was asked for, where it is."""
        record = self._record
        if record is None or record.obeyed:
            return []
        return [(f"  asked {record.sent}, came back {record.mode}", "$text-warning")]

    def _cost(self) -> Content:
        if self._record is None:
            return Content.styled(f"step {self.step}", "$faint")
        spent = f"{count(written(self._record.tokens))} tok · {duration(elapsed(self._record.seconds))}"
        return Content.assemble((f"step {self.step} · ", "$faint"), (spent, "$muted"))

    def _details(self) -> list[Line]:
        record = self._record
        if record is None:
            return []
        tokens, seconds = record.tokens, record.seconds
        why = f": {one_line(record.why)}" if record.why else ""
        rows = [
            f"step {record.index}, rule {one_line(record.rule)}{', forced' if record.forced else ''}{why}",
            *_modes(record),
            f"prompt {count(tokens.prompt)} ({count(tokens.cached)} cached), judge {count(tokens.judge)}, "
            f"think {count(tokens.think)}, answer {count(tokens.answer)} tokens",
            f"first token {duration(seconds.first_token)}, decode {duration(seconds.decode)}, "
            f"tools {duration(seconds.tools)}",
        ]
        return text_lines("\n".join(rows + ([f"cut: {one_line(record.cut)}"] if record.cut else [])), _DETAIL_MARGIN)

    def _say_judge(self) -> None:
        text = self._streams[Segment.JUDGE].text.strip()
        self._judge.display = bool(text)
        long = len(text) > _SHORT_JUDGE
        self._judge.tell(
            Content.styled(" ".join(text.split()), "italic $muted"),
            (lambda: text_lines(text, _DETAIL_MARGIN, "$muted")) if long else None,
        )

    def _say_thinking(self) -> None:
        text = self._streams[Segment.THINK].text
        self.thinking.display = bool(text)
        if self._thinks:
            title = Content.styled("thinking", "$think-on")
        else:
            spent = plural(self._record.tokens.think, "token") if self._record else plural(len(text.split()), "word")
            title = Content.assemble(("thought", "$think-on"), (f"  {spent}", "$muted"))
        self.thinking.tell(title, self._thought.lines)

    def _close_thinking(self) -> None:
        """Fold it once, when something follows it; afterwards it stays as the user wants it."""
        if self._thinks:
            self._thinks = False
            self.thinking.opened = False
            self._say_thinking()

    def _say_answer(self, fresh: str) -> None:
        if self._markdown is None:
            from tui.markdown import MarkdownText

            self._markdown = MarkdownText()
        self._markdown.feed(fresh)
        self.answer.display = True
        self.answer.show(self._markdown.lines())

    def _close_answer(self) -> None:
        if self._markdown is not None:
            self.answer.show(self._markdown.close())
            self._markdown = None


def _modes(record: StepRecord) -> list[str]:
    """What was asked of the model and what came back, where it is known."""
    if record.sent is None:
        return []
    mode = record.mode or "nothing"
    return [f"asked {record.request}, sent {record.sent}, came back {mode}{'' if record.obeyed else ': not obeyed'}"]


def _mark(intervention: Intervention) -> Line:
    """One line on something that stepped into the reply."""
    first = Content.styled("⊣ ", "$text-warning")
    if intervention.reason == "fact":
        return Line(Content.styled(f"fact: {one_line(intervention.text)}", "$foreground"), first, Content("  "))
    text = _CUTS[intervention.reason].format(plural(intervention.tokens, "token"))
    return Line(Content.styled(text, "$text-warning"), first, Content("  "))
