"""A session: an engine, a repository, a journal and the conversation so far. This is the `Agent` of the front ends."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from assistant.config import Settings, config_dir, state_dir
from assistant.context import Transcript, first_message, profile_for, system_text
from assistant.events import (
    ApprovalAsked,
    Decision,
    Event,
    RunFinished,
    RunStarted,
    RunStatus,
    StepFinished,
    StepRecord,
    Tokens,
)
from assistant.graph import RECURSION_LIMIT, Nodes, RunState, build
from assistant.safety.permissions import Permissions
from assistant.safety.sandbox import Sandbox, detect
from assistant.sessions import Journal, sessions_dir
from assistant.step import PlannedCall, StepRunner
from assistant.tools.base import ToolContext
from assistant.tools.registry import specs
from assistant.workspace.files import Workspace
from assistant.workspace.tests import find_test_command
from model.dialects import dialect
from model.engine import Engine, EngineError, EngineInfo, EngineRefused, Sampling
from model.format import ThinkRequest


@dataclass(frozen=True, slots=True)
class Limits:
    """What one message may take, and how tokens are drawn, for engines of one kind (our choice)."""

    steps: int
    reply_tokens: int
    temperature: float


LIMITS = Limits(steps=50, reply_tokens=8_192, temperature=0.6)
EMBEDDED_LIMITS = Limits(steps=6, reply_tokens=700, temperature=0.0)
"""A model of 135M parameters goes astray soon: few, short steps, and always its likeliest word."""


_MAX_FILES = 100_000


class Pilot:
    """Implements `assistant.agent.Agent` on the step runner and the graph."""

    def __init__(self, runner: StepRunner, limit: int, repository: Path) -> None:
        self._runner = runner
        self._limit = limit
        self._repository = repository
        self._nodes = Nodes(runner)
        self._saver = InMemorySaver()
        self._graph = build(self._nodes, self._saver)
        self._events: asyncio.Queue[Event | None] = asyncio.Queue()
        self._waiting: dict[str, asyncio.Future[tuple[Decision, str]]] = {}
        self._task: asyncio.Task[None] | None = None
        self._index = 1
        self._runs = 0
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
            journal.append("user", sync=True, text=text, think=think)
            self._runner.transcript.user(text)
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
        if self._runner.stop.is_set():
            return Decision.NO, "the run was stopped"
        planned = self._planned(call)
        waiting: asyncio.Future[tuple[Decision, str]] = asyncio.get_running_loop().create_future()
        self._waiting[call] = waiting
        self._emit(_approval(planned, self.sandbox))
        return await waiting

    def _planned(self, call: str) -> PlannedCall:
        draft = self._nodes.draft
        return next(planned for planned in (draft.calls if draft else []) if planned.id == call)


def _approval(planned: PlannedCall, sandbox: Sandbox) -> ApprovalAsked:
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
    )


async def open_pilot(
    repository: Path,
    engine: Engine,
    settings: Settings,
    *,
    allow: tuple[str, ...] = (),
    interactive: bool = True,
    named: Path | None = None,
    sandbox: Sandbox | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Pilot:
    """A new session in `repository` with an engine that is already open, and is closed if there is no session.

    `named` is the repository that people see, where `repository` is a copy of it.

    Raises:
        EngineError: the engine does not answer.
        UserError: the session cannot be written.
    """
    try:
        if sandbox is None:
            directories = [config_dir(environ), state_dir(environ)]
            sandbox = await asyncio.to_thread(detect, repository, config_dirs=directories, environ=environ)
        permissions = Permissions(allow, interactive=interactive, sandboxed=sandbox.contains)
        return await _opened(repository, engine, settings, permissions, sandbox, named or repository, environ)
    except BaseException:
        await engine.aclose()
        raise


async def _opened(
    repository: Path,
    engine: Engine,
    settings: Settings,
    permissions: Permissions,
    sandbox: Sandbox,
    shown: Path,
    environ: Mapping[str, str],
) -> Pilot:
    info = await engine.info()
    limits = EMBEDDED_LIMITS if info.name == "embedded" else LIMITS
    profile = profile_for(settings.profile, info.context)
    workspace = Workspace(repository)
    test_command = settings.test_command or await asyncio.to_thread(find_test_command, workspace, environ)
    files = workspace.list(limit=_MAX_FILES).paths
    runner = StepRunner(
        engine=engine,
        info=info,
        dialect=dialect(info.dialect),
        sampling=_sampling(settings, limits),
        specs=specs(profile.name),
        tools=ToolContext(workspace, sandbox, test_command, settings.command_timeout, profile.output),
        permissions=permissions,
        journal=Journal.create(sessions_dir(state_dir(environ)), shown, info),
        transcript=Transcript(system_text(profile, shown.name, files, test_command), first_message(profile, workspace)),
        emit=lambda _: None,
        stop=asyncio.Event(),
    )
    return Pilot(runner, settings.max_steps or limits.steps, shown)


def _sampling(settings: Settings, limits: Limits) -> Sampling:
    return Sampling(
        temperature=limits.temperature if settings.temperature is None else settings.temperature,
        top_p=settings.top_p,
        max_tokens=settings.max_tokens or limits.reply_tokens,
        seed=settings.seed,
    )
