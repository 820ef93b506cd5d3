"""A session: an engine, a repository, a journal and the conversation so far. This is the `Agent` of the front ends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

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
    StepRecord,
    Tokens,
)
from assistant.graph import RECURSION_LIMIT, Nodes, RunState, build
from assistant.restoring import changes, committing, restoring
from assistant.safety.permissions import Permissions
from assistant.safety.sandbox import Sandbox
from assistant.sessions.resuming import Beginning
from assistant.step import PlannedCall, StepRunner
from model.engine import EngineError, EngineInfo, EngineRefused
from model.format import ThinkRequest


class Pilot:
    """Implements `assistant.agent.Agent` on the step runner and the graph."""

    def __init__(self, runner: StepRunner, limit: int, repository: Path, beginning: Beginning) -> None:
        self._runner = runner
        self._limit = limit
        self._repository = repository
        self._nodes = Nodes(runner)
        self._saver = InMemorySaver()
        self._graph = build(self._nodes, self._saver)
        self._events: asyncio.Queue[Event | None] = asyncio.Queue()
        self._waiting: dict[str, asyncio.Future[tuple[Decision, str]]] = {}
        self._task: asyncio.Task[None] | None = None
        self._index = beginning.step
        self._runs = 0
        self._notes = list(beginning.notes)
        self.history: Sequence[Event] = beginning.history
        self.notices: Sequence[Notice] = beginning.notices
        self.records: list[StepRecord] = []
        runner.emit = self._emit

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

    async def run(self, text: str, think: ThinkRequest, words: str | None = None) -> AsyncIterator[Event]:
        """Answer one message; the last event is `RunFinished`. Leaving the iterator early stops the run.

        `words` is what of the message the user wrote himself, where that is not all of it.
        """
        self._runner.stop.clear()
        self._runner.refused.clear()
        self._task = asyncio.ensure_future(self._drive(text, think, text if words is None else words))
        try:
            while (event := await self._events.get()) is not None:
                yield event
        finally:
            self.stop()
            await self._task
            self._events = asyncio.Queue()

    async def restore(self, action: Action, step: int = 0) -> AsyncIterator[Event]:
        """Undo, redo, or go back to the state behind a step; the model is told with the next message."""
        async for event in restoring(self._runner.undo, action, step, self._waits):
            if isinstance(event, Restored):
                self._notes.append(f"[The user used {action}. {event.sentence}]")
            yield event

    async def changes(self, first: int | None = None, last: int | None = None) -> AsyncIterator[Event]:
        """What the session changed, one step, or the way from behind one step to behind another."""
        async for event in changes(self._runner.undo, first, last):
            yield event

    async def commit(self, message: str) -> AsyncIterator[Event]:
        """Commit the files that this session changed, as they are now, and nothing else."""
        async for event in committing(self._runner.undo, message):
            yield event

    def decide(self, approval: str, decision: Decision, note: str = "") -> None:
        """Answer an approval; one that is not (or no longer) asked for is ignored."""
        waiting = self._waiting.pop(approval, None)
        if waiting is not None and not waiting.done():
            waiting.set_result((decision, note))

    def stop(self) -> None:
        """Stop the run; an approval that is asked for is answered with no."""
        self._runner.stop.set()
        for approval in list(self._waiting):
            self.decide(approval, Decision.NO, "the run was stopped")

    async def aclose(self) -> None:
        """Stop what runs, then close the journal and the engine."""
        self.stop()
        if self._task is not None:
            await asyncio.wait([self._task])
        await asyncio.to_thread(self._runner.undo.close)
        self._runner.journal.close()
        await self._runner.engine.aclose()

    def _emit(self, event: Event) -> None:
        if isinstance(event, StepFinished):
            self.records.append(event.record)
        self._events.put_nowait(event)

    async def _drive(self, text: str, think: ThinkRequest, words: str) -> None:
        started, first = time.monotonic(), len(self.records)
        try:
            status, message = await self._answer(text, think, words)
            records = self.records[first:]
            tokens = sum((record.tokens for record in records), Tokens())
            self._emit(RunFinished(status, message, len(records), tokens, round(time.monotonic() - started, 3)))
        finally:
            self._events.put_nowait(None)

    async def _answer(self, text: str, think: ThinkRequest, words: str) -> tuple[RunStatus, str]:
        """How the run ended, and what to say of it. Errors that people cause or can mend become a status."""
        journal = self._runner.journal
        self._emit(RunStarted(self.session, str(self._repository), self.engine, think))
        try:
            notes, self._notes = self._notes, []
            journal.append("user", sync=True, text=text, think=think, notes=notes)
            self._runner.transcript.user("\n".join([*notes, text]))
            status, message = await self._run_graph(words, think)
        except EngineRefused as error:
            status, message = RunStatus.FAILED, str(error)
        except EngineError as error:
            status, message = RunStatus.UNREACHABLE, str(error)
        except OSError as error:
            status, message = RunStatus.FAILED, f"{error.strerror or error} ({error.filename or 'no file'})"
        except Exception as error:  # noqa: BLE001 - a run ends with RunFinished, come what may
            status, message = RunStatus.FAILED, f"an unexpected error ({type(error).__name__}: {error})"
        self._runner.transcript.unanswered()
        with suppress(OSError):
            journal.append("finished", status=status, message=message)
        return status, message

    async def _run_graph(self, words: str, think: ThinkRequest) -> tuple[RunStatus, str]:
        self._runs += 1
        config: Any = {"configurable": {"thread_id": str(self._runs)}, "recursion_limit": RECURSION_LIMIT}
        state: Any = RunState(
            words=words,
            think=think.value,
            index=self._index,
            step=0,
            limit=self._limit,
            call=0,
            status=None,
            message="",
        )
        try:
            while interrupts := (result := await self._graph.ainvoke(state, config)).get("__interrupt__"):
                decision, note = await self._ask(interrupts[0].value)
                state = Command(resume={"decision": decision.value, "note": note})
        finally:
            self._index = self._nodes.draft.index + 1 if self._nodes.draft else self._index
            self._saver.delete_thread(str(self._runs))
        return self._closing(RunStatus(result["status"]), result["message"])

    def _closing(self, status: RunStatus, message: str) -> tuple[RunStatus, str]:
        if status is RunStatus.DONE and self._runner.refused:
            return RunStatus.REFUSED, f"Refused by policy; allow it with {self._runner.refused[0]}."
        return status, message

    async def _ask(self, call: str) -> tuple[Decision, str]:
        asked = _approval(self._planned(call), self.sandbox, self._runner.permissions)
        await asyncio.to_thread(self._runner.undo.pause, asked.step)
        if self._runner.stop.is_set():
            return Decision.NO, "the run was stopped"
        self._emit(asked)
        return await self._waits(asked)

    def _waits(self, asked: ApprovalAsked) -> asyncio.Future[tuple[Decision, str]]:
        waiting: asyncio.Future[tuple[Decision, str]] = asyncio.get_running_loop().create_future()
        self._waiting[asked.id] = waiting
        return waiting

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
