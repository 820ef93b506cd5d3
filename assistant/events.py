"""What a run says. The TUI, the JSONL output and the tests read only these."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, ClassVar, Literal

from assistant.records import Branch, Intervention, PlanItem, StepRecord, Tokens
from model.engine import EngineInfo
from model.format import Mode, Segment, ThinkRequest

Action = Literal["undo", "redo", "restore"]
_NAMED = 5
"""Files that a sentence names."""


def some(files: Sequence[str]) -> str:
    """The first few of these files, and how many more there are."""
    more = f" and {len(files) - _NAMED} more" if len(files) > _NAMED else ""
    return ", ".join(files[:_NAMED]) + more


class RunStatus(StrEnum):
    """How a run ended."""

    DONE = "done"
    STOPPED = "stopped"
    LIMIT = "limit"
    REFUSED = "refused"
    FAILED = "failed"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True)
class RunStarted:
    """The run has an engine and a session."""

    kind: ClassVar[str] = "run_started"
    session: str
    repository: str
    engine: EngineInfo
    think: ThinkRequest


@dataclass(frozen=True, slots=True)
class UserSaid:
    """The user said something, in a conversation that is shown again."""

    kind: ClassVar[str] = "user_said"
    text: str
    think: ThinkRequest


@dataclass(frozen=True, slots=True)
class StepStarted:
    """A step begins; `rule` names what decided `request`, `why` says it in words."""

    kind: ClassVar[str] = "step_started"
    step: int
    request: ThinkRequest
    rule: str
    why: str


@dataclass(frozen=True, slots=True)
class SegmentText:
    """A segment of the reply grew."""

    kind: ClassVar[str] = "segment"
    step: int
    segment: Segment
    text: str


@dataclass(frozen=True, slots=True)
class ModeKnown:
    """The reply's mode is known."""

    kind: ClassVar[str] = "mode"
    step: int
    mode: Mode
    forced: bool


@dataclass(frozen=True, slots=True)
class Intervened:
    """A budget or the user stepped into the reply."""

    kind: ClassVar[str] = "intervened"
    step: int
    intervention: Intervention


@dataclass(frozen=True, slots=True)
class CallStarted:
    """A tool call is about to run (or to be asked about). `title` is one line for people."""

    kind: ClassVar[str] = "call_started"
    step: int
    id: str
    tool: str
    title: str
    arguments: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ApprovalAsked:
    """Somebody must decide. `preview` is a unified diff for an edit, the command line for a command.

    `always` is the rule that the answer "always" would keep, as the settings write it; empty where there is none.
    """

    kind: ClassVar[str] = "approval_asked"
    step: int
    id: str
    tool: str
    title: str
    preview: str
    preview_kind: Literal["diff", "command", "text"]
    reason: str
    always: str = ""


class Decision(StrEnum):
    """An answer to `ApprovalAsked`."""

    ONCE = "once"
    SESSION = "session"
    ALWAYS = "always"
    NO = "no"


@dataclass(frozen=True, slots=True)
class ApprovalGiven:
    """What was decided, and by whom: a person, or the rule named in `by`."""

    kind: ClassVar[str] = "approval_given"
    step: int
    id: str
    decision: Decision
    by: str


@dataclass(frozen=True, slots=True)
class CallOutput:
    """A call that runs put out more text, sanitised. `CallFinished` repeats what of it the model reads."""

    kind: ClassVar[str] = "call_output"
    step: int
    id: str
    text: str


@dataclass(frozen=True, slots=True)
class QuestionAsked:
    """The model (or the loop itself) asks the user something; any text may be the answer, `options` are proposals."""

    kind: ClassVar[str] = "question_asked"
    step: int
    id: str
    question: str
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class QuestionAnswered:
    """The question is answered, or (with an empty answer) given up."""

    kind: ClassVar[str] = "question_answered"
    step: int
    id: str
    answer: str


@dataclass(frozen=True, slots=True)
class PlanChanged:
    """The model's list of things to do, as it is now."""

    kind: ClassVar[str] = "plan"
    items: tuple[PlanItem, ...]


@dataclass(frozen=True, slots=True)
class CallFinished:
    """A tool call is over. `summary` is one line; `output` is what the model will read."""

    kind: ClassVar[str] = "call_finished"
    step: int
    id: str
    tool: str
    outcome: str
    summary: str
    output: str


@dataclass(frozen=True, slots=True)
class StepFinished:
    """The step's record. `context_used` is the share of the context that its prompt and reply took, 0 to 1, or None."""

    kind: ClassVar[str] = "step_finished"
    record: StepRecord
    context_used: float | None


@dataclass(frozen=True, slots=True)
class Notice:
    """Something a person should know."""

    kind: ClassVar[str] = "notice"
    level: Literal["info", "warning", "error"]
    text: str


@dataclass(frozen=True, slots=True)
class Restored:
    """Files were brought to another state. `step` is the one undone, done again, or gone back to (0: the beginning).

    A negative step is what the user had written himself, and an undo had overwritten.
    """

    kind: ClassVar[str] = "restored"
    action: Action
    step: int
    files: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """What was done, for people and models; file names are as they are."""
        match self.action:
            case "undo":
                done = f"Undid step {self.step}"
            case "redo" if self.step < 0:
                done = "Brought back what you had written"
            case "redo":
                done = f"Did step {self.step} again"
            case "restore":
                done = f"Went back to where step {self.step} ended" if self.step else "Went back to the beginning"
        return f"{done}: {some(self.files) or 'no file had to change'}."


@dataclass(frozen=True, slots=True)
class Changes:
    """What steps changed, as a patch; empty where they changed nothing."""

    kind: ClassVar[str] = "changes"
    patch: str


@dataclass(frozen=True, slots=True)
class Compacted:
    """The conversation was made shorter for the model; the journal keeps all of it.

    `before` and `after` are tokens of the prompt; `exact` is False where no tokenizer could count them. `summary` is
    what stands for the old steps, empty where shortening tool output was enough.
    """

    kind: ClassVar[str] = "compacted"
    before: int
    after: int
    exact: bool
    summary: str = ""


@dataclass(frozen=True, slots=True)
class Forked:
    """A step and how it went in the other mode, from the same state, in a throw-away copy."""

    kind: ClassVar[str] = "forked"
    step: int
    original: Branch
    other: Branch


@dataclass(frozen=True, slots=True)
class RunFinished:
    """The run is over."""

    kind: ClassVar[str] = "run_finished"
    status: RunStatus
    message: str
    steps: int
    tokens: Tokens
    seconds: float


Event = (
    RunStarted
    | UserSaid
    | StepStarted
    | SegmentText
    | ModeKnown
    | Intervened
    | CallStarted
    | ApprovalAsked
    | ApprovalGiven
    | CallOutput
    | QuestionAsked
    | QuestionAnswered
    | PlanChanged
    | CallFinished
    | StepFinished
    | Notice
    | Restored
    | Changes
    | Compacted
    | Forked
    | RunFinished
)


def as_json(event: Event) -> dict[str, Any]:
    """The event as a JSON object, its `kind` first."""
    return {"kind": event.kind, **asdict(event)}
