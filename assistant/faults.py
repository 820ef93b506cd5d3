"""What can be wrong with a reply as a whole, and how the model is asked again."""

from __future__ import annotations

import re
from collections.abc import Sequence

from assistant.think import TOO_LONG
from model.format import Reply

REPAIRS = {
    "empty": "Your reply was empty. Answer the user, or call a tool.",
    TOO_LONG: (
        "Your reply was cut because it was too long, and none of its calls were made. Do less in one reply: write a "
        "long file in parts, and be brief."
    ),
    "leaked_call": (
        "Your reply shows a tool call as text, so nothing was run. If you meant to call the tool, call it as described "
        "above, and do not write it into the answer."
    ),
}
_FENCE = re.compile(r"^\s*```\w*\s*$", re.MULTILINE)
_LEAKS = (
    r'^\s*\{{\s*"name"\s*:\s*"(?:{names})"\s*,\s*"(?:arguments|parameters)"\s*:',
    r"^\s*<function=(?:{names})>",
    r"^\s*<tool_call>",
)


def fault_of(reply: Reply, tools: Sequence[str]) -> str:
    """What is wrong with a reply that came whole: `empty`, `leaked_call`, or nothing.

    A call counts as leaked where the answer is nothing but that call in the JSON or XML of a tool that exists, perhaps
    in a fence and behind a sentence; an answer that goes on behind it explains something and is left alone.
    """
    if reply.calls:
        return ""
    answer = _FENCE.sub("", reply.answer).strip()
    if not answer:
        return "empty"
    return "leaked_call" if tools and _leaks(answer, tools) else ""


def _leaks(answer: str, tools: Sequence[str]) -> bool:
    names = "|".join(map(re.escape, tools))
    found = [re.search(pattern.format(names=names), answer, re.MULTILINE) for pattern in _LEAKS]
    starts = [match.start() for match in found if match]
    return bool(starts) and answer.endswith(("}", ">"))
