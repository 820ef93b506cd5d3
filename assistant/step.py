"""One step: decide the mode, ask the model, read its reply while it comes, run its calls, record it all.

Plain async, no langgraph: `graph.py` only decides which of these comes next.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import asdict, dataclass, field, replace
from typing import Any, TypeVar

from assistant.context import Transcript
from assistant.errors import UserError
from assistant.events import (
    ApprovalGiven,
    CallFinished,
    CallOutcome,
    CallStarted,
    Decision,
    Event,
    ModeKnown,
    Notice,
    Seconds,
    SegmentText,
    StepFinished,
    StepRecord,
    StepStarted,
    Tokens,
)
from assistant.safety.permissions import Permission, Permissions, Verdict
from assistant.safety.sanitize import sanitize
from assistant.sessions import Journal
from assistant.think import Situation, ThinkDecision, decide
from assistant.tools.base import Tool, ToolContext, ToolError, ToolResult
from assistant.tools.registry import read_call
from assistant.undo import Undo
from assistant.workspace.snapshots import Snapshot
from model.engine import Delta, Engine, EngineInfo, Finish, Sampling, Usage
from model.format import ModeChosen, Reply, ReplyDelta, ReplyParser, Segment, TextDelta, ThinkRequest, ToolCall
from model.prompt import Dialect, ToolSpec

T = TypeVar("T")


class Stopped(Exception):
    """The user stopped the run."""


@dataclass(slots=True)
class PlannedCall:
    """A call of the reply with what the gate said of it. `error` is set where it cannot be run at all."""

    id: str
    call: ToolCall
    tool: Tool | None = None
    permission: Permission | None = None
    verdict: Verdict | None = None
    error: str | None = None
    decision: Decision | None = None
    note: str = ""

    @property
    def asks(self) -> bool:
        """Whether somebody must still be asked."""
        return self.verdict is not None and self.verdict.action == "ask" and self.decision is None

    def shown(self) -> dict[str, str]:
        """The diff that an edit was planned with, for whoever reads the journal."""
        diff = self.permission is not None and self.permission.preview_kind == "diff"
        return {"diff": self.permission.preview} if diff and self.permission else {}


@dataclass(slots=True)
class Draft:
    """A step while it runs; it ends as a StepRecord."""

    index: int
    decision: ThinkDecision
    reply: Reply = field(default_factory=Reply)
    cut: str | None = None
    usage: Usage | None = None
    weights: Counter[Segment] = field(default_factory=Counter)
    seconds: Seconds = field(default_factory=Seconds)
    calls: list[PlannedCall] = field(default_factory=list)
    outcomes: list[CallOutcome] = field(default_factory=list)
    farewell: str | None = None
    """What `finish` said; the run ends with this step."""
    before: Snapshot | None = None
    after: Snapshot | None = None
    """The files before the first call that could change some, and behind the last."""

    @property
    def forced(self) -> bool:
        """Whether the mode was not the model's to choose."""
        return self.decision.request is not ThinkRequest.AUTO

    def record(self) -> StepRecord:
        """The step as the journal keeps it."""
        return StepRecord(
            index=self.index,
            request=self.decision.request,
            rule=self.decision.rule,
            judge=self.reply.judge,
            mode=self.reply.mode,
            forced=self.forced,
            cut=self.cut,
            tokens=_tokens(self.usage, self.weights),
            seconds=self.seconds,
            calls=tuple(self.outcomes),
            tree_before=self.before.tree if self.before else None,
            tree_after=self.after.tree if self.after else None,
        )


@dataclass(slots=True)
class StepRunner:
    """Runs the parts of a step for one session."""

    engine: Engine
    info: EngineInfo
    dialect: Dialect
    sampling: Sampling
    specs: tuple[ToolSpec, ...]
    tools: ToolContext
    permissions: Permissions
    journal: Journal
    transcript: Transcript
    undo: Undo
    emit: Callable[[Event], None]
    stop: asyncio.Event
    refused: list[str] = field(default_factory=list)
    """The rules that would have allowed what this run was refused."""

    def decide(self, index: int, words: str, pinned: ThinkRequest, step: int) -> Draft:
        """Choose what to ask of the model for step `index` of the session, `step` of the run."""
        decision = decide(Situation(words, pinned, step))
        self.emit(StepStarted(index, decision.request, decision.rule, decision.why))
        return Draft(index, decision)

    async def reply(self, draft: Draft) -> None:
        """Ask the model and read its reply; when it is cut short its text is kept, and its calls do not count.

        Raises:
            EngineError: nothing came at all.
        """
        decision = draft.decision
        self.tools.seen.next_reply()
        prompt = self.dialect.render(self.transcript.messages, self.specs, decision.request, decision.why)
        parser = self.dialect.parser()
        self._say(draft, [delta for delta in parser.feed(prompt.opening.text) if isinstance(delta, ModeChosen)])
        started, first = time.monotonic(), 0.0
        async with aclosing(until_stopped(self.engine.stream(prompt, self.sampling), self.stop)) as stream:
            async for delta in stream:
                first = first or time.monotonic()
                self._take(draft, parser, delta)
        if self.stop.is_set():
            draft.cut = "stopped"
        self._say(draft, parser.close())
        now = time.monotonic()
        draft.seconds = Seconds(first_token=(first or now) - started, decode=now - (first or now))
        draft.reply = parser.reply if draft.cut is None else replace(parser.reply, calls=())
        self.journal.append("reply", step=draft.index, cut=draft.cut, why=decision.why, **asdict(draft.reply))
        self.transcript.reply(draft.reply)

    def _take(self, draft: Draft, parser: ReplyParser, delta: Delta) -> None:
        self._say(draft, parser.feed(delta.text))
        if delta.text:
            draft.weights[parser.segment] += delta.tokens or 1
        draft.usage = delta.usage or draft.usage
        match delta.finish:
            case Finish.CUT:
                draft.cut = delta.error or "the stream broke off"
            case Finish.LENGTH:
                draft.cut = f"the reply reached its limit of {self.sampling.max_tokens} tokens"
            case _:
                pass

    def _say(self, draft: Draft, deltas: list[ReplyDelta]) -> None:
        for delta in deltas:
            match delta:
                case TextDelta(segment, text):
                    self.emit(SegmentText(draft.index, segment, text))
                case ModeChosen(mode):
                    self.emit(ModeKnown(draft.index, mode, draft.forced))
                case _:
                    pass

    def gate(self, draft: Draft, number: int) -> None:
        """Read call `number` of the reply, plan it on the files as they are now, and judge it. Nothing is done yet."""
        call = draft.reply.calls[number]
        planned = PlannedCall(f"{draft.index}.{number + 1}", call)
        draft.calls.append(planned)
        title = call.name or "a call that cannot be read"
        try:
            planned.tool = read_call(call)
            title = planned.tool.title()
            planned.permission = planned.tool.permission(self.tools)
            planned.verdict = self.permissions.judge(planned.permission)
        except ToolError as error:
            planned.error = str(error)
        except Exception as error:  # noqa: BLE001 - whatever a model's arguments break is told to the model
            planned.error = _unexpected(error)
        self.emit(CallStarted(draft.index, planned.id, call.name, title, call.arguments))

    def decided(self, planned: PlannedCall, decision: Decision, note: str, by: str) -> None:
        """Somebody answered for a call."""
        planned.decision, planned.note = decision, note
        if decision is Decision.SESSION and planned.permission:
            self.permissions.remember(planned.permission)
        step = int(planned.id.split(".")[0])
        self.journal.append("approval", sync=True, id=planned.id, decision=decision, by=by, note=note)
        self.emit(ApprovalGiven(step, planned.id, decision, by))
        if decision is Decision.ALWAYS and planned.permission:
            kept = self.permissions.keep(planned.permission)
            self.emit(Notice("info" if kept.ok else "warning", sanitize(kept.text)))

    async def act(self, draft: Draft) -> None:
        """Run the call that was gated last, with a record before and after, and a snapshot if it may change files."""
        planned = draft.calls[-1]
        call = planned.call
        refusal = self._refusal(planned, over=draft.farewell is not None)
        kept: dict[str, Any] = {}
        if refusal is None:
            kept, refusal = await self._keep(draft, planned)
        durable = bool(kept)
        kept |= planned.shown()
        self.journal.append("intent", sync=durable, id=planned.id, tool=call.name, arguments=call.arguments, **kept)
        started = time.monotonic()
        outcome, result = refusal or await self._result(planned)
        seconds = time.monotonic() - started
        self.journal.append("result", sync=durable, id=planned.id, outcome=outcome, **asdict(result))
        self.transcript.result(result.output)
        draft.farewell = result.output if result.finish else draft.farewell
        draft.seconds = replace(draft.seconds, tools=draft.seconds.tools + seconds)
        draft.outcomes.append(
            CallOutcome(planned.id, call.name, call.arguments, outcome, result.summary, round(seconds, 3))
        )
        self.emit(CallFinished(draft.index, planned.id, call.name, outcome, result.summary, result.output))

    async def _keep(self, draft: Draft, planned: PlannedCall) -> tuple[dict[str, Any], tuple[str, ToolResult] | None]:
        """Take a snapshot before a call that may change files: what its intent says of it, or why it cannot run."""
        try:
            paths = planned.tool.changes(self.tools) if planned.tool else ()
            if paths == ():
                return {}, None
            before = await asyncio.to_thread(self.undo.begin, draft.index, paths)
        except (UserError, ToolError, OSError) as error:
            return {}, ("failed", _failure(f"nothing was done, because no snapshot could be made first: {error}"))
        draft.before = draft.before or before
        return {"tree": before.tree, "paths": paths}, None

    def _refusal(self, planned: PlannedCall, *, over: bool) -> tuple[str, ToolResult] | None:
        """Why a call does not run, if it does not."""
        if self.stop.is_set():
            return "stopped", _failure("the run was stopped before this was done")
        if over:
            return "invalid", _failure("finish came before this call; nothing runs after it")
        if planned.error or planned.tool is None or planned.verdict is None:
            return "invalid", _failure(planned.error or "the call cannot be read")
        if planned.verdict.action == "deny":
            self.refused.append(planned.verdict.rule)
            return "denied", _failure(f"refused: it needs {planned.verdict.rule}")
        if planned.verdict.action == "ask" and planned.decision in (None, Decision.NO):
            return "denied", _failure("the user said no" + (f": {planned.note}" if planned.note else ""))
        return None

    async def _result(self, planned: PlannedCall) -> tuple[str, ToolResult]:
        if planned.tool is None:
            raise RuntimeError("a call that cannot be read does not run")
        try:
            return await self._run(planned.tool, planned.permission)
        except ToolError as error:
            return "failed", _failure(str(error))
        except OSError as error:
            return "failed", _failure(f"{error.strerror or error} ({error.filename or planned.call.name})")
        except Stopped:
            return "stopped", _failure("stopped by the user; what it did so far stands")
        except Exception as error:  # noqa: BLE001 - as above
            return "failed", _failure(_unexpected(error))

    async def _run(self, tool: Tool, approved: Permission | None) -> tuple[str, ToolResult]:
        if tool.permission(self.tools) != approved:
            raise ToolError("what the call would do has changed since it was approved; look again and call anew")
        result = await unless_stopped(tool.run(self.tools), self.stop)
        return ("ok" if result.ok else "failed"), result

    async def finish(self, draft: Draft) -> StepRecord:
        """Close the step: its record goes to the journal and to whoever watches."""
        try:
            draft.after = await asyncio.to_thread(self.undo.end, draft.index)
        except (UserError, OSError) as error:
            self.emit(Notice("warning", f"What step {draft.index} changed could not be kept for undo: {error}"))
        record = draft.record()
        self.journal.step(record)
        self._warn_of_left_out(draft)
        self.emit(StepFinished(record, _context_used(record.tokens, self.info.context)))
        return record

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


def _unexpected(error: Exception) -> str:
    return f"the call cannot be run ({type(error).__name__}: {error})"


def _failure(text: str) -> ToolResult:
    return ToolResult(ok=False, summary=text.partition("\n")[0][:200], output=f"Error: {text}")


def _context_used(tokens: Tokens, context: int | None) -> float | None:
    total = tokens.prompt + tokens.judge + tokens.think + tokens.answer
    return min(1.0, total / context) if context and tokens.prompt else None


def _tokens(usage: Usage | None, weights: Counter[Segment]) -> Tokens:
    """Tokens by segment. The engine counts the whole reply; its share by segment follows the pieces that came."""
    judge, think = weights[Segment.JUDGE] + weights[Segment.MODE], weights[Segment.THINK]
    answer = weights[Segment.ANSWER] + weights[Segment.TOOL]
    pieces = judge + think + answer
    if usage is None or not usage.completion or not pieces:
        prompt = Tokens(usage.prompt, usage.cached) if usage else Tokens()
        return replace(prompt, judge=judge, think=think, answer=answer)
    judge = round(usage.completion * judge / pieces)
    think = min(round(usage.completion * think / pieces), usage.completion - judge)
    return Tokens(usage.prompt, usage.cached, judge, think, usage.completion - judge - think)


async def until_stopped(stream: AsyncGenerator[T, None], stop: asyncio.Event) -> AsyncGenerator[T, None]:
    """The items of `stream` until it ends or `stop` is set; then `stream` is closed at once."""
    stopping = asyncio.ensure_future(stop.wait())
    try:
        while not stop.is_set():
            item = asyncio.ensure_future(anext(stream))
            try:
                await asyncio.wait({item, stopping}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                await _cancelled(item)
            if item.cancelled() or isinstance(item.exception(), StopAsyncIteration):
                return
            yield item.result()
    finally:
        stopping.cancel()
        await stream.aclose()


async def _cancelled(task: asyncio.Future[Any]) -> None:
    """Cancel a task that is not done, and wait until it is."""
    if not task.done():
        task.cancel()
        await asyncio.wait({task})


async def unless_stopped(work: Awaitable[T], stop: asyncio.Event) -> T:
    """The result of `work`, or `Stopped` as soon as `stop` is set; `work` is cancelled then and has ended."""
    task = asyncio.ensure_future(work)
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise Stopped
    finally:
        stopping.cancel()
        await _cancelled(task)
