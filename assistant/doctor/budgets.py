"""Whether a judge or a thought is cut at its budget, and the reply goes on behind it."""

from __future__ import annotations

from assistant.doctor.finding import Outcome
from assistant.doctor.subject import Subject, Told
from assistant.doctor.switching import HARD
from model.budget import Budget
from model.format import Segment, ThinkRequest

THINK_TOKENS = 24
JUDGE_TOKENS = 6
"""Few enough that any judge or thought is longer; our choice."""
SLACK = 2
"""How many times its budget a thought may have: servers send several tokens in a piece."""


async def think(subject: Subject) -> Outcome:
    """A thought is cut, and an answer follows."""
    prompt = subject.prompt(HARD, ThinkRequest.ON)
    if prompt.think is not ThinkRequest.ON:
        return Outcome(None, f"models that speak {subject.info.dialect} cannot switch")
    told = await subject.ask(prompt, Budget(think=THINK_TOKENS))
    return _cut(told, "think_budget", Segment.THINK, THINK_TOKENS)


async def judge(subject: Subject) -> Outcome:
    """A judge is cut, a mode is chosen, and an answer follows."""
    if subject.info.dialect != "kat":
        return Outcome(None, f"models that speak {subject.info.dialect} have no judge")
    prompt = subject.prompt(HARD, ThinkRequest.AUTO)
    told = await subject.ask(prompt, Budget(judge=JUDGE_TOKENS, think=THINK_TOKENS))
    return _cut(told, "judge_budget", Segment.JUDGE, JUDGE_TOKENS)


def _cut(told: Told, reason: str, segment: Segment, budget: int) -> Outcome:
    spent, answer = told.tokens.get(segment, 0), told.tokens.get(Segment.ANSWER, 0)
    if reason not in told.cuts:
        came = told.reply.judge if segment is Segment.JUDGE else told.reply.think
        said = f"the {segment} ended by itself after {spent} tokens, before its budget of {budget}"
        return Outcome(None, said if came else f"the server sends no {segment}")
    if not told.reply.answer:
        return Outcome(False, f"cut after {spent} tokens, but no answer followed")
    # A model that takes up its thought once more is cut once more.
    most = budget * SLACK * told.cuts.count(reason)
    if spent > most:
        return Outcome(False, f"a budget of {budget} let {spent} tokens through")
    mode = f", mode {told.reply.mode}" if segment is Segment.JUDGE else ""
    return Outcome(True, f"a budget of {budget} tokens cut it after {spent}{mode}; the answer has {answer}")
