"""Whether the model thinks when it is told to, and judges for itself when it is not."""

from __future__ import annotations

from assistant.doctor.finding import Outcome
from assistant.doctor.subject import Subject, Told
from model.format import Mode, Segment, ThinkRequest

EASY = "What is 2 + 3?"
HARD = (
    "A rope is laid around the earth at the equator, then made one metre longer and lifted evenly all around. "
    "Can a cat walk under it? Then the same around a football. Explain the difference step by step, and check "
    "your result in a second way."
)


async def forced_off(subject: Subject) -> Outcome:
    """Thinking forced off."""
    return await _forced(subject, ThinkRequest.OFF)


async def forced_on(subject: Subject) -> Outcome:
    """Thinking forced on."""
    return await _forced(subject, ThinkRequest.ON)


async def auto_easy(subject: Subject) -> Outcome:
    """A question that needs no thought, left to the model."""
    return await _auto(subject, EASY, Mode.OFF)


async def auto_hard(subject: Subject) -> Outcome:
    """A question that needs one, left to the model."""
    return await _auto(subject, HARD, Mode.ON)


async def _forced(subject: Subject, think: ThinkRequest) -> Outcome:
    prompt = subject.prompt(EASY, think)
    if prompt.think is not think:
        return Outcome(None, f"models that speak {subject.info.dialect} cannot switch")
    told = await subject.ask(prompt)
    reply = told.reply
    held = reply.mode is Mode(think) and bool(reply.answer) and bool(reply.think) is (think is ThinkRequest.ON)
    thought = f"{told.tokens.get(Segment.THINK, 0)} tokens of thought, " if reply.think else ""
    return Outcome(held, f"came back {reply.mode or 'undecided'}, {thought}answer {reply.answer[:40]!r}")


async def _auto(subject: Subject, question: str, expected: Mode) -> Outcome:
    if subject.info.dialect != "kat":
        return Outcome(None, f"models that speak {subject.info.dialect} have no judge")
    told = await subject.ask(subject.prompt(question, ThinkRequest.AUTO))
    chose = _chose(told)
    if told.reply.mode is expected and told.reply.answer:
        return Outcome(True, chose)
    if subject.is_small:
        return Outcome(None, f"{chose}; a model of this size cannot be expected to choose well")
    return Outcome(False, f"{chose}, where {expected} was expected")


def _chose(told: Told) -> str:
    """What the model chose, and what that cost."""
    tokens = told.tokens
    mode = f"chose {told.reply.mode}" if told.reply.mode else "did not choose"
    thought = f", thought {tokens[Segment.THINK]}" if tokens.get(Segment.THINK) else ""
    answered = "" if told.reply.answer else ", no answer"
    return f"{mode}; judge {tokens.get(Segment.JUDGE, 0)} tokens{thought}{answered}"
