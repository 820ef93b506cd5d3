"""What the journal knows of one step: the prompt as it was sent, the decision, the reply, its calls, its branches."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, get_args

from assistant.context import ProfileName, Transcript
from assistant.errors import UserError
from assistant.events import Forked
from assistant.records import Branch, Choice, StepRecord
from assistant.sessions.replay import branch_of, step_records, transcript
from assistant.tools.registry import specs
from model.dialects import dialect, dialect_of_model
from model.prompt import Prompt

Record = Mapping[str, Any]
_PROFILE: ProfileName = "full"
"""Of journals from before profiles were kept in them."""


@dataclass(frozen=True, slots=True)
class Approval:
    """What was decided of a call, by whom."""

    call: str
    decision: str
    by: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Explanation:
    """A step with all that led to it and came of it. `outputs` is what the model read of each call.

    `prompt` is rebuilt from the journal: secrets are taken out of it, and its tools are those of this version.
    `patch` is what the calls that worked were planned to change, as far as that was known before they ran.
    """

    session: str
    model: str
    record: StepRecord
    prompt: Prompt
    thought: str
    answer: str
    outputs: tuple[str, ...] = ()
    patch: str = ""
    approvals: tuple[Approval, ...] = ()
    forked: Forked | None = None
    preferred: Choice | None = None

    @property
    def branch(self) -> Branch:
        """The step as it went."""
        return Branch(self.record, self.thought, self.answer, self.outputs, self.patch)


def explain(session: str, records: Sequence[Record], step: int) -> Explanation:
    """What is known of step `step`.

    Raises:
        UserError: the session has no such step.
    """
    record, reply = record_of(session, records, step), _reply_of(records, step)
    mine = [each for each in records if str(each.get("id", "")).partition(".")[0] == str(step)]
    return Explanation(
        session=session,
        model=str(_engines(before(records, step))[1]["model"]),
        record=record,
        prompt=prompt_of(records, record),
        thought=str(reply.get("think", "")),
        answer=str(reply.get("answer", "")),
        outputs=tuple(each["output"] for each in mine if each["kind"] == "result"),
        patch=_planned(mine),
        approvals=tuple(
            Approval(each["id"], each["decision"], each["by"], each.get("note", ""))
            for each in mine
            if each["kind"] == "approval"
        ),
        forked=next(iter(forks(reversed(records), step)), None),
        preferred=_preferred(records, step),
    )


def record_of(session: str, records: Sequence[Record], step: int) -> StepRecord:
    """The record of a step.

    Raises:
        UserError: the session has none like that.
    """
    known = step_records(records)
    if not known:
        raise UserError(f"session {session} has no steps yet; `kat sessions list` shows how many each has")
    found = [each for each in known if each.index == step]
    if not found:
        raise UserError(f"there is no step {step}; session {session} has {known[0].index} to {known[-1].index}")
    return found[-1]


def before(records: Sequence[Record], step: int) -> Sequence[Record]:
    """The records up to the reply of a step, that reply included."""
    ends = [n for n, each in enumerate(records) if each["kind"] == "reply" and each["step"] == step]
    return records[: ends[-1] + 1] if ends else records


def transcript_before(records: Sequence[Record], step: int) -> Transcript:
    """The conversation as the model had it before a step."""
    past = before(records, step)
    kept = _last(past, "prompt")
    found = transcript(past, str(kept.get("system", "")), str(kept.get("first", "{message}")))
    replies = [n for n, turn in enumerate(found.turns) if turn.kind == "reply"]
    if replies:
        del found.turns[replies[-1] :]
    return found


def prompt_of(records: Sequence[Record], record: StepRecord) -> Prompt:
    """The prompt of a step, opening included."""
    past = before(records, record.index)
    kept = _last(past, "prompt")
    profile, names = kept.get("profile", _PROFILE), kept.get("tools")
    speaker = dialect(_dialect(past))
    offered = specs(profile if profile in get_args(ProfileName) else _PROFILE)
    tools = [spec for spec in offered if names is None or spec.name in names]
    why = record.why or str(_reply_of(records, record.index).get("why", ""))
    return speaker.render(transcript_before(records, record.index).messages, tools, record.request, why)


def state_digest(prompt: Prompt) -> str:
    """The SHA-256 of a prompt's text without its opening: what both branches of a step have in common."""
    shared = prompt.text.removesuffix(prompt.opening.text)
    return hashlib.sha256(shared.encode("utf-8", "backslashreplace")).hexdigest()


def forks(records: Iterable[Record], step: int | None = None) -> Iterator[Forked]:
    """The steps that were run again in the other mode, in the order of the records; those of one step if so wanted."""
    for each in records:
        if each["kind"] == "fork" and step in (None, each["step"]):
            yield Forked(each["step"], branch_of(each["original"]), branch_of(each["other"]))


def as_json(found: Explanation) -> dict[str, Any]:
    """As `kat explain --json` prints it: the prompt as messages, and the text that it opens the reply with."""
    return {
        "session": found.session,
        "model": found.model,
        "step": found.record.index,
        "record": asdict(found.record),
        "obeyed": found.record.obeyed,
        "prompt": {
            "state_sha256": state_digest(found.prompt),
            "dialect": found.prompt.dialect,
            "tools": [tool.name for tool in found.prompt.tools],
            "messages": [asdict(message) for message in found.prompt.messages],
            "opening": found.prompt.opening.text,
        },
        "thought": found.thought,
        "answer": found.answer,
        "outputs": list(found.outputs),
        "patch": found.patch,
        "approvals": [asdict(each) for each in found.approvals],
        "forked": asdict(found.forked) if found.forked else None,
        "preferred": found.preferred,
    }


def _preferred(records: Sequence[Record], step: int) -> Choice | None:
    choices = [each["choice"] for each in records if each["kind"] == "preference" and each["step"] == step]
    return choices[-1] if choices else None


def _planned(records: Iterable[Record]) -> str:
    """The diffs of the calls that worked, as they were planned."""
    diffs: dict[str, str] = {}
    parts: list[str] = []
    for each in records:
        match each["kind"]:
            case "intent" if each.get("diff"):
                diffs[each["id"]] = each["diff"]
            case "result" if each["outcome"] == "ok":
                parts.append(diffs.pop(each["id"], ""))
    return "".join(parts)


def _reply_of(records: Sequence[Record], step: int) -> Record:
    return next((each for each in reversed(records) if each["kind"] == "reply" and each["step"] == step), {})


def _last(records: Sequence[Record], kind: str) -> Record:
    return next((each for each in reversed(records) if each["kind"] == kind), {})


def _dialect(records: Sequence[Record]) -> str:
    """What the model spoke: as the session began, or by the name of the model that it went on with."""
    first, last = _engines(records)
    return str(first["dialect"] if last["model"] == first["model"] else dialect_of_model(last["model"]))


def _engines(records: Sequence[Record]) -> tuple[Record, Record]:
    """What answered at the beginning, and last."""
    first: Record = _last(records, "session")["engine"]
    return first, _last(records, "resumed").get("engine", first)
