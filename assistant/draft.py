"""A step while it runs: what was decided, what came, and what became of its calls."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace

from assistant.events import Decision
from assistant.records import CallOutcome, Intervention, Seconds, StepRecord, Tokens
from assistant.safety.permissions import Permission, Verdict
from assistant.think import TOO_LONG, ThinkDecision
from assistant.tools.base import Tool
from assistant.workspace.snapshots import Snapshot
from model.budget import BudgetedReply
from model.engine import Finish, Usage
from model.format import Reply, Segment, ThinkRequest, ToolCall


@dataclass(slots=True)
class PlannedCall:
    """A call of the reply with what the gate said of it.

    `error` is set where it cannot be run at all, `held` where the model is to think first.
    """

    id: str
    call: ToolCall
    tool: Tool | None = None
    permission: Permission | None = None
    verdict: Verdict | None = None
    error: str | None = None
    held: str = ""
    decision: Decision | None = None
    note: str = ""

    @property
    def asks(self) -> bool:
        """Whether somebody must still be asked."""
        open_ = self.verdict is not None and self.verdict.action == "ask" and self.decision is None
        return open_ and not self.held

    def shown(self) -> dict[str, str]:
        """The diff that an edit was planned with, for whoever reads the journal."""
        diff = self.permission is not None and self.permission.preview_kind == "diff"
        return {"diff": self.permission.preview} if diff and self.permission else {}


@dataclass(slots=True)
class Draft:
    """A step while it runs; it ends as a StepRecord. `sent` is what the prompt really asked of the model."""

    index: int
    decision: ThinkDecision
    sent: ThinkRequest = ThinkRequest.AUTO
    settled: bool = False
    """Whether what stepped into the reply chose its mode."""
    reply: Reply = field(default_factory=Reply)
    cut: str | None = None
    fault: str = ""
    usage: Usage | None = None
    weights: Counter[Segment] = field(default_factory=Counter)
    seconds: Seconds = field(default_factory=Seconds)
    interventions: tuple[Intervention, ...] = ()
    calls: list[PlannedCall] = field(default_factory=list)
    outcomes: list[CallOutcome] = field(default_factory=list)
    farewell: str | None = None
    """What `finish` said; the run ends with this step."""
    question: str = ""
    """What the user is asked at the step's end, because the run goes round in circles."""
    before: Snapshot | None = None
    after: Snapshot | None = None
    """The files before the first call that could change some, and behind the last."""

    @property
    def forced(self) -> bool:
        """Whether the mode was not the model's to choose."""
        return self.settled or self.sent is not ThinkRequest.AUTO

    @property
    def held(self) -> str:
        """The hold that stopped a call of this step, or empty."""
        return next((planned.held for planned in self.calls if planned.held), "")

    @property
    def tokens(self) -> Tokens:
        """Tokens by segment. The engine counts the whole reply; its share by segment follows the pieces that came."""
        return tokens_of(self.usage, self.weights)

    def take(self, reading: BudgetedReply, stopped: str | None) -> None:
        """Keep what a reply brought. Calls of one that was cut short do not count."""
        self.cut = stopped or _broken(reading)
        self.fault = TOO_LONG if not stopped and reading.finish is Finish.LENGTH else ""
        self.reply = reading.reply if self.cut is None else replace(reading.reply, calls=())
        self.usage, self.weights = reading.usage, reading.weights
        self.seconds = Seconds(reading.queue, reading.first_token, reading.decode)
        self.interventions = tuple(Intervention(each.reason, each.tokens, each.text) for each in reading.stepped)

    def record(self) -> StepRecord:
        """The step as the journal keeps it."""
        return StepRecord(
            index=self.index,
            request=self.decision.request,
            rule=self.decision.rule,
            why=self.decision.why,
            sent=self.sent,
            judge=self.reply.judge,
            mode=self.reply.mode,
            forced=self.forced,
            cut=self.cut,
            fault=self.fault,
            interventions=self.interventions,
            tokens=self.tokens,
            seconds=self.seconds,
            calls=tuple(self.outcomes),
            tree_before=self.before.tree if self.before else None,
            tree_after=self.after.tree if self.after else None,
        )


def _broken(reading: BudgetedReply) -> str | None:
    """Why a reply is not whole, if it is not."""
    match reading.finish:
        case Finish.CUT:
            return reading.error or "the stream broke off"
        case Finish.LENGTH:
            return "the reply reached its limit of tokens"
        case _:
            return None


def tokens_of(usage: Usage | None, weights: Counter[Segment]) -> Tokens:
    """Tokens by segment: what the engine counted, shared out by what came in each segment."""
    judge, think = weights[Segment.JUDGE] + weights[Segment.MODE], weights[Segment.THINK]
    answer = weights[Segment.ANSWER] + weights[Segment.TOOL]
    pieces = judge + think + answer
    if usage is None or not usage.completion or not pieces:
        prompt = Tokens(usage.prompt, usage.cached) if usage else Tokens()
        return replace(prompt, judge=judge, think=think, answer=answer)
    judge = round(usage.completion * judge / pieces)
    think = min(round(usage.completion * think / pieces), usage.completion - judge)
    return Tokens(usage.prompt, usage.cached, judge, think, usage.completion - judge - think)
