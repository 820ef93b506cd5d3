"""Whether a tool is called, and what it says is used."""

from __future__ import annotations

import json

from assistant.doctor.finding import Outcome
from assistant.doctor.subject import Subject
from model.format import ThinkRequest
from model.prompt import Message, ToolSpec

READ_FILE = ToolSpec(
    "read_file",
    "Read a file.",
    {"type": "object", "properties": {"path": {"type": "string", "maxLength": 80}}, "required": ["path"]},
)
ANSWER_TOKENS = 192
"""Room for the answer, which is a sentence; our choice."""
NUMBER = "4711"
QUESTION = "Call read_file with the path README.md, then say which number stands in that file."


async def round_trip(subject: Subject) -> Outcome:
    """A call, its result, and an answer that uses it."""
    told = await subject.ask(subject.prompt(QUESTION, ThinkRequest.OFF, (READ_FILE,)))
    if not told.reply.calls:
        return _cannot(subject, "the model made no call when asked to")
    call = told.reply.calls[0]
    if call.error is not None:
        return Outcome(False, f"the call cannot be read: {call.error}")
    shown = f"{call.name} {json.dumps(call.arguments, ensure_ascii=False)}"
    said = [
        Message("user", QUESTION),
        Message("assistant", told.reply.answer, (call,)),
        Message("tool", f"# Readme\nThe number is {NUMBER}."),
    ]
    prompt = subject.dialect.render(said, (READ_FILE,), ThinkRequest.OFF, "")
    answer = (await subject.ask(prompt, tokens=ANSWER_TOKENS)).reply.answer
    if NUMBER in answer:
        return Outcome(True, f"{shown}, and the answer used the result")
    return _cannot(subject, f"{shown}, but the answer does not use the result: {answer[:60]!r}")


def _cannot(subject: Subject, what: str) -> Outcome:
    if subject.is_small:
        return Outcome(None, f"{what}; a model of this size often cannot")
    return Outcome(False, what)
