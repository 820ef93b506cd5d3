"""Events as plain text: the answer on standard output, everything else dim on standard error."""

from __future__ import annotations

from typing import TextIO

from assistant.events import (
    CallFinished,
    CallStarted,
    Event,
    ModeKnown,
    Notice,
    RunFinished,
    RunStarted,
    RunStatus,
    SegmentText,
    StepFinished,
)
from assistant.safety.sanitize import Sanitizer, sanitize
from model.format import Segment


class TextOutput:
    """Shows a run to a person without a terminal interface."""

    def __init__(self, out: TextIO, err: TextIO) -> None:
        self._out = out
        self._err = err
        self._dim, self._plain = ("\x1b[2m", "\x1b[0m") if err.isatty() else ("", "")
        self._answer = Sanitizer()
        self._aside = Sanitizer()
        self._open = False
        self._last = "\n"

    def show(self, event: Event) -> None:
        """Print one event."""
        match event:
            case RunStarted():
                self._line(f"{event.engine.name} · {event.engine.model} ({event.engine.why}) · session {event.session}")
            case SegmentText(segment=Segment.ANSWER):
                self._write(self._answer.feed(event.text))
            case SegmentText(segment=Segment.JUDGE | Segment.THINK):
                self._aside_text(self._aside.feed(event.text))
            case ModeKnown():
                self._line(f"think {event.mode}{' (asked for)' if event.forced else ''}")
            case CallStarted():
                self._line(f"→ {event.title}")
            case CallFinished():
                self._line(f"  {event.outcome}: {event.summary}")
            case StepFinished():
                self._end_answer()
            case Notice():
                self._line(f"{event.level}: {event.text}")
            case RunFinished():
                self._finish(event)
            case _:
                pass

    def _finish(self, event: RunFinished) -> None:
        self._end_answer()
        if event.status is not RunStatus.DONE:
            self._line(event.message)
        elif event.message:
            self._write(sanitize(event.message) + "\n")
        total = event.tokens
        self._line(
            f"{event.steps} steps · {total.prompt} tokens read ({total.cached} cached) · "
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
        self._err.write(f"{self._dim}{text}{self._plain}")
        self._open = True

    def _end_aside(self) -> None:
        if self._open:
            self._err.write("\n")
            self._open = False

    def _line(self, text: str) -> None:
        self._end_aside()
        if self._last != "\n":
            self._write("\n")
        self._err.write(f"{self._dim}{sanitize(text)}{self._plain}\n")
        self._err.flush()
