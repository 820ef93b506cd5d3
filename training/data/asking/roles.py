"""What solver, thinker and critic are told, and the critic's verdict.

KAT-V1's report names the three roles: the solver answers, the thinker reflects and completes the reasoning, the critic
scores and sends back what is under a threshold. Their prompts and thresholds were not found; these are our own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from pydantic import Field, Strict, TypeAdapter, ValidationError

from model.prompt import Message

Decision = Literal["accept", "revise", "reject"]
_MOST_PROBLEMS, _LONGEST = 8, 300
"""Problems that are passed on, and characters of each; our choice."""
_THINKER = (
    "You solve the task below and write out the whole reasoning that leads to the right answer. You see a first "
    "attempt at it, which may be right or wrong. Reason step by step as if you saw the task for the first time, check "
    "each step, and do not mention the attempt. Then give the final answer in the form that the task asks for."
)
_CRITIC = (
    "You are a strict critic. You see a task, and a reply to it with its reasoning if it has some. Judge whether the "
    "answer is right, whether the reasoning leads there, and whether the answer has the form asked for. Reply with one "
    'JSON object and nothing else: {"score": a number from 0 to 1, "verdict": "accept" or "revise" or "reject", '
    '"problems": [what is wrong, a short sentence each]}. Say "revise" where the reply can be mended, "reject" where '
    "it cannot."
)
_AGAIN = "That was not the JSON object that was asked for. Reply with it alone."


@dataclass(frozen=True, slots=True)
class Criticism:
    """What the critic says of a reply: `score` from 0 to 1, what to do with it, and what is wrong."""

    score: Annotated[float, Strict(), Field(ge=0, le=1)]
    verdict: Decision
    problems: tuple[str, ...] = ()

    def judged(self, threshold: float) -> Decision:
        """The verdict, where an accepted reply must reach a score too."""
        return "revise" if self.verdict == "accept" and self.score < threshold else self.verdict


_VERDICT = TypeAdapter(Criticism)


def thinker(
    task: Sequence[Message], draft: str, before: tuple[str, str] | None = None, problems: Sequence[str] = ()
) -> tuple[Message, ...]:
    """The thinker's conversation: the task, a draft, and on a revision its own reasoning and answer with what is wrong.

    A system message of the task becomes part of what the user says.
    """
    parts = [_told(task), f"A first attempt:\n{draft.strip()}"]
    if before is not None:
        thought, answer = before
        found = "\n".join(f"- {problem}" for problem in problems) or "- the answer is not right"
        parts += [f"Your last reasoning:\n{thought.strip()}", f"Your last answer:\n{answer.strip()}"]
        parts += [f"What is wrong with it:\n{found}", "Write reasoning and answer anew."]
    return Message("system", _THINKER), Message("user", "\n\n".join(parts))


def critic(task: Sequence[Message], thought: str, answer: str, failed: str | None = None) -> tuple[Message, ...]:
    """The critic's conversation; `failed` is a verdict of its own that could not be read."""
    reasoning = f"The reasoning:\n{thought.strip()}\n\n" if thought.strip() else ""
    asked = f"The task:\n{_told(task)}\n\n{reasoning}The answer:\n{answer.strip()}\n\nYour verdict?"
    told = (Message("system", _CRITIC), Message("user", asked))
    return told if failed is None else (*told, Message("assistant", failed), Message("user", _AGAIN))


def read_criticism(text: str) -> Criticism | None:
    """The verdict in a reply, or None where it does not follow the schema; text around the object is left out."""
    try:
        found = _VERDICT.validate_python(_object(text))
    except ValidationError:
        return None
    said = tuple(each.strip()[:_LONGEST] for each in found.problems if each.strip())
    return replace(found, problems=said[:_MOST_PROBLEMS])


def _told(task: Sequence[Message]) -> str:
    return "\n\n".join(message.content for message in task)


def _object(text: str) -> Mapping[str, Any] | None:
    """The first JSON object that begins anywhere in a text and is whole."""
    reader, start = json.JSONDecoder(), text.find("{")
    while start >= 0:
        try:
            found, _ = reader.raw_decode(text, start)
        except (ValueError, RecursionError):
            start = text.find("{", start + 1)
            continue
        return found if isinstance(found, dict) else None
    return None
