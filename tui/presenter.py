"""From events to widgets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import monotonic

from assistant.events import (
    ApprovalAsked,
    ApprovalGiven,
    CallFinished,
    CallStarted,
    Changes,
    Event,
    ModeKnown,
    Notice,
    Restored,
    RunFinished,
    RunStarted,
    RunStatus,
    SegmentText,
    StepFinished,
    StepStarted,
    UserSaid,
)
from assistant.safety.sanitize import sanitize
from model.engine import EngineInfo
from tui.conversation import Errand, Message
from tui.widgets.approval import ApprovalPanel
from tui.widgets.calls import CallView
from tui.widgets.messages import Level, NoticeLine, UserMessage
from tui.widgets.prompt import Prompt
from tui.widgets.queue import QueueView
from tui.widgets.status import Activity, StatusBar
from tui.widgets.step import StepView
from tui.widgets.transcript import Transcript
from tui.words import count, duration, plural, written

_ENDINGS: dict[RunStatus, tuple[Level, str]] = {
    RunStatus.DONE: ("done", "done"),
    RunStatus.STOPPED: ("warning", "stopped; what came is kept"),
    RunStatus.LIMIT: ("warning", "the limit is reached"),
    RunStatus.REFUSED: ("warning", "refused"),
    RunStatus.FAILED: ("error", "failed"),
    RunStatus.UNREACHABLE: ("error", "the engine does not answer; start it and send your message again"),
}

_REST = 4.0
"""How much longer than a flush the pause after it is, at least."""


_RECALLED = 60
"""Steps of an earlier conversation that are shown again."""


class Presenter:
    """Shows a conversation. Text of segments waits for `flush`; everything else shows at once."""

    def __init__(
        self,
        transcript: Transcript,
        status: StatusBar,
        approval: ApprovalPanel,
        queue: QueueView,
        prompt: Prompt,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._transcript = transcript
        self._status = status
        self._approval = approval
        self._queue = queue
        self._prompt = prompt
        self._step: StepView | None = None
        self._open_calls: dict[str, CallView] = {}
        self._clock = clock
        self._rested = float("-inf")

    async def loading(self) -> None:
        """The agent is being opened."""
        self._status.activity = Activity.LOADING

    async def recall(self, history: Sequence[Event]) -> None:
        """Show what was said before as if it were said now; of a long conversation only the end."""
        start = _recalled_from(history)
        for event in history[:start]:
            if isinstance(event, StepFinished):
                self._finish_step(event)
        if start:
            await self.say("info", "What was said before this is in the session: kat sessions show")
        for event in history[start:]:
            await self.present(event)
        self._leave_step()

    async def ready(self, engine: EngineInfo) -> None:
        """The agent waits for a message."""
        self._status.engine = engine
        self._status.activity = Activity.READY

    async def offline(self, reason: str) -> None:
        """The agent could not be opened; what waits keeps waiting."""
        self._status.activity = Activity.OFFLINE
        await self.say("error", f"{reason}\n/retry tries again.")

    async def failed(self, reason: str) -> None:
        """The run is over, and it did not end by itself."""
        await self._end_run("error", reason)

    async def begin(self, message: Message | Errand) -> None:
        """Show the user's message; it is the start of a run, and the place to look at."""
        self._status.activity = Activity.WORKING
        self._transcript.anchor()
        await self._transcript.add(UserMessage(message.text))

    async def say(self, level: Level, text: str) -> None:
        """Put a sentence into the transcript."""
        await self._transcript.add(NoticeLine(level, text))

    def show_queue(self, waiting: Sequence[str]) -> None:
        """Show what waits."""
        self._queue.tell(waiting)

    def flush(self) -> None:
        """Show the text that came since the last time, unless that took long: keys must not wait for it."""
        start = self._clock()
        if self._step is None or start < self._rested:
            return
        self._step.flush()
        now = self._clock()
        self._rested = now + _REST * (now - start)

    async def present(self, event: Event) -> None:  # noqa: C901 - one case an event, and no more than that
        """Show one event."""
        match event:
            case SegmentText():
                self._feed(event)
            case UserSaid():
                await self.begin(Message(event.text, event.think))
            case RunStarted():
                self._status.engine = event.engine
            case StepStarted():
                await self._start_step(event)
            case ModeKnown():
                self._choose(event)
            case CallStarted():
                await self._start_call(event)
            case ApprovalAsked():
                self._ask(event)
            case ApprovalGiven():
                self._answered(event)
            case CallFinished():
                self._finish_call(event)
            case StepFinished():
                self._finish_step(event)
            case Notice():
                await self.say(event.level, event.text)
            case Restored():
                await self.say("done", event.sentence)
            case Changes():
                await self._show_changes(event)
            case RunFinished():
                await self._finish_run(event)

    async def _show_changes(self, event: Changes) -> None:
        if not event.patch:
            await self.say("info", "No file was changed.")
            return
        from tui.widgets.changes import ChangesView

        await self._transcript.add(ChangesView(sanitize(event.patch)))

    def _feed(self, event: SegmentText) -> None:
        if self._step is not None:
            self._step.feed(event.segment, event.text)

    def _choose(self, event: ModeKnown) -> None:
        if self._step is not None:
            self._step.choose(event.mode)

    async def _start_step(self, event: StepStarted) -> None:
        self._leave_step()
        self._step = StepView(event)
        await self._transcript.add(self._step)

    async def _start_call(self, event: CallStarted) -> None:
        if self._step is not None:
            self._step.flush()
            await self._step.add_call(event)
            self._open_calls[event.id] = self._step.calls[event.id]

    def _ask(self, event: ApprovalAsked) -> None:
        if call := self._open_calls.get(event.id):
            call.ask(event)
        self._approval.ask(event)
        if not self._prompt.text:
            self._approval.focus()
        self._status.activity = Activity.ASKING

    def _answered(self, event: ApprovalGiven) -> None:
        if call := self._open_calls.get(event.id):
            call.answered(event)
        self._approval.drop(event.id)
        self._leave_approval()

    def _leave_approval(self) -> None:
        if self._approval.asked is not None:
            return
        if self._status.activity is Activity.ASKING:
            self._status.activity = Activity.WORKING
        if self._approval.has_focus or self._approval.has_focus_within or self._approval.screen.focused is None:
            self._prompt.focus()

    def _finish_call(self, event: CallFinished) -> None:
        if call := self._open_calls.pop(event.id, None):
            call.finish(event)

    def _finish_step(self, event: StepFinished) -> None:
        record = event.record
        self._status.steps += 1
        self._status.tokens += written(record.tokens)
        self._status.context = event.context_used if event.context_used is not None else self._status.context
        if self._step is not None and self._step.step == record.index:
            self._step.finish(event)

    def _leave_step(self) -> None:
        step, self._step = self._step, None
        if step is not None:
            step.settle()

    async def _finish_run(self, event: RunFinished) -> None:
        await self._end_run(*_ending(event))

    async def _end_run(self, level: Level, text: str) -> None:
        self._leave_step()
        self._open_calls.clear()
        self._approval.drop_all()
        self._leave_approval()
        await self.say(level, text)


def _recalled_from(history: Sequence[Event]) -> int:
    """Where the last steps begin, with the message that the first of them answers."""
    steps = [n for n, event in enumerate(history) if isinstance(event, StepStarted)]
    if len(steps) <= _RECALLED:
        return 0
    first = steps[-_RECALLED]
    return first - isinstance(history[first - 1], UserSaid)


def _ending(event: RunFinished) -> tuple[Level, str]:
    level, text = _ENDINGS[event.status]
    if event.status not in (RunStatus.DONE, RunStatus.STOPPED) and event.message:
        text = event.message
    spent = f"{plural(event.steps, 'step')} · {count(written(event.tokens))} tok · {duration(event.seconds)}"
    return level, f"{text} · {spent}" if event.steps else text
