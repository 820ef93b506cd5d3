"""Events as updates of an editor's session."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from acp import helpers
from acp.helpers import SessionUpdate, ToolCallContentVariant
from acp.schema import (
    AgentMessageChunk,
    AgentThoughtChunk,
    PlanEntryStatus,
    ToolCallLocation,
    ToolCallUpdate,
    ToolKind,
    Usage,
    UsageUpdate,
    UserMessageChunk,
)

from assistant.events import (
    ApprovalAsked,
    ApprovalGiven,
    CallFinished,
    CallOutput,
    CallStarted,
    Changes,
    Compacted,
    Decision,
    Event,
    Intervened,
    ModeKnown,
    Notice,
    PlanChanged,
    Restored,
    RunFinished,
    RunStatus,
    SegmentText,
    StepFinished,
    StepStarted,
    UserSaid,
)
from assistant.protocols.acp.content import edits_of, places, proposed
from assistant.records import Tokens
from assistant.safety.sanitize import Sanitizer, sanitize
from model.format import Segment

Update = SessionUpdate | UsageUpdate

_KINDS: dict[str, ToolKind] = {
    "read_file": "read",
    "list_files": "read",
    "git_diff": "read",
    "read_output": "read",
    "repo_map": "search",
    "symbols": "search",
    "search": "search",
    "edit_file": "edit",
    "write_file": "edit",
    "replace_symbol": "edit",
    "apply_patch": "edit",
    "delete_file": "delete",
    "move_file": "move",
    "run_command": "execute",
    "run_tests": "execute",
    "stop_command": "execute",
    "web_fetch": "fetch",
    "todo": "think",
    "spawn": "think",
}
_STATES: dict[str, PlanEntryStatus] = {"open": "pending", "doing": "in_progress", "done": "completed"}
_TAIL = 8_000
"""Characters of a running call's output that an editor is sent again and again (our choice)."""


@dataclass(slots=True)
class Translator:
    """Turns a session's events into updates. `context` is the model's limit in tokens, None where nobody knows."""

    root: Path
    context: int | None
    _rule: str = ""
    _texts: dict[Segment, Sanitizer] = field(default_factory=dict)
    _outputs: dict[str, str] = field(default_factory=dict)
    _edits: dict[str, Sequence[ToolCallContentVariant]] = field(default_factory=dict)

    def updates(self, event: Event) -> Sequence[Update]:
        """What an editor is told of an event, if anything."""
        match event:
            case StepStarted():
                self._rule, self._texts = event.rule, {}
            case SegmentText():
                return self._text(event)
            case ModeKnown():
                return [_thought(f"\n[think {event.mode}: {self._rule}]\n", f"{event.step}.thought")]
            case CallStarted() | ApprovalGiven() | CallOutput() | CallFinished():
                return self._call(event)
            case PlanChanged():
                entries = [helpers.plan_entry(sanitize(item.text), status=_STATES[item.state]) for item in event.items]
                return [helpers.update_plan(entries)]
            case StepFinished():
                return self._usage(event)
            case _:
                return _said(event)
        return []

    def asked(self, event: ApprovalAsked) -> ToolCallUpdate:
        """The call that an approval is about, with what it would do."""
        edits = edits_of(event.preview, self.root) if event.preview_kind == "diff" else []
        self._edits[event.id] = edits or self._edits.get(event.id, ())
        shown = [*edits, *([] if edits else [_block(event.preview)]), _block(event.reason)]
        return ToolCallUpdate(
            tool_call_id=event.id, title=sanitize(event.title), kind=_kind(event.tool), status="pending", content=shown
        )

    def _text(self, event: SegmentText) -> Sequence[Update]:
        text = self._texts.setdefault(event.segment, Sanitizer()).feed(event.text)
        match event.segment:
            case Segment.ANSWER if text:
                return [_message(text, f"{event.step}.answer")]
            case Segment.JUDGE | Segment.THINK if text:
                return [_thought(text, f"{event.step}.thought")]
            case _:
                return []

    def _call(self, event: CallStarted | ApprovalGiven | CallOutput | CallFinished) -> Sequence[Update]:
        match event:
            case CallStarted():
                return [self._started(event)]
            case ApprovalGiven():
                going = event.decision is not Decision.NO
                return [helpers.update_tool_call(event.id, status="in_progress")] if going else []
            case CallOutput():
                self._outputs[event.id] = (self._outputs.get(event.id, "") + event.text)[-_TAIL:]
                shown = [_block(self._outputs[event.id])]
                return [helpers.update_tool_call(event.id, status="in_progress", content=shown)]
            case CallFinished():
                return [self._finished(event)]

    def _started(self, event: CallStarted) -> Update:
        self._edits[event.id] = proposed(event.tool, event.arguments, self.root)
        return helpers.start_tool_call(
            event.id,
            sanitize(event.title),
            kind=_kind(event.tool),
            status="pending",
            content=self._edits[event.id],
            locations=[ToolCallLocation(path=path) for path in places(event.arguments, self.root)],
            raw_input=event.arguments,
        )

    def _finished(self, event: CallFinished) -> Update:
        self._outputs.pop(event.id, None)
        edits = self._edits.pop(event.id, ())
        done = event.outcome == "ok"
        shown = [*(edits if done else ()), _block(event.output or event.summary)]
        return helpers.update_tool_call(event.id, status="completed" if done else "failed", content=shown)

    def _usage(self, event: StepFinished) -> Sequence[Update]:
        if not self.context or event.context_used is None:
            return []
        used = round(event.context_used * self.context)
        return [UsageUpdate(session_update="usage_update", used=used, size=self.context)]


def usage_of(tokens: Tokens) -> Usage:
    """The tokens of a run; the judge counts as thought."""
    thought = tokens.judge + tokens.think
    return Usage(
        total_tokens=tokens.prompt + thought + tokens.answer,
        input_tokens=tokens.prompt,
        output_tokens=thought + tokens.answer,
        thought_tokens=thought,
        cached_read_tokens=tokens.cached,
    )


def _said(event: Event) -> Sequence[Update]:
    """Events that are no part of a step."""
    match event:
        case UserSaid():
            return [UserMessageChunk(session_update="user_message_chunk", content=helpers.text_block(event.text))]
        case Notice(level="info"):
            return [_thought(f"\n{sanitize(event.text)}\n")]
        case Notice():
            return [_message(f"\n{event.level}: {sanitize(event.text)}\n")]
        case Intervened():
            return [_thought(f"\n[{event.intervention.reason} after {event.intervention.tokens} tokens]\n")]
        case Compacted():
            return [_thought(f"\nWhat the model reads was shortened: {event.before} tokens to {event.after}.\n")]
        case Restored():
            return [_message(sanitize(event.sentence))]
        case Changes():
            return [_message(f"```diff\n{sanitize(event.patch)}\n```" if event.patch else "Nothing was changed.")]
        case RunFinished(status=RunStatus.DONE | RunStatus.LIMIT | RunStatus.REFUSED) if event.message:
            return [_message(f"\n{sanitize(event.message)}\n")]
        case _:
            return []


def _kind(tool: str) -> ToolKind:
    return _KINDS.get(tool, "other")


def _block(text: str) -> ToolCallContentVariant:
    return helpers.tool_content(helpers.text_block(sanitize(text)))


def _message(text: str, message: str | None = None) -> AgentMessageChunk:
    return AgentMessageChunk(session_update="agent_message_chunk", content=helpers.text_block(text), message_id=message)


def _thought(text: str, message: str | None = None) -> AgentThoughtChunk:
    return AgentThoughtChunk(session_update="agent_thought_chunk", content=helpers.text_block(text), message_id=message)
