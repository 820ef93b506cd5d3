"""What thinking cost and what it saved: a session's steps added up from the records of its journal. Pure.

Ledgers add, so that many sessions make one; steps are named by session and number.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from statistics import median
from typing import Any, Literal

from assistant.leaks import leaked
from assistant.records import Choice, Seconds, StepRecord, Tokens
from assistant.sessions.replay import branch_of, step_records
from model.format import Mode

Record = Mapping[str, Any]
KINDS = frozenset({"session", "forked", "reply", "step", "fork", "preference"})
"""The records that a ledger is made of."""
RECOVERING = frozenset({"failed_edit", "failed_test", "recovery"})
"""Rules that think because the step before went wrong."""
HOW_ESTIMATED = (
    "median thinking tokens of the session's own steps with thinking on, times its steps with thinking off; "
    "judge and answer are taken to stay as long as they were"
)
ModeName = Literal["on", "off", "none"]


@dataclass(frozen=True, slots=True)
class StepRef:
    """A step of a session."""

    session: str
    step: int


@dataclass(frozen=True, slots=True)
class Account:
    """Steps and what they took together."""

    steps: int = 0
    tokens: Tokens = field(default_factory=Tokens)
    seconds: Seconds = field(default_factory=Seconds)

    def __add__(self, other: Account) -> Account:
        return Account(
            self.steps + other.steps, self.tokens + other.tokens, _seconds_added(self.seconds, other.seconds)
        )

    @property
    def cached_share(self) -> float | None:
        """The share of the prompts that the engine did not compute again, 0 to 1; None without prompts."""
        return self.tokens.cached / self.tokens.prompt if self.tokens.prompt else None

    @property
    def prefill(self) -> float:
        """Seconds from the end of the queue to the first token."""
        return max(0.0, self.seconds.first_token - self.seconds.queue)

    @property
    def generated(self) -> int:
        """Tokens that the model wrote."""
        return self.tokens.judge + self.tokens.think + self.tokens.answer


@dataclass(frozen=True, slots=True)
class Switch:
    """A step in another mode than the one before it, and the rule that asked for it."""

    at: StepRef
    before: Mode
    after: Mode
    rule: str


@dataclass(frozen=True, slots=True)
class Estimate:
    """What thinking at every step would have taken on top, made as `HOW_ESTIMATED` says.

    `off_steps` are the steps it was estimated for, `generated` the tokens that their sessions really wrote, `seconds`
    the time to decode `tokens` at the sessions' own speed.
    """

    off_steps: int
    tokens: int
    seconds: float
    generated: int

    def __add__(self, other: Estimate) -> Estimate:
        return Estimate(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(self)))

    @property
    def saved_share(self) -> float:
        """The share of always-on's tokens that was not written, 0 to 1."""
        always_on = self.generated + self.tokens
        return self.tokens / always_on if always_on else 0.0


@dataclass(frozen=True, slots=True)
class Leak:
    """An answer without thinking that thinks aloud; `words` are the first of it."""

    at: StepRef
    words: str


@dataclass(frozen=True, slots=True)
class Recovery:
    """A step without thinking that went wrong, what was wrong, and the rule that thought about it next.

    `well` says that the step with thinking went without a fault.
    """

    at: StepRef
    wrong: str
    rule: str
    well: bool


@dataclass(frozen=True, slots=True)
class Preference:
    """The branch of a forked step that the user likes better; `think` is the mode of the other branch."""

    at: StepRef
    choice: Choice
    think: str


@dataclass(frozen=True, slots=True)
class Ledger:
    """Sessions added up. `answers_off` are the answers without thinking in which leaks were looked for.

    `not_estimated` are steps without thinking in sessions that never thought, so that nothing can be estimated for
    them. `forks` are steps run again, `sub_agents` those of the session's sub-agents; no other figure counts them.
    """

    sessions: tuple[str, ...] = ()
    total: Account = field(default_factory=Account)
    by_mode: Mapping[ModeName, Account] = field(default_factory=dict)
    by_rule: Mapping[str, Account] = field(default_factory=dict)
    switches: tuple[Switch, ...] = ()
    estimate: Estimate | None = None
    not_estimated: int = 0
    answers_off: int = 0
    leaks: tuple[Leak, ...] = ()
    wrong: tuple[Recovery, ...] = ()
    disobeyed: tuple[StepRef, ...] = ()
    interventions: Mapping[str, int] = field(default_factory=dict)
    forks: Account = field(default_factory=Account)
    preferences: tuple[Preference, ...] = ()
    sub_agents: Account = field(default_factory=Account)

    def __add__(self, other: Ledger) -> Ledger:
        return Ledger(*(_both(getattr(self, each.name), getattr(other, each.name)) for each in fields(self)))

    @property
    def recovered(self) -> tuple[Recovery, ...]:
        """The steps that went wrong and were put right."""
        return tuple(each for each in self.wrong if each.well)


def ledger(session: str, records: Iterable[Record], *, inherited: bool = True) -> Ledger:
    """The ledger of one session; without what is `inherited` from the session it was forked from, if so wanted."""
    book = _Book(session)
    for record in records:
        if record["kind"] == "forked" and not inherited:
            book = _Book(session)
        book.enter(record)
    return book.closed()


@dataclass(slots=True)
class _Book:
    """What was read of a journal so far: small parts only, however long it is."""

    session: str
    steps: list[StepRecord] = field(default_factory=list)
    leaks: dict[int, str | None] = field(default_factory=dict)
    forks: Account = field(default_factory=Account)
    preferences: dict[int, Preference] = field(default_factory=dict)

    def enter(self, record: Record) -> None:
        """Take in a record."""
        match record["kind"]:
            case "reply" if record["mode"] == Mode.OFF:
                self.leaks[record["step"]] = leaked(record["answer"])
            case "step":
                self.steps += step_records([record])
            case "fork":
                self.forks += account([branch_of(record["other"]).record])
            case "preference":
                at, think = StepRef(self.session, record["step"]), str(record.get("think", ""))
                self.preferences[at.step] = Preference(at, record["choice"], think)
            case _:
                pass

    def closed(self) -> Ledger:
        """The ledger of all that was taken in."""
        estimate = always_on(self.steps)
        off = sum(step.mode is Mode.OFF for step in self.steps)
        return Ledger(
            sessions=(self.session,),
            total=account(self.steps),
            by_mode=_grouped((_mode_name(step), step) for step in self.steps),
            by_rule=_grouped((step.rule, step) for step in self.steps),
            switches=tuple(self._switches()),
            estimate=estimate,
            not_estimated=0 if estimate else off,
            answers_off=len(self.leaks),
            leaks=tuple(Leak(self._ref(step), words) for step, words in self.leaks.items() if words),
            wrong=tuple(self._wrong()),
            disobeyed=tuple(self._ref(step.index) for step in self.steps if not step.obeyed),
            interventions=Counter(each.reason for step in self.steps for each in step.interventions),
            forks=self.forks,
            preferences=tuple(self.preferences.values()),
        )

    def _ref(self, step: int) -> StepRef:
        return StepRef(self.session, step)

    def _pairs(self) -> Iterable[tuple[StepRecord, StepRecord]]:
        return zip(self.steps, self.steps[1:], strict=False)

    def _switches(self) -> Iterable[Switch]:
        for before, after in self._pairs():
            if before.mode and after.mode and before.mode is not after.mode:
                yield Switch(self._ref(after.index), before.mode, after.mode, after.rule)

    def _wrong(self) -> Iterable[Recovery]:
        for before, after in self._pairs():
            if before.mode is not Mode.ON and after.rule in RECOVERING:
                yield Recovery(self._ref(before.index), what_was_wrong(before), after.rule, _went_well(after))


def account(steps: Sequence[StepRecord]) -> Account:
    """What these steps took together."""
    tokens = (sum(getattr(step.tokens, each.name) for step in steps) for each in fields(Tokens))
    seconds = (sum(getattr(step.seconds, each.name) for step in steps) for each in fields(Seconds))
    return Account(len(steps), Tokens(*tokens), Seconds(*seconds))


def always_on(steps: Sequence[StepRecord]) -> Estimate | None:
    """What thinking at every step would have taken on top; None for a session that never thought to the end."""
    thought = [step.tokens.think for step in steps if step.mode is Mode.ON and step.cut is None]
    if not thought:
        return None
    off_steps = sum(step.mode is Mode.OFF for step in steps)
    total = account(steps)
    tokens = round(median(thought) * off_steps)
    seconds = tokens * total.seconds.decode / total.generated if total.generated else 0.0
    return Estimate(off_steps, tokens, seconds, total.generated)


def what_was_wrong(step: StepRecord) -> str:
    """In a few words; empty where nothing was."""
    if step.fault:
        return step.fault
    for call in step.calls:
        if call.outcome in ("failed", "invalid"):
            return f"{call.tool or 'a call'} {call.outcome}: {call.summary}".rstrip(": ")
    return f"cut: {step.cut}" if step.cut else ""


def as_json(found: Ledger) -> dict[str, Any]:
    """The ledger as `kat stats --json` prints it. Shares are 0 to 1; what is estimated stands in `always_on`."""
    return {
        "sessions": list(found.sessions),
        "total": _account_json(found.total),
        "by_mode": {name: _account_json(each) for name, each in found.by_mode.items()},
        "by_rule": {name: _account_json(each) for name, each in found.by_rule.items()},
        "switches": [
            {**_ref_json(each.at), "from": each.before, "to": each.after, "rule": each.rule} for each in found.switches
        ],
        "always_on": _estimate_json(found),
        "leaks": {
            "answers_off": found.answers_off,
            "steps": [{**_ref_json(each.at), "words": each.words} for each in found.leaks],
        },
        "wrong_off": [
            {**_ref_json(each.at), "wrong": each.wrong, "rule": each.rule, "recovered": each.well}
            for each in found.wrong
        ],
        "not_obeyed": [_ref_json(each) for each in found.disobeyed],
        "interventions": dict(found.interventions),
        "forks": _account_json(found.forks),
        "sub_agents": _account_json(found.sub_agents),
        "preferences": [
            {**_ref_json(each.at), "choice": each.choice, "think": each.think} for each in found.preferences
        ],
    }


def _account_json(found: Account) -> dict[str, Any]:
    tokens = {each.name: getattr(found.tokens, each.name) for each in fields(Tokens)}
    seconds = {
        "queue": found.seconds.queue,
        "prefill": found.prefill,
        "decode": found.seconds.decode,
        "tools": found.seconds.tools,
    }
    rounded = {name: round(value, 3) for name, value in seconds.items()}
    return {"steps": found.steps, "tokens": tokens, "cached_share": found.cached_share, "seconds": rounded}


def _estimate_json(found: Ledger) -> dict[str, Any] | None:
    if found.estimate is None:
        return None
    return {
        "estimate": True,
        "how": HOW_ESTIMATED,
        "off_steps": found.estimate.off_steps,
        "not_estimated_off_steps": found.not_estimated,
        "tokens_saved": found.estimate.tokens,
        "seconds_saved": round(found.estimate.seconds, 3),
        "saved_share": found.estimate.saved_share,
    }


def _ref_json(ref: StepRef) -> dict[str, Any]:
    return {"session": ref.session, "step": ref.step}


def _mode_name(step: StepRecord) -> ModeName:
    return step.mode.value if step.mode else "none"


def _went_well(step: StepRecord) -> bool:
    return step.mode is Mode.ON and not what_was_wrong(step)


def _grouped(steps: Iterable[tuple[Any, StepRecord]]) -> dict[Any, Account]:
    found: dict[Any, list[StepRecord]] = {}
    for name, step in steps:
        found.setdefault(name, []).append(step)
    return {name: account(each) for name, each in found.items()}


def _seconds_added(one: Seconds, other: Seconds) -> Seconds:
    return Seconds(*(getattr(one, each.name) + getattr(other, each.name) for each in fields(Seconds)))


def _both(one: Any, other: Any) -> Any:
    """Two values of the same field of two ledgers, added: missing ones count nothing, accounts add by name."""
    if one is None or other is None:
        return other if one is None else one
    if isinstance(one, Mapping):
        return {name: _both(one.get(name), other.get(name)) for name in dict.fromkeys([*one, *other])}
    return one + other
