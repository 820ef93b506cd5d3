"""From a journal's records back to the conversation: as events for whoever shows it, as a transcript for the model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from assistant.context import UNKNOWN, Transcript, turn_of
from assistant.events import (
    ApprovalGiven,
    CallFinished,
    CallStarted,
    Compacted,
    Decision,
    Event,
    Forked,
    Intervened,
    ModeKnown,
    Notice,
    PlanChanged,
    QuestionAnswered,
    QuestionAsked,
    RunFinished,
    RunStatus,
    SegmentText,
    StepFinished,
    StepStarted,
    UserSaid,
)
from assistant.records import Branch, CallOutcome, Intervention, PlanItem, Seconds, StepRecord, Tokens
from assistant.sessions.journal import read
from model.format import Mode, Reply, Segment, ThinkRequest, ToolCall

Record = Mapping[str, Any]
NOT_BEGUN = "Error: this call was not begun: the program ended before it."
_ENDED = "the program ended before this was over"


def events(records: Iterable[Record]) -> Iterator[Event]:
    """What a front end would have been told, without what only matters while it happens."""
    everything = list(records)
    steps = {step.index: step for step in step_records(everything)}
    run = _Run()
    for record in everything:
        yield from _told(record, steps, run)


def step_records(records: Iterable[Record]) -> list[StepRecord]:
    """The StepRecords of a session."""
    return [_step_record(record["record"]) for record in records if record["kind"] == "step"]


def thought_so_far(records: Iterable[Record]) -> int:
    """Tokens of thinking in a session."""
    return sum(step.tokens.think for step in step_records(records))


def next_step(records: Iterable[Record]) -> int:
    """The index that the next step gets."""
    indices = [record["step"] for record in records if record["kind"] == "reply"]
    return max(indices, default=0) + 1


def transcript(records: Iterable[Record], system: str, first: str) -> Transcript:
    """The conversation as the model saw it, byte by byte, secrets apart. What was never answered is taken back."""
    found = Transcript(system, first)
    for record in records:
        match record["kind"]:
            case "user":
                found.unanswered()
                found.user("\n".join([*record.get("notes", ()), record["text"]]))
            case "steer":
                found.steer(record["text"])
            case "note":
                found.note(record["text"])
            case "reply":
                found.reply(_reply(record), record["step"])
            case "result":
                found.result(record["output"], record["id"])
            case "compacted":
                found.turns[:] = map(turn_of, record["turns"])
            case _:
                pass
    found.unanswered()
    return found


def whole_output(path: Path, call: str) -> str | None:
    """The whole output of a call, by its id, from the journal that is `path`; None where there is no such call."""
    found = None
    for record in read(path):
        if record["kind"] == "result" and record["id"] == call:
            found = str(record.get("whole") or record["output"])
    return found


def branch_of(data: Record) -> Branch:
    """A branch as a `fork` record holds it."""
    return Branch(
        _step_record(data["record"]), data["thought"], data["answer"], tuple(data["outputs"]), data.get("patch", "")
    )


def mending(records: Sequence[Record]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Records (kind and fields) that close what broke off, so that nothing of it is ever run again unasked.

    A call with an intent and no result is of unknown outcome; one that follows it in the reply was not begun.
    """
    begun: set[str] = set()
    waiting: list[str] = []
    running = False
    for record in records:
        match record["kind"]:
            case "user":
                running = True
            case "reply":
                waiting, begun = [f"{record['step']}.{n}" for n in range(1, len(record["calls"]) + 1)], set()
            case "intent":
                begun.add(record["id"])
            case "result":
                waiting = [call for call in waiting if call != record["id"]]
            case "finished":
                running = False
    for call in waiting:
        yield "result", _unknown(call) if call in begun else _not_begun(call)
    if running:
        yield "finished", {"status": RunStatus.STOPPED.value, "message": f"{_ENDED[0].upper()}{_ENDED[1:]}."}


@dataclass(slots=True)
class _Run:
    """What was counted since the user's last message, and the calls that began."""

    think: ThinkRequest = ThinkRequest.AUTO
    steps: int = 0
    tokens: Tokens = field(default_factory=Tokens)
    seconds: float = 0.0
    open: dict[str, str] = field(default_factory=dict)


def _told(record: Record, steps: Mapping[int, StepRecord], run: _Run) -> Iterator[Event]:
    match record["kind"]:
        case "user":
            run.think = ThinkRequest(record.get("think", "auto"))
            run.steps, run.tokens, run.seconds = 0, Tokens(), 0.0
            yield UserSaid(record["text"], run.think)
        case "steer":
            yield UserSaid(record["text"], run.think)
        case "reply":
            yield from _replied(record, steps.get(record["step"]))
        case "intent":
            run.open[record["id"]] = record["tool"]
            yield _started(record)
        case "approval":
            yield ApprovalGiven(_step_of(record), record["id"], Decision(record["decision"]), record["by"])
        case "result":
            yield from _finished(record, run)
        case "step":
            yield _counted(_step_record(record["record"]), run)
        case "finished":
            status = RunStatus(record["status"])
            yield RunFinished(status, record["message"], run.steps, run.tokens, round(run.seconds, 3))
        case _:
            yield from _besides(record)


def _besides(record: Record) -> Iterator[Event]:
    """What happens between replies and calls."""
    match record["kind"]:
        case "notice":
            yield Notice(record["level"], record["text"])
        case "question":
            yield QuestionAsked(_step_of(record), record["id"], record["question"])
            yield QuestionAnswered(_step_of(record), record["id"], record["answer"])
        case "plan":
            yield PlanChanged(tuple(PlanItem(**_known(PlanItem, item)) for item in record["items"]))
        case "compacted":
            yield Compacted(**_known(Compacted, record))
        case "fork":
            yield Forked(record["step"], branch_of(record["original"]), branch_of(record["other"]))
        case "preference":
            yield Notice("info", f"You liked the {record['choice']} branch of step {record['step']} better.")
        case _:
            pass


def _replied(record: Record, step: StepRecord | None) -> Iterator[Event]:
    index = record["step"]
    request = step.request if step else ThinkRequest.AUTO
    yield StepStarted(index, request, step.rule if step else "", record.get("why", ""))
    forced = step is not None and step.forced
    if record["judge"] and not forced:
        yield SegmentText(index, Segment.JUDGE, record["judge"])
    if record["mode"]:
        yield ModeKnown(index, Mode(record["mode"]), forced)
    for segment in (Segment.THINK, Segment.ANSWER):
        if text := record[segment.value]:
            yield SegmentText(index, segment, text)
    yield from (Intervened(index, each) for each in (step.interventions if step else ()))


def _started(record: Record) -> CallStarted:
    title = record.get("title") or _title(record["tool"], record["arguments"])
    return CallStarted(_step_of(record), record["id"], record["tool"], title, record["arguments"])


def _title(tool: str, arguments: dict[str, Any]) -> str:
    from assistant.tools.registry import read_call

    try:
        return read_call(ToolCall(tool, arguments)).title()
    except Exception:  # noqa: BLE001 - whatever is wrong with an old call, it is shown by its tool's name
        return tool or "a call that cannot be read"


def _finished(record: Record, run: _Run) -> Iterator[Event]:
    step, call = _step_of(record), record["id"]
    if call not in run.open:  # it was never begun: nothing was told of it so far
        yield CallStarted(step, call, "", "a call that was not begun", {})
    tool = run.open.pop(call, "")
    yield CallFinished(step, call, tool, record["outcome"], record["summary"], record["output"])
    if record["outcome"] == "unknown":
        name = tool or "a call"
        text = f"The outcome of {name} in step {step} is unknown: the program ended while it ran. It is not run again."
        yield Notice("warning", text)


def _counted(step: StepRecord, run: _Run) -> StepFinished:
    run.steps += 1
    run.tokens = run.tokens + step.tokens
    run.seconds += step.seconds.first_token + step.seconds.decode + step.seconds.tools
    return StepFinished(step, None)


def _unknown(call: str) -> dict[str, Any]:
    summary = "unknown outcome: the program ended while it ran"
    return {"id": call, "outcome": "unknown", "ok": False, "summary": summary, "output": UNKNOWN, "finish": False}


def _not_begun(call: str) -> dict[str, Any]:
    summary = "not begun"
    return {"id": call, "outcome": "stopped", "ok": False, "summary": summary, "output": NOT_BEGUN, "finish": False}


def _step_of(record: Record) -> int:
    """The step that an id like ``4.1`` belongs to; 0 for one of another form."""
    step = record["id"].partition(".")[0]
    return int(step) if step.isdecimal() else 0


def _reply(record: Record) -> Reply:
    calls = tuple(ToolCall(**_known(ToolCall, call)) for call in record["calls"])
    mode = Mode(record["mode"]) if record["mode"] else None
    return Reply(record["judge"], mode, record["think"], record["answer"], calls, record.get("closed", False))


def _step_record(data: Record) -> StepRecord:
    values = _known(StepRecord, data)
    values |= {
        "request": ThinkRequest(data["request"]),
        "mode": Mode(data["mode"]) if data["mode"] else None,
        "sent": ThinkRequest(data["sent"]) if data.get("sent") else None,
        "interventions": tuple(Intervention(**_known(Intervention, each)) for each in data.get("interventions", ())),
        "tokens": Tokens(**_known(Tokens, data["tokens"])),
        "seconds": Seconds(**_known(Seconds, data["seconds"])),
        "calls": tuple(CallOutcome(**_known(CallOutcome, call)) for call in data["calls"]),
    }
    return StepRecord(**values)


def _known(kind: type[Any], data: Record) -> dict[str, Any]:
    """The fields that this version knows."""
    names = {each.name for each in fields(kind)}
    return {name: value for name, value in data.items() if name in names}
