"""A reply written segment by segment, by a writer whose texts are known; real models have other tests."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest

from model.dialects import dialect
from model.engine import Delta, Finish, Sampling
from model.engines.segments import Part, Turn, written
from model.format import Segment, ThinkRequest
from model.prompt import Message, ToolSpec

TOOL = ToolSpec("look", "Look.", {"type": "object"})
TEXTS = {Segment.JUDGE: "Easy.", Segment.MODE: "<think_off>", Segment.ANSWER: "Yes.", Segment.TOOL: ""}


class Words:
    """Writes the text of each segment, a token for each character."""

    def __init__(self) -> None:
        self.asked: list[Segment] = []

    async def write(self, turn: Turn, part: Part) -> AsyncGenerator[Delta, None]:
        self.asked.append(part.segment)
        text = TEXTS[part.segment]
        for letter in text[: part.limit]:
            if delta := turn.add(part, letter, 1):
                yield delta
        part.finish = "stop" if len(text) <= part.limit else "length"

    async def encode(self, text: str) -> list[int]:
        return [*map(ord, text)]

    def stopped(self) -> str | None:
        return None


async def replied(max_tokens: int = 99, stop: tuple[str, ...] = (), *, tools: bool = True) -> tuple[str, Delta, Words]:
    prompt = dialect("kat").render([Message("user", "Hi")], (TOOL,) if tools else (), ThinkRequest.AUTO, "")
    turn, words = Turn(prompt, Sampling(max_tokens=max_tokens, stop=stop), [0], held=True), Words()
    found = [delta async for delta in written(turn, words)]
    return "".join(delta.text for delta in found), found[-1], words


async def test_the_engine_writes_the_tags_between_the_segments() -> None:
    text, last, words = await replied()
    assert text == "Easy.\n</judge>\n\n<think_off>\n<answer>\nYes.\n</answer>"
    assert words.asked == [Segment.JUDGE, Segment.MODE, Segment.ANSWER, Segment.TOOL]
    assert last.finish is Finish.STOP


async def test_a_stop_word_in_a_tag_ends_the_reply_there() -> None:
    text, last, words = await replied(stop=("</judge>",))
    assert (text, last.finish, words.asked) == ("Easy.\n", Finish.STOP, [Segment.JUDGE])


@pytest.mark.parametrize(
    ("limit", "tools", "finish", "asked"),
    [
        (4, True, Finish.LENGTH, [Segment.JUDGE]),
        (5, True, Finish.LENGTH, [Segment.JUDGE]),
        (20, True, Finish.LENGTH, [Segment.JUDGE, Segment.MODE, Segment.ANSWER]),
        (20, False, Finish.STOP, [Segment.JUDGE, Segment.MODE, Segment.ANSWER]),
    ],
)
async def test_no_segment_begins_without_a_token_left(
    limit: int, tools: bool, finish: Finish, asked: list[Segment]
) -> None:
    _, last, words = await replied(limit, tools=tools)
    assert (last.finish, words.asked) == (finish, asked)
    assert last.usage is not None
    assert last.usage.completion <= limit
