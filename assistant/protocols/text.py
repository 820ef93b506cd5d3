"""Events as plain text: the answer on standard output, everything else dim on standard error."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TextIO

from assistant.events import (
    CallFinished,
    CallOutput,
    CallStarted,
    Compacted,
    Event,
    Forked,
    Intervened,
    ModeKnown,
    Notice,
    PlanChanged,
    QuestionAnswered,
    QuestionAsked,
    RunFinished,
    RunStarted,
    RunStatus,
    SegmentText,
    StepFinished,
)
from assistant.records import Intervention, PlanItem
from assistant.safety.sanitize import Sanitizer, sanitize
from model.format import Segment

_BOXES = {"open": "[ ]", "doing": "[~]", "done": "[x]"}


class TextOutput:
    """Shows a run to a person without a terminal interface."""

    def __init__(self, out: TextIO, err: TextIO) -> None:
        self._out = out
        self._err = err
        self._dim, self._plain = ("\x1b[2m", "\x1b[0m") if err.isatty() else ("", "")
        self._answer = Sanitizer()
        self._aside = Sanitizer()
        self._left_open = False
        self._last = "\n"

    def show(self, event: Event) -> None:
        """Print one event."""
        match event:
            case SegmentText(segment=Segment.ANSWER):
                self._write(self._answer.feed(event.text))
            case SegmentText(segment=Segment.JUDGE | Segment.THINK):
                self._aside_text(self._aside.feed(event.text))
            case CallOutput():
                self._aside_text(sanitize(event.text))
            case StepFinished():
                self._end_answer()
            case RunFinished():
                self._finish(event)
            case _:
                for line in _lines(event):
                    self._line(line)

    def _finish(self, event: RunFinished) -> None:
        self._end_answer()
        if event.status is not RunStatus.DONE:
            self._line(event.message)
        elif event.message:
            self._write(sanitize(event.message) + "\n")
        total = event.tokens
        self._line(
            f"{event.steps} step{'s' * (event.steps != 1)} · {total.prompt} tokens read ({total.cached} cached) · "
            f"{total.judge} judge, {total.think} thought, {total.answer} answer · {event.seconds:.1f} s"
        )

    def _write(self, text: str) -> None:
        self._end_aside()
        if text:
            self._out.write(text)
            self._out.flush()
            self._last = text[-1]

    def _end_answer(self) -> None:
        self._write(self._answer.close())
        if self._last != "\n":
            self._write("\n")
        self._end_aside()

    def _aside_text(self, text: str) -> None:
        if text:
            self._err.write(f"{self._dim}{text}{self._plain}")
            self._err.flush()
            self._left_open = not text.endswith("\n")

    def _end_aside(self) -> None:
        if self._left_open:
            self._err.write("\n")
            self._left_open = False

    def _line(self, text: str) -> None:
        self._end_aside()
        if self._last != "\n":
            self._write("\n")
        self._err.write(f"{self._dim}{sanitize(text)}{self._plain}\n")
        self._err.flush()


def _lines(event: Event) -> Sequence[str]:
    """What an event says in lines of its own; nothing where it has none."""
    match event:
        case RunStarted():
            return [f"{event.engine.name} · {event.engine.model} ({event.engine.why}) · session {event.session}"]
        case ModeKnown():
            return [f"think {event.mode}{' (asked for)' if event.forced else ''}"]
        case CallStarted():
            return [f"→ {event.title}"]
        case CallFinished():
            return [f"  {event.outcome}: {event.summary}"]
        case Notice():
            return [f"{event.level}: {event.text}"]
        case _:
            return _lines_between(event)


def _lines_between(event: Event) -> Sequence[str]:
    """What is said of events that come between replies and calls, if they come at all."""
    match event:
        case Intervened():
            return [_stepped_in(event.intervention)]
        case QuestionAsked():
            return [f"? {event.question}", *(f"  - {option}" for option in event.options)]
        case QuestionAnswered():
            return [f"  {event.answer or 'nobody answered'}"]
        case PlanChanged():
            return [_item(item) for item in event.items]
        case Compacted():
            about = "" if event.exact else "about "
            return [f"shortened what the model reads: {about}{event.before} tokens to {event.after}"]
        case Forked():
            return [f"step {event.step} again: think {event.other.record.mode}, was {event.original.record.mode}"]
        case _:
            return []


def _stepped_in(intervention: Intervention) -> str:
    match intervention.reason:
        case "judge_budget":
            what = "the judge's budget is used up"
        case "think_budget":
            what = "the budget for thinking is used up"
        case "enough":
            what = "enough thinking, the answer follows"
        case "fact":
            what = f"a fact for the thought: {intervention.text}"
    return f"{what} (after {intervention.tokens} tokens)"


def _item(item: PlanItem) -> str:
    return f"{_BOXES[item.state]} {item.text}"
