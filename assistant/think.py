"""Whether the next step thinks: an ordered list of named rules, of which the first that speaks decides.

The user's words come first, then a pinned mode, then the user's own rules, a spent budget, and what the steps so far
call for. Where no rule speaks the model judges for itself. A rule sees what was done, never what the model is about to
do; a step that answers at once and then wants to destroy something or to finish is therefore held, and thinks first.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from assistant.records import CallOutcome, StepRecord
from model.format import Mode, ThinkRequest

_STEPS = r"step[- ]by[- ]step"
_NOT = r"(?:don['’]?t|do not)"
_OVER = r"(?=\s*(?:[.!?,;]|$|please\b|and\b|this time\b|here\b))"
"""The end of a wish: what goes on ("skip thinking tokens") is no wish, but work."""
_SAID = r"(?<!n't )(?<!n’t )(?<!not )(?<!never )"
_ZH_SAID = "(?<!不要)(?<!不能)(?<!别)"
"""What is denied is not said: "never skip the thinking"."""
_OFF_WORDS = (
    r"(?:(?<!要)不要|不用|不必|不需要|无需|无须|(?<![特分级类个区差性告])别)"
    r"(?:(?:一步一?步|逐步|仔细|深入|认真|反复)地?(?:思考|推理|分析|想)?|思考|推理|多想|想太多)|"
    rf"{_ZH_SAID}(?:直接(?:回答|告诉|给出|说)|跳过(?:思考|推理)|(?:马上|立刻|立即)告诉我)|"
    r"(?:^|[,，。.!！;；:：\s请]|麻烦|最好|可以|务必)(?:马上|立刻|立即)回答(?=[,，。.!！;；\s我]|$)|"
    r"只(?:要|给我|需要?)答案(?=[,，。.!！;；\s]|就|即可|$)|"
    rf"{_SAID}(?:\banswer (?:me )?directly\b|\bjust answer\b)|"
    # a server that must answer at once is no wish, so this one is read where a person would command it
    r"(?:^|[.!?;:,\n]\s*|\b(?:please|just|maybe|can you|could you) )(?:answer|reply)(?: me)? "
    rf"(?:right away|straight away|immediately|at once){_OVER}|"
    rf"{_SAID}\b(?:just|only) (?:give|tell|show) me the (?:final )?(?:answer|result)\b(?! of\b)|"
    rf"\bwithout (?:any |much |further |{_STEPS} )?(?:thinking|reasoning)\b|"
    rf"\bno thinking\b|\bno (?:long|extended|{_STEPS}) (?:thinking|reasoning)\b|"
    rf"{_SAID}\bskip (?:the |all |any )?(?:thinking|reasoning){_OVER}|"
    rf"\b(?:no need to|needn['’]?t|{_NOT} (?:need|have) to) (?:over)?(?:think|reason)\b|"
    rf"\b{_NOT} (?:overthink|reason|(?:work|go)(?: through)? (?:it|this)(?: out)? {_STEPS})\b|"
    # "I don't think it works" is an opinion and no wish
    rf"(?<!\bi )(?<!\bwe )(?<!\byou )(?<!\bthey )(?<!\breally )(?<!\bstill )\b{_NOT} think(?:ing)?\b"
    r"(?! (?:that|this|it|its|it's|the|there|these|those|so|we|you|i|they|my|our|your|any)\b(?! (?:through|over)\b))"
)
_ON_WORDS = (
    r"一步一步|一步步地?(?:思考|推理|分析|想)|逐步(?:思考|推理|分析)|仔细(?:思考|推理|分析|想)|"
    r"深入(?:思考|分析)|(?:认真|好好|慢慢)(?:思考|推理|想)|"
    r"深思熟虑|(?<!我)想清楚(?:了?再|后)|"
    r"(?<!\bi )\bthink (?:(?:about )?(?:it|this) )?"
    rf"(?:hard(?:er)?|carefully|deeply|thoroughly|long and hard|{_STEPS})\b(?!-)|"
    r"(?<!\bi )(?<!\blet me )\bthink (?:it|this) (?:through|over)\b(?!-)|"
    r"(?<!\bi )\bthink (?:\w+ )?before (?:you (?:answer|reply|act|edit|change)|answering|replying)\b|"
    rf"\b{_STEPS} (?:reasoning|thinking)\b|"
    rf"\breason (?:(?:about )?(?:it|this) )?(?:carefully|thoroughly|through|{_STEPS})\b|"
    rf"\bwork (?:it|this) out {_STEPS}\b|\b(?:work|go) through (?:it|this) {_STEPS}\b|"
    r"\btake (?:your|some) time (?:to|and) (?:think|reason)\b"
)
_OFF = re.compile(_OFF_WORDS, re.IGNORECASE)
_ON = re.compile(_ON_WORDS, re.IGNORECASE)

EDITS = frozenset({"edit_file", "write_file", "delete_file", "move_file", "apply_patch", "replace_symbol"})
"""Tools that change files by themselves."""
READS = frozenset({"read_file", "list_files", "search", "repo_map", "symbols"})
"""Tools that only look."""
TOO_LONG = "too_long"
"""The fault of a reply that reached its limit of tokens."""
_FAILED = ("failed", "invalid")
_TESTING = re.compile(r"\b(?:pytest|unittest|tox|nox|ctest|jest|vitest|rspec|phpunit|make (?:test|check)|\w+ test)\b")
_LOOKING = re.compile(r"^\s*(?:grep|rg|git (?:grep|diff)|diff|test|\[|ls|which|command -v)\b")
"""Command lines whose failure only says that something is not there."""


@dataclass(frozen=True, slots=True)
class Situation:
    """What a rule may look at.

    `words` is what the user said last, `pinned` the mode set for the session, `step` the number of the step within the
    run, from 0, and `past` the records of the run so far. `held` names the hold that stopped a call of the last step,
    `warning` is what the loop watch said of it. `planned` are files that a thought named and nobody has read yet.
    `thought` are the tokens of thinking in this session, and `budget` those it may have.
    """

    words: str
    pinned: ThinkRequest
    step: int
    past: tuple[StepRecord, ...] = ()
    held: str = ""
    warning: str = ""
    planned: tuple[str, ...] = ()
    thought: int = 0
    budget: int | None = None

    @property
    def last(self) -> StepRecord | None:
        """The step before this one, in the same run."""
        return self.past[-1] if self.past else None

    @property
    def last_calls(self) -> tuple[CallOutcome, ...]:
        """Its calls."""
        return self.last.calls if self.last else ()


@dataclass(frozen=True, slots=True)
class ThinkDecision:
    """What to ask of the model. `why` stands in the judge where the mode is forced."""

    request: ThinkRequest
    rule: str
    why: str


Rule = Callable[[Situation], ThinkDecision | None]


def wish_in(words: str) -> ThinkRequest:
    """The wish that words express; AUTO where they express none. A wish to think that is denied is none to think."""
    offs = [match.span() for match in _OFF.finditer(words)]
    ons = [match for match in _ON.finditer(words) if not any(a <= match.start() < b for a, b in offs)]
    off = max((end for _, end in offs), default=-1)
    on = max((match.end() for match in ons), default=-1)
    if off == on:
        return ThinkRequest.AUTO
    return ThinkRequest.ON if on > off else ThinkRequest.OFF


def users_words(situation: Situation) -> ThinkDecision | None:
    """The user said it, in English or Chinese; where both are said, the later one counts. "Don't think hard" is one."""
    wish = wish_in(situation.words)
    if wish is ThinkRequest.AUTO:
        return None
    if wish is ThinkRequest.ON:
        return ThinkDecision(ThinkRequest.ON, "user_words", "The user asks to reason step by step.")
    return ThinkDecision(ThinkRequest.OFF, "user_words", "The user asks for a direct answer.")


def pinned_mode(situation: Situation) -> ThinkDecision | None:
    """The mode that the user set for the session."""
    match situation.pinned:
        case ThinkRequest.AUTO:
            return None
        case ThinkRequest.ON:
            return ThinkDecision(ThinkRequest.ON, "pinned", "Thinking is switched on.")
        case ThinkRequest.OFF:
            return ThinkDecision(ThinkRequest.OFF, "pinned", "Thinking is switched off.")


def budget_spent(situation: Situation) -> ThinkDecision | None:
    """The session has thought as much as it may."""
    if situation.budget is None or situation.thought < situation.budget:
        return None
    return ThinkDecision(ThinkRequest.OFF, "budget_spent", "The budget for thinking is used up.")


def loop_warning(situation: Situation) -> ThinkDecision | None:
    """The run goes round in circles."""
    why = "The same thing was done again and again; another way is needed."
    return _on("loop_warning", why, speaks=bool(situation.warning))


def before_destructive(situation: Situation) -> ThinkDecision | None:
    """A call that destroys something was held."""
    why = "Something would be destroyed; that deserves a thought."
    return _on("before_destructive", why, speaks=situation.held == "before_destructive")


def before_finish(situation: Situation) -> ThinkDecision | None:
    """A `finish` was held."""
    why = "Files were changed; check the work before it counts as done."
    return _on("before_finish", why, speaks=situation.held == "before_finish")


def failed_edit(situation: Situation) -> ThinkDecision | None:
    """An edit of the last step did not land."""
    failed = any(call.tool in EDITS and call.outcome in _FAILED for call in situation.last_calls)
    return _on("failed_edit", "The last edit failed; find out why.", speaks=failed)


def failed_test(situation: Situation) -> ThinkDecision | None:
    """Tests that the last step ran failed."""
    failed = any(is_test_run(call) and call.outcome == "failed" for call in situation.last_calls)
    return _on("failed_test", "Tests failed; find out why.", speaks=failed)


def recovery(situation: Situation) -> ThinkDecision | None:
    """The last step answered at once, and that was wrong: a call failed or could not be read, or nothing came."""
    last = situation.last
    if last is None or last.mode is Mode.ON:
        return None
    if last.fault == TOO_LONG:
        return None  # a thought would leave even less room
    wrong = last.cut is not None or bool(last.fault) or any(_went_wrong(call) for call in last.calls)
    return _on("recovery", "The last step went wrong without a thought.", speaks=wrong)


def planned_read(situation: Situation) -> ThinkDecision | None:
    """The last step only looked, as a thought had planned, and the plan names more to look at."""
    calls = situation.last_calls
    looked = bool(calls) and all(call.tool in READS and call.outcome == "ok" for call in calls)
    if not looked or not situation.planned:
        return None
    why = f"Reading on as planned: {situation.planned[0]} is next."
    return ThinkDecision(ThinkRequest.OFF, "planned_read", why)


def model_judges(_: Situation) -> ThinkDecision:
    """Nobody else spoke."""
    return ThinkDecision(ThinkRequest.AUTO, "model", "The model judges for itself.")


BY_THE_USER: tuple[Rule, ...] = (users_words, pinned_mode)
"""What the user says now; nothing overrules it."""
BUILT_IN: dict[str, Rule] = {
    "budget_spent": budget_spent,
    "loop_warning": loop_warning,
    "before_destructive": before_destructive,
    "before_finish": before_finish,
    "failed_edit": failed_edit,
    "failed_test": failed_test,
    "recovery": recovery,
    "planned_read": planned_read,
}
"""The other rules in their order; the settings may leave some out."""
TAKEN = frozenset({"user_words", "pinned", "model", "fork", *BUILT_IN})
"""Names that no rule of the user's own may have."""
HOLDS = ("before_destructive", "before_finish")
_FINAL = frozenset({"user_words", "pinned", "budget_spent", *HOLDS})
"""Rules whose step is never held: the user or a budget wants no thought, or it was held already."""


@dataclass(frozen=True, slots=True)
class Policy:
    """The rules in force, and the holds that make some of them speak."""

    rules: tuple[Rule, ...] = (*BY_THE_USER, *BUILT_IN.values())
    holds: frozenset[str] = frozenset(HOLDS)

    @classmethod
    def of(cls, own: Sequence[Rule] = (), without: Sequence[str] = ()) -> Policy:
        """The built-in rules less those named, the user's own before them."""
        kept = [rule for name, rule in BUILT_IN.items() if name not in without]
        return cls((*BY_THE_USER, *own, *kept), frozenset(HOLDS) - frozenset(without))

    def decide(self, situation: Situation) -> ThinkDecision:
        """The decision of the first rule that speaks."""
        for rule in self.rules:
            if decision := rule(situation):
                return decision
        return model_judges(situation)

    def hold(
        self, decision: ThinkDecision, mode: Mode | None, *, destroys: bool, finishes: bool, again: bool = False
    ) -> str:
        """The hold that stops a call of a step that was decided so and came back in `mode`; empty if none does.

        `again` says that the step before was held: whichever rule spoke since, nothing is held twice in a row.
        """
        own = decision.request is ThinkRequest.OFF and decision.rule not in BUILT_IN
        if mode is Mode.ON or own or again or decision.rule in _FINAL:
            return ""
        wanted = "before_destructive" if destroys else "before_finish" if finishes else ""
        return wanted if wanted in self.holds else ""


def unthought_change(past: Sequence[StepRecord]) -> bool:
    """Whether files were changed by a step without a thought, and no step has thought since."""
    for record in reversed(past):
        if record.mode is Mode.ON:
            return False
        edited = any(call.tool in EDITS and call.outcome == "ok" for call in record.calls)
        if edited or record.tree_before != record.tree_after:
            return True
    return False


def _on(rule: str, why: str, *, speaks: bool) -> ThinkDecision | None:
    return ThinkDecision(ThinkRequest.ON, rule, why) if speaks else None


def is_test_run(call: CallOutcome) -> bool:
    """Whether a call ran tests."""
    command = str(call.arguments.get("command", ""))
    return call.tool == "run_tests" or (call.tool == "run_command" and bool(_TESTING.search(command)))


def _went_wrong(call: CallOutcome) -> bool:
    if call.tool == "run_command" and _LOOKING.match(str(call.arguments.get("command", ""))):
        return call.outcome == "invalid"
    return call.outcome in _FAILED
