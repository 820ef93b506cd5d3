"""What stands for old turns: output cut to its head and tail, a list of calls, the facts. Pure text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from assistant.context import Turn
from assistant.facts import Facts
from model.prompt import Message

KEPT_STEPS = 2
"""The last steps, which stay as they are; our choice."""
_LISTED = 40
_LINE = 160
"""Calls that a summary without a model lists, and characters of each; our choice."""
_SUMMARY = "[What was done before, summed up. It is a record, not an instruction of the developer.]"
_WORDS = frozenset({"user", "steer"})


def divided(turns: Sequence[Turn]) -> tuple[Sequence[Turn], Sequence[Turn]]:
    """What is before the last `KEPT_STEPS` steps, and what begins with them."""
    replies = [n for n, turn in enumerate(turns) if turn.kind == "reply"]
    place = replies[-KEPT_STEPS] if len(replies) > KEPT_STEPS else replies[0] if replies else len(turns)
    return turns[:place], turns[place:]


def steps_before(turns: Sequence[Turn]) -> bool:
    """Whether there are steps that may be summed up."""
    return any(turn.kind == "reply" for turn in divided(turns)[0])


def with_less_output(turns: Sequence[Turn], known: Facts, limit: int, *, readable: bool) -> tuple[Turn, ...]:
    """The turns with old output cut to `limit` characters, and the facts behind the old steps."""
    old, tail = divided(turns)
    if not any(turn.kind == "reply" for turn in old):
        return tuple(turns)
    kept = [shortened(turn, limit, readable=readable) for turn in old if turn.kind != "facts"]
    return (*kept, *_facts(known), *tail)


def summed_up(old: Sequence[Turn], tail: Sequence[Turn], summary: str, known: Facts) -> tuple[Turn, ...]:
    """The user's own words, a summary in place of the old steps, the facts, and the last steps as they were."""
    words = [turn for turn in old if turn.kind in _WORDS]
    turn = Turn("summary", Message("user", f"{_SUMMARY}\n{summary}"))
    return (*words, turn, *_facts(known), *tail)


def shortened(turn: Turn, limit: int, *, readable: bool) -> Turn:
    """A result cut to its head and tail, at most `limit` characters in all; anything else as it is."""
    text = turn.message.content
    if turn.kind != "result" or len(text) <= limit:
        return turn
    whole = turn.whole or len(text)
    named = turn.call if readable and turn.step else ""
    half = max(0, limit - len(_gap(whole, named))) // 2
    gap = _gap(whole - 2 * half, named)
    content = text[:half] + gap + text[len(text) - half :]
    return replace(turn, message=replace(turn.message, content=content), whole=whole)


def listed(old: Sequence[Turn], most: int) -> str:
    """A summary without a model: an earlier summary, and what was called with how each call began to answer.

    Of more than `most` characters those in the middle are left out: an early summary and the last calls stay.
    """
    earlier = [turn.message.content.removeprefix(f"{_SUMMARY}\n") for turn in old if turn.kind == "summary"]
    calls = list(_calls(old))
    lines = [line for _, line in calls[-_LISTED:]]
    left_out = Counter(name for name, _ in calls[:-_LISTED])
    if left_out:
        lines.insert(0, "Before these: " + ", ".join(f"{name} {n} times" for name, n in left_out.most_common()))
    return _without_middle([line for text in (*earlier, *lines) for line in text.splitlines()], most)


def _without_middle(lines: Sequence[str], most: int) -> str:
    text = "\n".join(lines) or "Nothing was called."
    if len(text) <= most:
        return text
    head = text[: most // 4].rpartition("\n")[0]
    tail = text[len(text) - most * 3 // 4 :].partition("\n")[2]
    return f"{head}\n…\n{tail}"


def _calls(old: Sequence[Turn]) -> list[tuple[str, str]]:
    """The name of each call, and a line on it; where a reply calls nothing, the beginning of its answer."""
    lines: list[tuple[str, str]] = []
    for n, turn in enumerate(old):
        if turn.kind != "reply":
            continue
        if not turn.message.calls:
            lines.append(("answer", f"- answered: {_cut(_line(turn.message.content), _LINE)}"))
        for place, call in enumerate(turn.message.calls, n + 1):
            result = old[place].message.content if place < len(old) and old[place].kind == "result" else ""
            given = ", ".join(f"{name}={_cut(_line(str(value)), 40)}" for name, value in call.arguments.items())
            lines.append((call.name, _cut(f"- {call.name}({given}): {_line(result)}", _LINE)))
    return lines


def _facts(known: Facts) -> list[Turn]:
    text = known.text()
    return [Turn("facts", Message("user", text))] if text else []


def _gap(characters: int, call: str) -> str:
    how = f"; read_output shows the whole of call {call}" if call else ""
    return f"\n… {characters:,} characters left out{how} …\n"


def _line(text: str) -> str:
    return " ".join(text.split("\n", 1)[0].split())


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[:limit]}…"
