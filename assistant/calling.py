"""The calls of a reply: each is read, judged, perhaps held or asked about, run, and recorded before and after."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from assistant.draft import Draft, PlannedCall
from assistant.errors import UserError
from assistant.events import ApprovalGiven, CallFinished, CallStarted, Decision, Event, Notice
from assistant.loops import LoopWatch
from assistant.records import CallOutcome
from assistant.safety.permissions import Permission, Permissions
from assistant.safety.sanitize import sanitize
from assistant.sessions import Journal
from assistant.stopping import Stopped, unless_stopped
from assistant.think import EDITS, Policy, unthought_change
from assistant.tools.base import Host, Tool, ToolContext, ToolError, ToolResult
from assistant.trail import Trail
from assistant.undo import Undo
from model.format import ToolCall

HELD = {
    "before_destructive": "Held, nothing was done: think first whether {what} is needed and right; then call it again.",
    "before_finish": (
        "Held: files were changed without a thought since. Check whether the work is whole and was tested; "
        "then call finish again, or go on."
    ),
}


@dataclass(slots=True)
class CallRunner:
    """Runs the calls of one session's replies. `undo` is None where somebody else keeps what is changed."""

    tools: ToolContext
    read: Callable[[ToolCall], Tool]
    permissions: Permissions
    journal: Journal
    undo: Undo | None
    policy: Policy
    trail: Trail
    stop: asyncio.Event
    emit: Callable[[Event], None] = lambda _: None
    host: Callable[[int, str], Host] | None = None
    readable: bool = True
    """Whether the model has `read_output`, and is told of it where output was cut."""
    waited: Callable[[], float] = lambda: 0.0
    """Seconds that this session has waited for a person so far."""
    loops: LoopWatch = field(default_factory=LoopWatch)
    refused: list[str] = field(default_factory=list)
    """The rules that would have allowed what this run was refused."""

    def clock(self) -> float:
        """Seconds that pass, but for those in which a person is waited for."""
        return time.monotonic() - self.waited()

    def gate(self, draft: Draft, number: int) -> None:
        """Read call `number` of the reply, plan it on the files as they are now, and judge it. Nothing is done yet."""
        call = draft.reply.calls[number]
        planned = PlannedCall(f"{draft.index}.{number + 1}", call)
        draft.calls.append(planned)
        title = call.name or "a call that cannot be read"
        try:
            planned.tool = self.read(call)
            title = planned.tool.title()
            planned.permission = planned.tool.permission(self.tools)
            planned.verdict = self.permissions.judge(planned.permission)
            planned.held = draft.held or self._hold(draft, planned.tool)
        except ToolError as error:
            planned.error = str(error)
        except Exception as error:  # noqa: BLE001 - whatever a model's arguments break is told to the model
            planned.error = _unexpected(error)
        self.emit(CallStarted(draft.index, planned.id, call.name, title, call.arguments))

    def gate_together(self, draft: Draft) -> bool:
        """Gate all calls of the reply at once, if there are several and all of them only look."""
        calls = draft.reply.calls
        if len(calls) < 2 or not all(map(self._only_looks, calls)):
            return False
        for number in range(len(calls)):
            self.gate(draft, number)
        return True

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

    async def act(self, draft: Draft) -> list[ToolResult]:
        """Run the call that was gated last, with a record before and after, and a snapshot if it may change files."""
        planned = draft.calls[-1]
        refusal = self._refusal(planned, over=draft.farewell is not None)
        kept: dict[str, Any] = {}
        if refusal is None:
            kept, refusal = await self._keep(draft, planned)
        durable = bool(kept)
        self._intend(planned, kept, durable=durable)
        started = self.clock()
        outcome, result = refusal or await self._result(draft, planned)
        seconds = self.clock() - started
        draft.seconds = replace(draft.seconds, tools=draft.seconds.tools + seconds)
        return [self._record(draft, planned, outcome, result, seconds, durable=durable)]

    async def act_together(self, draft: Draft) -> list[ToolResult]:
        """Run all calls, which only look, at the same time; they are recorded in their order."""
        for planned in draft.calls:
            self._intend(planned, {}, durable=False)
        started = self.clock()
        done = await asyncio.gather(*(self._timed(draft, planned) for planned in draft.calls))
        draft.seconds = replace(draft.seconds, tools=draft.seconds.tools + self.clock() - started)
        return [self._record(draft, planned, *end) for planned, end in zip(draft.calls, done, strict=True)]

    def _only_looks(self, call: ToolCall) -> bool:
        try:
            return self.read(call).reads
        except ToolError:
            return False

    def _hold(self, draft: Draft, tool: Tool) -> str:
        changed = any(outcome.tool in EDITS and outcome.outcome == "ok" for outcome in draft.outcomes)
        return self.policy.hold(
            draft.decision,
            draft.reply.mode,
            destroys=bool(tool.destructive(self.tools)),
            finishes=tool.name == "finish" and (changed or unthought_change(self.trail.past)),
            again=bool(self.trail.held),
        )

    async def _timed(self, draft: Draft, planned: PlannedCall) -> tuple[str, ToolResult, float]:
        started = self.clock()
        refusal = self._refusal(planned, over=False)
        outcome, result = refusal or await self._result(draft, planned)
        return outcome, result, self.clock() - started

    def _intend(self, planned: PlannedCall, kept: dict[str, Any], *, durable: bool) -> None:
        call = planned.call
        fields = {**kept, **planned.shown()}
        self.journal.append("intent", sync=durable, id=planned.id, tool=call.name, arguments=call.arguments, **fields)

    def _record(
        self,
        draft: Draft,
        planned: PlannedCall,
        outcome: str,
        result: ToolResult,
        seconds: float,
        *,
        durable: bool = False,
    ) -> ToolResult:
        """Write down what became of a call; a note stands behind its output where it repeats itself."""
        call = planned.call
        result = self._with_way(planned.id, self._watched(draft, call, outcome, result))
        self.journal.append("result", sync=durable, id=planned.id, outcome=outcome, **asdict(result))
        draft.farewell = result.output if result.finish else draft.farewell
        draft.outcomes.append(
            CallOutcome(planned.id, call.name, call.arguments, outcome, result.summary, round(seconds, 3))
        )
        self.emit(CallFinished(draft.index, planned.id, call.name, outcome, result.summary, result.output))
        return result

    def _with_way(self, call: str, result: ToolResult) -> ToolResult:
        """Say how the whole of an output is read that was cut."""
        if not (result.whole and self.readable):
            return result
        return replace(result, output=f"{result.output}\n(all of it: read_output {call})")

    def _watched(self, draft: Draft, call: ToolCall, outcome: str, result: ToolResult) -> ToolResult:
        if outcome in ("stopped", "held") or result.finish or call.error is not None:
            return result
        repeated = self.loops.saw(call.name, call.arguments, result.output)
        if repeated is None:
            return result
        self.trail.warning = repeated.note
        draft.question = repeated.question
        return replace(result, output=f"{result.output}\n\n[{repeated.note}]")

    async def _keep(self, draft: Draft, planned: PlannedCall) -> tuple[dict[str, Any], tuple[str, ToolResult] | None]:
        """Take a snapshot before a call that may change files: what its intent says of it, or why it cannot run."""
        try:
            paths = planned.tool.changes(self.tools) if planned.tool else ()
            if paths == () or self.undo is None:
                return {}, None
            before = await asyncio.to_thread(self.undo.begin, draft.index, paths)
        except (UserError, ToolError, OSError) as error:
            return {}, ("failed", failure(f"nothing was done, because no snapshot could be made first: {error}"))
        draft.before = draft.before or before
        return {"tree": before.tree, "paths": paths}, None

    def _refusal(self, planned: PlannedCall, *, over: bool) -> tuple[str, ToolResult] | None:
        """Why a call does not run, if it does not."""
        if self.stop.is_set():
            return "stopped", failure("the run was stopped before this was done")
        if over:
            return "invalid", failure("finish came before this call; nothing runs after it")
        if planned.error or planned.tool is None or planned.verdict is None:
            return "invalid", failure(planned.error or "the call cannot be read")
        if planned.verdict.action == "deny":
            self.refused.append(planned.verdict.rule)
            return "denied", failure(f"refused: it needs {planned.verdict.rule}")
        if planned.held:
            said = HELD[planned.held].format(what=planned.call.name)
            return "held", ToolResult(ok=False, summary="held: think first", output=said)
        if planned.verdict.action == "ask" and planned.decision in (None, Decision.NO):
            return "denied", failure("the user said no" + (f": {planned.note}" if planned.note else ""))
        return None

    async def _result(self, draft: Draft, planned: PlannedCall) -> tuple[str, ToolResult]:
        if planned.tool is None:
            raise RuntimeError("a call that cannot be read does not run")
        tools = replace(self.tools, host=self.host(draft.index, planned.id)) if self.host else self.tools
        try:
            return await self._run(planned.tool, tools, planned.permission)
        except ToolError as error:
            return "failed", failure(str(error))
        except OSError as error:
            return "failed", failure(f"{error.strerror or error} ({error.filename or planned.call.name})")
        except Stopped:
            return "stopped", failure("stopped by the user; what it did so far stands")
        except Exception as error:  # noqa: BLE001 - as above
            return "failed", failure(_unexpected(error))

    async def _run(self, tool: Tool, tools: ToolContext, approved: Permission | None) -> tuple[str, ToolResult]:
        if tool.permission(tools) != approved:
            raise ToolError("what the call would do has changed since it was approved; look again and call anew")
        result = await unless_stopped(tool.run(tools), self.stop)
        return ("ok" if result.ok else "failed"), result


def failure(text: str) -> ToolResult:
    """A result that says what went wrong."""
    return ToolResult(ok=False, summary=text.partition("\n")[0][:200], output=f"Error: {text}")


def _unexpected(error: Exception) -> str:
    return f"the call cannot be run ({type(error).__name__}: {error})"
