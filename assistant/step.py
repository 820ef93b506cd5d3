"""One step: decide the mode, ask the model, read its reply while it comes, run its calls, record it all.

Plain async, no langgraph: `graph.py` only decides which of these comes next. `calling.py` has the calls.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import aclosing, suppress
from dataclasses import asdict, dataclass, field, replace

from assistant.calling import CallRunner
from assistant.compaction import Compactor
from assistant.context import Transcript
from assistant.draft import Draft
from assistant.errors import UserError
from assistant.events import Event, Intervened, ModeKnown, Notice, SegmentText, StepFinished, StepStarted, UserSaid
from assistant.faults import REPAIRS, fault_of
from assistant.outage import notice
from assistant.records import Intervention, StepRecord, Tokens
from assistant.safety.sanitize import sanitize
from assistant.sessions import Journal
from assistant.stopping import unless_stopped, until_stopped
from assistant.think import Policy
from assistant.tools.base import ToolContext
from assistant.tools.toolbox import Toolbox
from assistant.trail import Trail
from assistant.undo import Undo
from model.budget import Budget, BudgetedReply, Steering, Stepped, thought_of
from model.engine import Engine, EngineInfo, Sampling
from model.engines.lasting import Found, Lost
from model.format import ModeChosen, ReplyDelta, TextDelta, ThinkRequest
from model.prompt import Dialect, Prompt, ToolSpec


@dataclass(slots=True)
class StepRunner:
    """Runs the parts of a step for one session. `steered` is what the user said meanwhile."""

    engine: Engine
    info: EngineInfo
    dialect: Dialect
    sampling: Sampling
    budget: Budget
    specs: tuple[ToolSpec, ...]
    calling: CallRunner
    transcript: Transcript
    compactor: Compactor
    steered: list[str] = field(default_factory=list)
    steering: Steering = field(default_factory=Steering)
    emit: Callable[[Event], None] = lambda _: None
    _disobeyed: bool = False

    @property
    def journal(self) -> Journal:
        """The session's journal."""
        return self.calling.journal

    @property
    def tools(self) -> ToolContext:
        """Where the tools work."""
        return self.calling.tools

    @property
    def policy(self) -> Policy:
        """The rules that say when to think."""
        return self.calling.policy

    @property
    def trail(self) -> Trail:
        """What the policy remembers."""
        return self.calling.trail

    @property
    def undo(self) -> Undo | None:
        """What takes changes back."""
        return self.calling.undo

    @property
    def stop(self) -> asyncio.Event:
        """Set when the user stops the run."""
        return self.calling.stop

    async def equip(self, toolbox: Toolbox) -> Sequence[str]:
        """Offer the tools of other programs too, from the first prompt on. What went wrong, in sentences."""
        problems = await toolbox.start()
        if (specs := toolbox.specs()) != self.specs:
            self.specs = specs
            self.compactor = self.compactor.offering(specs)
        return problems

    def begin(self) -> None:
        """A new message of the user: what the last run saw and was refused no longer counts."""
        self.stop.clear()
        self.calling.refused.clear()
        self.calling.loops.reset()
        self.trail.begin()

    def steer(self) -> str:
        """Put what the user said meanwhile into the conversation; returns it."""
        said, self.steered[:] = list(self.steered), []
        for text in said:
            self.journal.append("steer", sync=True, text=text)
            self.transcript.steer(text)
            self.emit(UserSaid(text, ThinkRequest.AUTO))
        return "\n".join(said)

    def decide(self, index: int, words: str, pinned: ThinkRequest, step: int) -> Draft:
        """Choose what to ask of the model for step `index` of the session, `step` of the run."""
        decision = self.policy.decide(self.trail.situation(words, pinned, step))
        self.trail.warning = ""
        self.emit(StepStarted(index, decision.request, decision.rule, decision.why))
        return Draft(index, decision)

    def prompt(self, draft: Draft) -> Prompt:
        """What the model is asked at this step."""
        decision = draft.decision
        return self.dialect.render(self.transcript.messages, self.specs, decision.request, decision.why)

    async def reply(self, draft: Draft) -> None:
        """Ask the model and read its reply; when it is cut short its text is kept, and its calls do not count.

        Raises:
            EngineError: nothing came at all.
            Stopped: the run was stopped before the model was asked.
        """
        self.tools.seen.next_reply()
        await self._watch_jobs(draft)
        prompt = self.prompt(draft)
        draft.sent = prompt.think
        sampling, budget = await unless_stopped(self._limits(draft), self.stop)
        reading = BudgetedReply(self.engine, self.dialect, prompt, sampling, budget, self.steering)
        async with aclosing(until_stopped(reading.deltas(), self.stop)) as deltas:
            async for delta in deltas:
                draft.settled = reading.settled
                self._say(draft, delta)
        draft.take(reading, "stopped" if self.stop.is_set() else None)
        if draft.cut is None:
            draft.fault = fault_of(draft.reply, [spec.name for spec in self.specs])
        self.journal.append("reply", step=draft.index, cut=draft.cut, why=draft.decision.why, **asdict(draft.reply))
        self.compactor.saw(prompt, draft.tokens)
        self.transcript.reply(draft.reply, draft.index)

    async def _limits(self, draft: Draft) -> tuple[Sampling, Budget]:
        """Those of the next reply: less than usual where the context or the session's budget leaves less."""
        most = await self.compactor.reply_tokens(self.transcript)
        shorter = thought_of(most) if most < self.sampling.max_tokens else None
        limits = (self.budget.think, self.trail.left(draft.decision), shorter)
        think = min((limit for limit in limits if limit is not None), default=None)
        return replace(self.sampling, max_tokens=most), replace(self.budget, think=think)

    @property
    def crowded(self) -> bool:
        """Whether the conversation may have to be made shorter before the next step."""
        return self.compactor.due(self.transcript)

    async def make_room(self) -> None:
        """Make the conversation shorter where the next prompt needs it. Raises `EngineError`, `Stopped`."""
        await unless_stopped(self.compactor.make_room(self.transcript, self.journal, self.emit), self.stop)

    async def compact(self, hint: str) -> None:
        """Make it shorter because the user asks for it. Raises `EngineError`, `OSError`, `Stopped`."""
        await unless_stopped(self.compactor.compact(self.transcript, self.journal, self.emit, hint), self.stop)

    def gate(self, draft: Draft, number: int) -> None:
        """Judge call `number` of the reply."""
        self.calling.gate(draft, number)

    async def act(self, draft: Draft, *, together: bool = False) -> None:
        """Run the call that was gated last, or all of them at the same time."""
        results = await (self.calling.act_together if together else self.calling.act)(draft)
        for planned, result in zip(draft.calls[-len(results) :], results, strict=True):
            self.transcript.result(result.output, planned.id)

    async def finish(self, draft: Draft) -> StepRecord:
        """Close the step: its record goes to the journal and to whoever watches."""
        if self.undo is not None:
            try:
                draft.after = await asyncio.to_thread(self.undo.end, draft.index)
            except (UserError, OSError) as error:
                self.emit(Notice("warning", f"What step {draft.index} changed could not be kept for undo: {error}"))
        self._watch_files(draft)
        record = draft.record()
        self.journal.step(record)
        self.trail.passed(draft, record)
        self._warn_of_left_out(draft)
        self._warn_of_disobedience(record)
        self.emit(StepFinished(record, _context_used(record.tokens, self.info.context)))
        return record

    def heard_of_engine(self, news: Lost | Found) -> None:
        """It went away, or is back; what came of the reply is kept, should this process not live to see the rest."""
        if isinstance(news, Lost):
            self.journal.append("lost", sync=True, error=news.error, written=news.written)
        self.emit(notice(news))

    def repair(self, fault: str) -> None:
        """Ask the model again, with what was wrong."""
        self.note(REPAIRS[fault])

    def note(self, text: str) -> None:
        """Tell the model something that nobody said."""
        self.journal.append("note", text=f"[{text}]")
        self.transcript.note(f"[{text}]")

    async def _watch_jobs(self, draft: Draft) -> None:
        """Where commands run in the background, what they change during this step belongs to it."""
        if self.undo is not None and self.tools.jobs.running:
            with suppress(UserError, OSError):  # then it counts as the user's own work
                draft.before = await asyncio.to_thread(self.undo.begin, draft.index, None)

    def _say(self, draft: Draft, delta: ReplyDelta | Stepped) -> None:
        match delta:
            case TextDelta(segment, text):
                self.emit(SegmentText(draft.index, segment, text))
            case ModeChosen(mode):
                forced = draft.forced
                self.emit(ModeKnown(draft.index, mode, forced))
            case Stepped(reason, tokens, text):
                self.emit(Intervened(draft.index, Intervention(reason, tokens, text)))
            case _:
                pass

    def _watch_files(self, draft: Draft) -> None:
        """Note it where files go to and fro between two states."""
        if draft.after is None or (repeated := self.calling.loops.files(draft.after.tree)) is None:
            return
        self.trail.warning = repeated.note
        draft.question = draft.question or repeated.question
        self.note(repeated.note)

    def _warn_of_left_out(self, draft: Draft) -> None:
        """Name what came into being and is in no snapshot."""
        if draft.before is None or draft.after is None:
            return
        for path, why in draft.after.left_out.items():
            if path not in draft.before.left_out:
                advice = (
                    "look into its .git before you run git there" if path.endswith("/") else "undo will not touch it"
                )
                self.emit(Notice("warning", sanitize(f"{path} is not kept in snapshots ({why}); {advice}.")))

    def _warn_of_disobedience(self, record: StepRecord) -> None:
        """Say once that the switch does not reach the model."""
        if record.obeyed or record.interventions or self._disobeyed:
            return
        self._disobeyed = True
        text = f"Step {record.index} was sent with thinking {record.sent} and came back {record.mode}"
        self.emit(Notice("warning", f"{text}: {self.info.name} does not obey the switch."))


def _context_used(tokens: Tokens, context: int | None) -> float | None:
    total = tokens.prompt + tokens.judge + tokens.think + tokens.answer
    return min(1.0, total / context) if context and tokens.prompt else None
