"""A session: an engine, a repository, a journal and the conversation so far. This is the `Agent` of the front ends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Sequence
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from assistant.answers import Waiting
from assistant.context import Turn
from assistant.draft import Draft, PlannedCall
from assistant.ending import Limits
from assistant.errors import UserError
from assistant.events import (
    Action,
    ApprovalAsked,
    Decision,
    Event,
    Notice,
    Restored,
    RunFinished,
    RunStarted,
    RunStatus,
    StepFinished,
)
from assistant.forking import forking, preferring
from assistant.graph import RECURSION_LIMIT, Nodes, RunState, build
from assistant.hosting import Aside, CallHost, Questions
from assistant.records import Choice, StepRecord
from assistant.restoring import changes, committing, restoring
from assistant.safety.permissions import Permissions
from assistant.safety.sandbox import Sandbox
from assistant.safety.sanitize import sanitize
from assistant.sessions.catalogue import checked_name
from assistant.sessions.resuming import Beginning
from assistant.step import StepRunner
from assistant.stopping import Stopped
from assistant.subagent import STEPS as CHILD_STEPS
from assistant.subagent import SubAgents
from assistant.tools.base import ToolError
from assistant.tools.toolbox import Toolbox
from assistant.undo import Undo
from model.engine import EngineError, EngineInfo, EngineRefused
from model.format import ThinkRequest

GO_ON, STOP = "Go on", "Stop here"


class Pilot:
    """Implements `assistant.agent.Agent` on the step runner and the graph."""

    def __init__(
        self,
        runner: StepRunner,
        limits: Limits,
        repository: Path,
        beginning: Beginning,
        *,
        interactive: bool = False,
        toolbox: Toolbox | None = None,
        aside: Aside | None = None,
    ) -> None:
        self._runner = runner
        self._toolbox = toolbox
        self._equipped = toolbox is None
        self._repository = repository
        self._nodes = Nodes(runner, limits, self._ask_to_go_on)
        self._saver = InMemorySaver()
        self._graph = build(self._nodes, self._saver)
        self._events: asyncio.Queue[Event | None] = asyncio.Queue()
        self._approvals: Waiting[tuple[Decision, str]] = Waiting()
        self._aside = aside or Aside(runner.undo)
        self._questions = Questions(runner.journal, self._emit, interactive, runner.stop, self._aside)
        self._children = SubAgents(runner, repository, self._child)
        self._hosts: dict[str, CallHost] = {}
        self._task: asyncio.Task[None] | None = None
        self._index = beginning.step
        self._runs = 0
        self._notes = list(beginning.notes)
        self.history: Sequence[Event] = beginning.history
        self.notices: Sequence[Notice] = beginning.notices
        self.records: list[StepRecord] = []
        runner.emit = runner.calling.emit = self._emit
        runner.calling.host = self._host
        runner.calling.waited = self._waited

    @property
    def engine(self) -> EngineInfo:
        """The engine in use, and why it was chosen."""
        return self._runner.info

    @property
    def session(self) -> str:
        """The session's id."""
        return self._runner.journal.session

    @property
    def sandbox(self) -> Sandbox:
        """The sandbox that commands run in."""
        return self._runner.tools.sandbox

    @property
    def turns(self) -> Sequence[Turn]:
        """The conversation as the model sees it."""
        return self._runner.transcript.turns

    @property
    def running(self) -> bool:
        """Whether a message is being answered."""
        return self._task is not None and not self._task.done()

    async def run(self, text: str, think: ThinkRequest, words: str | None = None) -> AsyncIterator[Event]:
        """Answer one message. Breaking off the iteration stops the run and closes the journal's last record.

        `words` is what the user wrote himself, where that is not all of it.
        """
        self._runner.begin()
        self._nodes.begin()
        work = self._drive(text, think, text if words is None else words)
        async with aclosing(self._events_of(work)) as events:
            async for event in events:
                yield event

    async def restore(self, action: Action, step: int = 0) -> AsyncIterator[Event]:
        """Undo, redo, or go back to the state behind a step; the model is told with the next message."""
        async for event in restoring(self._undo(), action, step, self._waits):
            if isinstance(event, Restored):
                self._notes.append(f"[The user used {action}. {event.sentence}]")
            yield event

    async def changes(self, first: int | None = None, last: int | None = None) -> AsyncIterator[Event]:
        """What the session changed, one step, or the way from behind one step to behind another."""
        async for event in changes(self._undo(), first, last):
            yield event

    async def commit(self, message: str) -> AsyncIterator[Event]:
        """Commit the files that this session changed, as they are now, and nothing else."""
        async for event in committing(self._undo(), message):
            yield event

    async def compact(self, hint: str = "") -> AsyncIterator[Event]:
        """Make the conversation shorter for the model, `hint` saying what matters."""
        runner = self._runner

        async def work() -> None:
            try:
                await runner.compact(hint)
            except Stopped:
                self._emit(Notice("info", "Stopped; the conversation stays as it is."))
            except (EngineError, OSError) as error:
                self._emit(Notice("error", f"The conversation stays as it is: {error}"))
            finally:
                self._events.put_nowait(None)

        async with aclosing(self._events_of(work())) as events:
            async for event in events:
                yield event

    async def fork(self, step: int, think: ThinkRequest) -> AsyncIterator[Event]:
        """Run a recorded step again in the other mode, from the same state, in a throw-away copy."""
        async for event in forking(self._runner, step, think):
            yield event

    async def prefer(self, step: int, choice: Choice) -> AsyncIterator[Event]:
        """Keep which branch of a forked step the user likes better."""
        async for event in preferring(self._runner.journal, step, choice):
            yield event

    async def rename(self, name: str) -> AsyncIterator[Event]:
        """Give the session a name; says so in a `Notice`."""
        try:
            self._runner.journal.append("renamed", sync=True, name=(checked := checked_name(name)))
            yield Notice("info", f"This session is called {sanitize(checked)} now.")
        except (UserError, OSError) as error:
            yield Notice("error", f"The session keeps its name: {sanitize(str(error))}")

    def decide(self, approval: str, decision: Decision, note: str = "") -> None:
        """Answer an approval; one that is not (or no longer) asked for is ignored."""
        if not self._children.decide(approval, decision, note):
            self._approvals.give(approval, (decision, note))

    def answer(self, question: str, text: str) -> None:
        """Answer a question; an empty text gives it up."""
        self._questions.waiting.give(question, text)

    def steer(self, text: str) -> bool:
        """Say something that the model reads before its next step. False if there will be none."""
        goes_on = self.running and not self._nodes.over
        if goes_on and text.strip():
            self._runner.steered.append(text)
        return goes_on

    def enough(self) -> None:
        """End the open judge or thought; the answer follows."""
        self._runner.steering.enough()

    def inform(self, fact: str) -> None:
        """Put a fact into the open thought; where none is open it is read before the next step."""
        if not self._runner.steering.fact(fact):
            self.steer(fact)

    def background(self, call: str) -> None:
        """Send a command that runs to the background."""
        if (host := self._hosts.get(call)) is not None:
            host.detached.set()

    def drain(self) -> None:
        """Stop the run when the step in hand is over, and its sub-agents when theirs is."""
        self._nodes.draining = True
        self._children.drain()

    def stop(self) -> None:
        """Stop the run; an approval that is asked for is answered with no, a question is given up."""
        self._runner.stop.set()
        self._approvals.give_all((Decision.NO, "the run was stopped"))

    async def leave(self) -> None:
        """Stop what runs and close the journal; the engine stays open."""
        self.stop()
        if self._task is not None:
            await asyncio.wait([self._task])
        self._runner.journal.close()

    async def aclose(self) -> None:
        """Stop what runs, then close everything."""
        self.stop()
        if self._task is not None:
            await asyncio.wait([self._task])
        await self._runner.tools.jobs.stop_all()
        if self._runner.tools.repo_map is not None:
            self._runner.tools.repo_map.close()
        if self._toolbox is not None:
            await self._toolbox.aclose()
        if self._runner.undo is not None:
            await asyncio.to_thread(self._runner.undo.close)
        self._runner.journal.close()
        await self._runner.engine.aclose()

    async def _events_of(self, work: Awaitable[None]) -> AsyncGenerator[Event, None]:
        """What `work` emits, until it puts None."""
        self._runner.stop.clear()
        self._task = asyncio.ensure_future(work)
        try:
            while (event := await self._events.get()) is not None:
                yield event
        finally:
            self.stop()
            await self._task
            self._events = asyncio.Queue()
            self._runner.stop.clear()

    def _undo(self) -> Undo:
        if self._runner.undo is None:
            raise RuntimeError("a sub-agent takes nothing back")
        return self._runner.undo

    def _emit(self, event: Event) -> None:
        if isinstance(event, StepFinished):
            self.records.append(event.record)
        self._events.put_nowait(event)

    def _host(self, step: int, call: str) -> CallHost:
        """What call `call` may ask of this run; those of earlier steps are over."""
        host = CallHost(step, call, self._runner.journal, self._emit, self._questions, self._children.spawn)
        self._hosts = {id_: each for id_, each in self._hosts.items() if each.step == step} | {call: host}
        return host

    def _waited(self) -> float:
        """Seconds that were waited for a person so far."""
        return self._approvals.seconds + self._questions.waiting.seconds + self._children.waited

    def _child(self, runner: StepRunner, aside: Aside) -> Pilot:
        beginning = Beginning(runner.journal, runner.transcript, "full")
        return Pilot(runner, self._nodes.left(CHILD_STEPS), self._repository, beginning, aside=aside)

    async def _drive(self, text: str, think: ThinkRequest, words: str) -> None:
        started, first = time.monotonic(), len(self.records)
        try:
            status, message = await self._answer(text, think, words)
            records = self.records[first:]
            tokens = sum((record.tokens for record in records), self._runner.trail.elsewhere)
            self._emit(RunFinished(status, message, len(records), tokens, round(time.monotonic() - started, 3)))
        finally:
            self._runner.steered.clear()  # the front end has what was not read, and asks what to do with it
            self._events.put_nowait(None)

    async def _answer(self, text: str, think: ThinkRequest, words: str) -> tuple[RunStatus, str]:
        """How the run ended, and what to say of it. Errors that people cause or can mend become a status."""
        journal = self._runner.journal
        self._emit(RunStarted(self.session, str(self._repository), self.engine, think))
        notes: list[str] = []
        try:
            await self._equip()
            notes = self._notes
            journal.append("user", sync=True, text=text, think=think, notes=notes)
            self._runner.transcript.user("\n".join([*notes, text]))
            self._notes = []
            status, message = await self._run_graph(words, think)
        except Stopped:
            status, message = RunStatus.STOPPED, "Stopped; what came is kept."
        except EngineRefused as error:
            status, message = RunStatus.FAILED, str(error)
        except EngineError as error:
            status, message = RunStatus.UNREACHABLE, str(error)
        except OSError as error:
            status, message = RunStatus.FAILED, f"{error.strerror or error} ({error.filename or 'no file'})"
        except Exception as error:  # noqa: BLE001 - a run ends with RunFinished, come what may
            status, message = RunStatus.FAILED, f"an unexpected error ({type(error).__name__}: {error})"
        if self._runner.transcript.unanswered():
            self._notes = notes  # the model has not heard them
        with suppress(OSError):
            journal.append("finished", status=status, message=message)
        return status, message

    async def _equip(self) -> None:
        """Before the first prompt: learn which tools other programs offer."""
        if self._equipped or self._toolbox is None:
            return
        self._equipped = True
        for problem in await self._runner.equip(self._toolbox):
            self._emit(Notice("warning", sanitize(f"{problem.removesuffix('.')}.")))

    async def _run_graph(self, words: str, think: ThinkRequest) -> tuple[RunStatus, str]:
        self._runs += 1
        config: Any = {"configurable": {"thread_id": str(self._runs)}, "recursion_limit": RECURSION_LIMIT}
        state: Any = RunState(
            words=words, think=think.value, index=self._index, step=0, call=0, status=None, message=""
        )
        try:
            while interrupts := (result := await self._graph.ainvoke(state, config)).get("__interrupt__"):
                decision, note = await self._ask(interrupts[0].value)
                state = Command(resume={"decision": decision.value, "note": note})
        finally:
            self._index = self._nodes.draft.index + 1 if self._nodes.draft else self._index
            self._saver.delete_thread(str(self._runs))
        return self._ended(RunStatus(result["status"]), result["message"])

    def _ended(self, status: RunStatus, message: str) -> tuple[RunStatus, str]:
        refused = self._runner.calling.refused
        if status is RunStatus.DONE and refused:
            return RunStatus.REFUSED, f"Refused by policy; allow it with {refused[0]}."
        return status, message

    async def _ask(self, call: str) -> tuple[Decision, str]:
        asked = _approval(self._planned(call), self.sandbox, self._runner.calling.permissions)
        await self._aside.begin(asked.step)
        if self._runner.stop.is_set():
            return Decision.NO, "the run was stopped"
        self._emit(asked)
        answer = await self._approvals.answer(self._waits(asked))
        await self._aside.end()
        return answer

    async def _ask_to_go_on(self, draft: Draft) -> bool:
        """Ask the user whether a run that goes round in circles shall go on; what else he says steers it."""
        try:
            said = await self._questions.ask(draft.index, f"{draft.index}.?", draft.question, (GO_ON, STOP))
        except (ToolError, Stopped):
            return False
        if said not in ("", GO_ON, STOP):
            self._runner.steered.append(said)
        return said not in ("", STOP)

    def _waits(self, asked: ApprovalAsked) -> asyncio.Future[tuple[Decision, str]]:
        return self._approvals.wait(asked.id)

    def _planned(self, call: str) -> PlannedCall:
        draft = self._nodes.draft
        return next(planned for planned in (draft.calls if draft else []) if planned.id == call)


def _approval(planned: PlannedCall, sandbox: Sandbox, permissions: Permissions) -> ApprovalAsked:
    permission, tool = planned.permission, planned.tool
    if permission is None or tool is None or planned.verdict is None:
        raise RuntimeError("a call that cannot run asks for nothing")
    reason = planned.verdict.rule
    if not sandbox.contains:
        reason += "; there is no sandbox on this machine"
    return ApprovalAsked(
        step=int(planned.id.split(".")[0]),
        id=planned.id,
        tool=planned.call.name,
        title=tool.title(),
        preview=permission.preview,
        preview_kind=permission.preview_kind,
        reason=reason,
        always=permissions.always(permission),
    )
