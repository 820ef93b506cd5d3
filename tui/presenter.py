"""From events to widgets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic

from assistant.events import (
    ApprovalAsked,
    ApprovalGiven,
    CallFinished,
    CallOutput,
    CallStarted,
    Changes,
    Compacted,
    Event,
    Forked,
    Intervened,
    ModeKnown,
    Notice,
    PlanChanged,
    QuestionAnswered,
    QuestionAsked,
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
from model.format import Mode, Segment
from tui.asking import Asking
from tui.conversation import Errand, Halt, Message
from tui.widgets.approval import ApprovalPanel
from tui.widgets.calls import CallView
from tui.widgets.messages import AnsweredQuestion, CompactedLine, Level, NoticeLine, UserMessage
from tui.widgets.plan import PlanView
from tui.widgets.prompt import Prompt
from tui.widgets.question import QuestionPanel
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

_HALTING = {Halt.NOT: Activity.WORKING, Halt.AFTER_STEP: Activity.DRAINING, Halt.AT_ONCE: Activity.STOPPING}
_COMMANDS = frozenset({"run_command"})
"""Tools whose calls may be sent to the background."""


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of the screen."""

    transcript: Transcript
    plan: PlanView
    approval: ApprovalPanel
    question: QuestionPanel
    queue: QueueView
    prompt: Prompt
    status: StatusBar


class Presenter:
    """Shows a conversation. Text of segments waits for `flush`; everything else shows at once."""

    def __init__(self, parts: Parts, clock: Callable[[], float] = monotonic) -> None:
        self._transcript = parts.transcript
        self._status = parts.status
        self._plan = parts.plan
        self._queue = parts.queue
        self._prompt = parts.prompt
        self.asking = Asking(parts.approval, parts.question, parts.plan, parts.prompt, parts.status)
        self.modes: dict[int, Mode | None] = {}
        self._step: StepView | None = None
        self._thinks = False
        self._open_calls: dict[str, CallView] = {}
        self._questions: dict[str, QuestionAsked] = {}
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
        with self._transcript.app.batch_update():
            for event in history[start:]:
                await self.present(event)
        self._leave_step()
        self.asking.end()

    async def forget(self) -> None:
        """Show nothing of the conversation so far: another one begins."""
        self._leave_step()
        self._open_calls.clear()
        self.modes.clear()
        self._plan.tell_plan(())
        self._status.steps, self._status.tokens, self._status.context = 0, 0, None
        await self._transcript.clear()

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
        await self._hear(message.shown)

    async def say(self, level: Level, text: str) -> None:
        """Put a sentence into the transcript."""
        await self._transcript.add(NoticeLine(level, text))

    def show_queue(self, waiting: Sequence[str], said: Sequence[str]) -> None:
        """Show what waits, and what was said to the step in hand."""
        self._queue.tell(waiting, said)

    def halting(self, halt: Halt) -> None:
        """Show that what runs is to end."""
        self.asking.halting(_HALTING[halt])
        self._tell_hint()

    def give_back(self, text: str) -> None:
        """Put what was not sent into the prompt."""
        self._prompt.take_back(text)

    @property
    def command(self) -> str:
        """The call of the command that runs, the latest of several; empty where none does."""
        running = [name for name, view in self._open_calls.items() if view.call.tool in _COMMANDS and view.runs]
        return running[-1] if running else ""

    def flush(self) -> None:
        """Show the text that came since the last time, unless that took long: keys must not wait for it."""
        start = self._clock()
        if self._step is None or start < self._rested:
            return
        self._step.flush()
        now = self._clock()
        self._rested = now + _REST * (now - start)

    async def present(self, event: Event) -> None:
        """Show one event."""
        match event:
            case SegmentText() | ModeKnown() | Intervened() | CallOutput() | CallFinished() | StepFinished():
                self._go_on(event)
            case StepStarted():
                await self._start_step(event)
            case CallStarted():
                await self._start_call(event)
            case ApprovalAsked() | ApprovalGiven() | QuestionAsked() | QuestionAnswered():
                await self._ask(event)
            case _:
                await self._tell(event)
        self._tell_hint()

    def _go_on(self, event: SegmentText | ModeKnown | Intervened | CallOutput | CallFinished | StepFinished) -> None:
        """The step in hand grows."""
        match event:
            case SegmentText():
                self._feed(event)
            case ModeKnown() if self._step is not None:
                self._step.choose(event.mode)
            case Intervened() if self._step is not None:
                self._step.intervene(event.intervention)
            case CallOutput() if call := self._open_calls.get(event.id):
                call.feed(event.text)
            case CallFinished():
                self._finish_call(event)
            case StepFinished():
                self._finish_step(event)

    async def _tell(self, event: Event) -> None:
        """Something beside the steps."""
        match event:
            case UserSaid():
                await self._hear(event.text)
            case RunStarted():
                self._status.engine = event.engine
            case PlanChanged():
                self._plan.tell_plan(event.items)
            case Compacted():
                await self._transcript.add(CompactedLine(event))
                self._show_room(event)
            case Forked():
                await self._show_fork(event)
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

    async def _show_fork(self, event: Forked) -> None:
        from tui.widgets.fork import ForkView

        view = ForkView(event, self._clock)
        await self._transcript.add(view)
        if self._status.activity is not Activity.LOADING and not self._prompt.text and self._prompt.has_focus:
            view.focus()

    def _show_room(self, event: Compacted) -> None:
        """The bar says at once how much room there is now."""
        if (engine := self._status.engine) is not None and engine.context:
            self._status.context = min(1.0, event.after / engine.context)

    async def _hear(self, text: str) -> None:
        """The user's words, and the place to look at."""
        if self._step is not None:
            self._step.flush()
        self._transcript.anchor()
        await self._transcript.add(UserMessage(text))

    def _tell_hint(self) -> None:
        """Say which key helps right now."""
        hint = ""
        if self._status.activity is Activity.DRAINING:
            hint = "Esc: at once"
        elif self._thinks:
            hint = "Ctrl+G: answer now"
        elif self.command:
            hint = "Ctrl+B: to background"
        self._status.hint = hint

    def _feed(self, event: SegmentText) -> None:
        self._thinks = event.segment in (Segment.JUDGE, Segment.THINK)
        if self._step is not None:
            self._step.feed(event.segment, event.text)

    async def _start_step(self, event: StepStarted) -> None:
        self._leave_step()
        self._step = StepView(event)
        await self._transcript.add(self._step)

    async def _start_call(self, event: CallStarted) -> None:
        self._thinks = False
        if self._step is not None:
            self._step.flush()
            await self._step.add_call(event)
            self._open_calls[event.id] = self._step.calls[event.id]

    async def _ask(self, event: ApprovalAsked | ApprovalGiven | QuestionAsked | QuestionAnswered) -> None:
        call = self._open_calls.get(event.id)
        match event:
            case ApprovalAsked():
                self.asking.ask(event)
                if call is not None:
                    call.ask(event)
            case QuestionAsked():
                self._questions[event.id] = event
                self.asking.ask(event)
            case ApprovalGiven():
                self.asking.answered(event.id)
                if call is not None:
                    call.answered(event)
            case QuestionAnswered():
                self.asking.answered(event.id)
                await self._transcript.add(AnsweredQuestion(self._questions.pop(event.id, None), event))

    def _finish_call(self, event: CallFinished) -> None:
        if call := self._open_calls.pop(event.id, None):
            call.finish(event)

    def _finish_step(self, event: StepFinished) -> None:
        record = event.record
        self._thinks = False
        self.modes[record.index] = record.mode
        self._status.steps += 1
        self._status.tokens += written(record.tokens)
        self._status.context = event.context_used if event.context_used is not None else self._status.context
        if self._step is not None and self._step.step == record.index:
            self._step.finish(event)

    def _leave_step(self) -> None:
        step, self._step = self._step, None
        self._thinks = False
        if step is not None:
            step.settle()

    async def _finish_run(self, event: RunFinished) -> None:
        await self._end_run(*_ending(event))

    async def _end_run(self, level: Level, text: str) -> None:
        self._leave_step()
        self._open_calls.clear()
        self._questions.clear()
        self.asking.end()
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
