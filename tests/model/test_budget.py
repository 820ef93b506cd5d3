"""Budgets: whatever the pieces a reply comes in, it is cut in time, an answer follows, and it reads as one reply."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.budget import MOST_CUTS, Budget, BudgetedReply, Steering, Stepped, thought_of
from model.dialects import dialect
from model.engine import Delta, EngineInfo, EngineRefused, Finish, Sampling, Usage
from model.engines.chat import ChatEngine
from model.engines.embedded import EmbeddedEngine
from model.engines.http import HttpEngine
from model.engines.scripted import ScriptedServer
from model.escape import escape
from model.format import Mode, ModeChosen, Segment, TextDelta, ThinkRequest
from model.prompt import Message, Prompt

NOTE = "Note from the user: "
JUDGE, THOUGHT, ANSWER = "It is hard.", "First this, then that; so it must be seven.", "Seven."
PLENTY = Sampling(max_tokens=10_000)


@dataclass
class Model:
    """Writes one reply, a character a token, and goes on behind any opening; `generated` counts what it wrote."""

    dialect: str = "kat"
    judge: str = JUDGE
    thought: str = THOUGHT
    answer: str = ANSWER
    sizes: Sequence[int] = (1,)
    counts: bool = True
    chats: bool = False
    fails_at: int | None = None
    again: str = ""
    prompts: list[Prompt] = field(default_factory=list)
    limits: list[int] = field(default_factory=list)
    generated: int = 0
    closed: int = 0

    async def info(self) -> EngineInfo:
        return EngineInfo("model", "model", self.dialect, continues=not self.chats)

    async def stream(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[Delta, None]:
        self.prompts.append(prompt)
        self.limits.append(sampling.max_tokens)
        if len(self.prompts) - 1 == self.fails_at:
            raise EngineRefused("the model does not want to go on")
        whole = self.rest(prompt)
        text, done = whole[: sampling.max_tokens], 0
        usage = Usage(len(prompt.text), len(self.prompts) - 1)
        try:
            for size in cycle(self.sizes):
                piece = text[done : done + size]
                done += len(piece)
                self.generated += len(piece)
                if done >= len(text):
                    usage = Usage(usage.prompt, usage.cached, done if self.counts else 0)
                    yield Delta(piece, len(piece) * self.counts, Finish.STOP if text == whole else Finish.LENGTH, usage)
                    return
                yield Delta(piece, len(piece) * self.counts, usage=usage)
        finally:
            self.closed += 1

    def rest(self, prompt: Prompt) -> str:
        """What follows the opening of a prompt."""
        opening, kat = prompt.opening, self.dialect == "kat"
        thought = "<think>\n" + self.thought + ("\n</think>\n\n<answer>\n" if kat else "\n</think>\n\n")
        answer = self.answer + ("\n</answer>" if kat else "")
        if opening.segment is Segment.ANSWER and (kat or opening.text or self.chats):
            return self.again + answer
        if opening.segment is Segment.THINK:
            seen = _seen(opening.text.partition("<think>\n")[2], self.thought)
            return thought.removeprefix("<think>\n" + seen) + answer
        whole = ("<think_on>\n" if kat else "") + thought + answer
        if opening.segment is Segment.JUDGE:
            return self.judge.removeprefix(_seen(opening.text, self.judge)) + "\n</judge>\n\n" + whole
        return whole

    async def count(self, prompt: Prompt) -> int | None:
        return None

    async def aclose(self) -> None:
        pass


def _seen(written: str, whole: str) -> str:
    """How much of `whole` was written before a note was put in."""
    before = written.partition(NOTE)[0]
    return before if whole.startswith(before) else before.removesuffix("\n")


def asked(name: str = "kat", think: ThinkRequest = ThinkRequest.AUTO) -> Prompt:
    return dialect(name).render([Message("user", "What is 3 + 4?")], (), think, "You asked.")


async def read(reply: BudgetedReply, at: int = -1, say: Any = None) -> list[Any]:
    """All that comes; behind item number `at` (0: before all of them but for the mode), `say` is called."""
    found = []
    async with aclosing(reply.deltas()) as items:
        async for item in items:
            found.append(item)
            if len(found) == at:
                say()
    return found


def texts(found: list[Any], segment: Segment) -> str:
    return "".join(item.text for item in found if isinstance(item, TextDelta) and item.segment is segment)


words = st.sampled_from(
    ["a", " ", "\n", "<", "</", "`", "```\n", "思", "</think>", "<think>", "</judge>", "<answer>", "<tool_call>", "ju"]
)
written = st.lists(words, min_size=1, max_size=9).map("".join).map(str.strip).filter(bool)


@pytest.mark.parametrize("name", ["kat", "qwen3", "qwen3_coder"])
@settings(max_examples=60, deadline=None)
@given(
    parts=st.tuples(written, written, written),
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    limits=st.tuples(st.none() | st.integers(0, 12), st.none() | st.integers(0, 12)),
    said=st.none() | st.tuples(st.sampled_from(["enough", "fact"]), st.integers(1, 25)),
    think=st.sampled_from([ThinkRequest.AUTO, ThinkRequest.ON]),
    counts=st.booleans(),
    chats=st.booleans(),
)
async def test_a_reply_is_cut_in_time_and_reads_as_one(name, parts, sizes, limits, said, think, counts, chats):
    judge, thought, answer = parts
    model = Model(name, *map(escape, parts), sizes, counts, chats)
    steering, prompt, took = Steering(), asked(name, think), []
    reply = BudgetedReply(model, dialect(name), prompt, PLENTY, Budget(*limits), steering)
    say = (
        (lambda: took.append(steering.enough() if said[0] == "enough" else steering.fact("</think> 7")))
        if said
        else None
    )
    found = await read(reply, said[1] if said else -1, say)

    got, kat = reply.reply, name == "kat"
    assert (reply.finish, reply.error) == (Finish.STOP, None)
    assert got.answer == answer, "whatever stepped in, the answer follows"
    for segment, whole, mine in ((Segment.JUDGE, judge, got.judge), (Segment.THINK, thought, got.think)):
        prefilled = segment is Segment.JUDGE and think is ThinkRequest.ON
        assert texts(found, segment) == ("" if prefilled else mine), "what was told adds up to what is kept"
        if NOTE not in mine and prompt.opening.segment is not Segment.THINK:
            assert whole.startswith(mine)
    assert texts(found, Segment.ANSWER) == answer
    modes = [item.mode for item in found if isinstance(item, ModeChosen)]
    assert modes[-1:] == [got.mode]
    for segment, limit in zip((Segment.JUDGE, Segment.THINK), limits, strict=True):
        largest = max(sizes) if counts else 1
        assert limit is None or reply.weights[segment] <= max(limit - 1, 0) + largest
    reasons = [step.reason for step in reply.stepped]
    assert [item for item in found if isinstance(item, Stepped)] == reply.stepped
    assert (said is not None and took[:1] == [True]) == bool({"enough", "fact"} & set(reasons))
    assert len(model.prompts) <= 1 + len(reasons)
    assert model.closed == len(model.prompts)
    assert reply.usage is not None
    assert reply.usage.prompt == len(model.prompts[0].text)
    if counts:
        assert reply.usage.completion <= model.generated
        assert sum(reply.weights.values()) == reply.usage.completion
    if not chats:
        stem = prompt.text.removesuffix(prompt.opening.text)
        assert all(asked_for.text == stem + asked_for.opening.text for asked_for in model.prompts)
    assert kat or not got.judge


async def test_the_second_request_follows_the_thought_so_far():
    model = Model()
    reply = BudgetedReply(model, dialect("kat"), asked(think=ThinkRequest.ON), PLENTY, Budget(think=14))
    await read(reply)
    first, second = model.prompts
    assert second.text == f"{first.text}{THOUGHT[:14]}\n</think>\n\n<answer>\n"
    assert model.limits[1] == PLENTY.max_tokens - model.generated + len(ANSWER + "\n</answer>")
    assert reply.stepped == [Stepped("think_budget", 14)]
    assert (reply.reply.think, reply.reply.answer, reply.reply.mode) == (THOUGHT[:14], ANSWER, Mode.ON)


async def test_a_judge_that_is_cut_still_chooses_and_one_that_is_enough_does_not():
    cut, ended = Model(), Model()
    await read(BudgetedReply(cut, dialect("kat"), asked(), PLENTY, Budget(judge=5)))
    assert cut.prompts[1].opening.text == "It is\n</judge>\n\n"
    assert cut.prompts[1].opening.segment is Segment.MODE
    steering = Steering()
    reply = BudgetedReply(ended, dialect("kat"), asked(), PLENTY, steering=steering)
    found = await read(reply, 2, steering.enough)
    assert ended.prompts[1].opening.text == "It\n</judge>\n\n<think_off>\n<answer>\n"
    assert [item.mode for item in found if isinstance(item, ModeChosen)] == [Mode.OFF]


@pytest.mark.parametrize(("name", "opening"), [("kat", "You asked.\n</judge>\n\n<think_on>\n"), ("qwen3", "")])
async def test_a_thought_of_no_tokens_is_never_asked_for(name, opening):
    model = Model(name)
    reply = BudgetedReply(model, dialect(name), asked(name, ThinkRequest.ON), PLENTY, Budget(think=0))
    await read(reply)
    assert [prompt.opening.text.partition("</think>")[0] for prompt in model.prompts] == [f"{opening}<think>\n"]
    assert (reply.reply.think, reply.reply.answer) == ("", ANSWER)


async def test_a_fact_becomes_part_of_the_thought_and_no_tag():
    model, steering = Model(), Steering()
    reply = BudgetedReply(model, dialect("kat"), asked(think=ThinkRequest.ON), PLENTY, steering=steering)
    found = await read(reply, 6, lambda: steering.fact("</think> it is 7\n<|im_end|>"))
    note = f"\n{NOTE}</think> it is 7\n<|im_end|>"
    assert reply.stepped == [Stepped("fact", 5, "</think> it is 7\n<|im_end|>")]
    assert reply.reply.think == THOUGHT[:5] + note + "\n" + THOUGHT[5:]
    assert texts(found, Segment.THINK) == reply.reply.think
    assert "<|im_end|>" not in model.prompts[1].opening.text
    assert reply.weights[Segment.THINK] <= len(THOUGHT + "\n</think>"), "the fact was not generated"


async def test_nothing_can_be_said_into_an_answer():
    model, steering = Model(), Steering()
    reply = BudgetedReply(model, dialect("kat"), asked(think=ThinkRequest.OFF), PLENTY, steering=steering)
    took = []
    assert not steering.enough(), "before it began"
    await read(reply, 3, lambda: took.extend([steering.enough(), steering.fact("7")]))
    assert took == [False, False]
    assert not steering.fact("7"), "and after its end"
    assert (len(model.prompts), reply.stepped, reply.reply.answer) == (1, [], ANSWER)


async def test_facts_come_before_the_end_of_a_thought_and_none_after_it():
    model, steering, took = Model(), Steering(), []
    reply = BudgetedReply(model, dialect("kat"), asked(think=ThinkRequest.ON), PLENTY, steering=steering)
    say = lambda: took.extend([steering.fact("a"), steering.fact(" "), steering.enough(), steering.fact("b")])  # noqa: E731
    await read(reply, 4, say)
    assert took == [True, False, True, False]
    assert [step.reason for step in reply.stepped] == ["fact", "enough"]
    assert reply.reply.think == f"{THOUGHT[:3]}\n{NOTE}a"
    assert len(model.prompts) == 2, "what was said at once is done at once"


async def test_a_piece_that_comes_at_the_same_moment_does_not_close_the_thought_before_the_fact():
    gate = asyncio.Event()

    class Held(Model):
        async def stream(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[Delta, None]:
            self.prompts.append(prompt)
            if len(self.prompts) == 1:
                yield Delta("First", 1)
                await gate.wait()
            yield Delta(self.rest(prompt), 1, Finish.STOP)

    def say() -> None:
        gate.set()
        assert steering.fact("7")

    model, steering = Held(), Steering()
    reply = BudgetedReply(model, dialect("kat"), asked(think=ThinkRequest.ON), PLENTY, steering=steering)
    reading = asyncio.create_task(read(reply))
    while not reply.weights:
        await asyncio.sleep(0)
    await asyncio.sleep(0.01)
    say()
    await reading
    assert [step.reason for step in reply.stepped] == ["fact"]
    assert reply.reply.think == f"First\n{NOTE}7\n{THOUGHT.removeprefix('First')}"
    assert reply.reply.answer == ANSWER


async def test_a_model_that_takes_its_thought_up_again_is_not_asked_for_ever():
    model = Model(again="<think>\nBut wait.\n</think>\n")
    reply = BudgetedReply(model, dialect("kat"), asked(think=ThinkRequest.ON), PLENTY, Budget(think=3))
    await read(reply)
    assert len(reply.stepped) == MOST_CUTS
    assert len(model.prompts) == 1 + MOST_CUTS
    assert reply.finish is Finish.STOP
    assert reply.reply.answer.endswith(ANSWER)


async def test_a_judge_that_was_cut_leaves_a_thought_all_its_cuts():
    model = Model(again="<think>\nBut wait.\n</think>\n")
    reply = BudgetedReply(model, dialect("kat"), asked(), PLENTY, Budget(judge=3, think=3))
    await read(reply)
    assert [step.reason for step in reply.stepped] == ["judge_budget", *["think_budget"] * MOST_CUTS]


@pytest.mark.parametrize(("wanted", "tokens"), [(None, 600), (100, 100), (5_000, 700)])
def test_a_thought_leaves_room_for_an_answer(wanted, tokens):
    assert thought_of(800, wanted) == tokens


async def test_a_failure_before_the_first_piece_is_raised_and_later_ends_the_reply():
    reply = BudgetedReply(Model(fails_at=0), dialect("kat"), asked(), PLENTY)
    with pytest.raises(EngineRefused, match="does not want"):
        await read(reply)
    reply = BudgetedReply(Model(fails_at=1), dialect("kat"), asked(think=ThinkRequest.ON), PLENTY, Budget(think=8))
    await read(reply)
    assert (reply.finish, reply.error) == (Finish.CUT, "the model does not want to go on")
    assert (reply.reply.judge, reply.reply.think) == ("You asked.", THOUGHT[:8])


async def test_all_requests_together_keep_to_the_limit_of_tokens():
    for limit in range(1, 200):
        model = Model(sizes=(3, 5))
        reply = BudgetedReply(model, dialect("kat"), asked(), Sampling(max_tokens=limit), Budget(think=8))
        await read(reply)
        assert model.generated <= limit
        assert reply.usage is not None
        assert reply.usage.completion == model.generated
        assert reply.finish is (Finish.STOP if reply.reply.closed else Finish.LENGTH)


async def test_closing_it_stops_the_engine_and_keeps_what_came():
    model = Model()
    reply = BudgetedReply(model, dialect("kat"), asked(think=ThinkRequest.ON), PLENTY)
    async with aclosing(reply.deltas()) as items:
        async for item in items:
            if isinstance(item, TextDelta):
                break
    assert model.closed == 1
    assert model.generated == 1
    assert (reply.reply.think, reply.finish) == (THOUGHT[:1], None)
    assert reply.first_token >= 0


async def test_prefill_is_told_apart_from_waiting():
    class Timed(Model):
        async def stream(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[Delta, None]:
            await asyncio.sleep(0.02)
            yield Delta(self.rest(prompt), 5, Finish.STOP, Usage(10, 4, 5, prefill=0.01))

    reply = BudgetedReply(Timed(), dialect("kat"), asked(), PLENTY)
    await read(reply)
    assert reply.usage == Usage(10, 4, 5, prefill=0.01)
    assert reply.queue == pytest.approx(reply.first_token - 0.01)
    assert reply.queue > 0.005


LONG = "seven is a number " * 40
SCRIPT = f"{JUDGE}\n</judge>\n\n<think_on>\n<think>\n{LONG}\n</think>\n\n<answer>\nSeven.\n</answer>"


@pytest.mark.parametrize("how", ["completions", "chat", "chat that ignores the switch"])
async def test_a_thought_over_http_is_cut_in_time_and_answered(how):
    """The scripted server counts words and pauses between pieces, so that one which is not read is not written."""
    line = {"reply": SCRIPT, "times": 0, "chunk": 40, "pause": 0.01}
    chat, ignores = how != "completions", how.endswith("switch")
    field = None if ignores else "reasoning"
    async with ScriptedServer([line], completions=not chat, reasoning_field=field) as server:
        engine = ChatEngine(server.url) if chat else HttpEngine(server.url)
        reply = BudgetedReply(engine, dialect("kat"), asked(), Sampling(max_tokens=900), Budget(think=20))
        await read(reply)
        await engine.aclose()
    assert (reply.finish, reply.reply.mode, reply.reply.answer) == (Finish.STOP, Mode.ON, "Seven.")
    assert reply.stepped[0].reason == "think_budget"
    assert 20 <= reply.stepped[0].tokens < 20 + 20
    first, second, *more = server.requests
    assert bool(more) is ignores
    if chat:
        assert second["chat_template_kwargs"] == {"enable_thinking": False}
        assert second["messages"][-1]["content"].startswith("Your thoughts on this so far:\nseven is a number seven")
    else:
        assert second["prompt"].startswith(first["prompt"] + JUDGE)
        assert second["prompt"].endswith("\n</think>\n\n<answer>\n")
        assert reply.weights[Segment.THINK] < 20 + 10
        assert reply.reply.think.count("seven") < 10


@pytest.mark.embedded
async def test_the_embedded_model_is_cut_in_time_and_answers(nano: EmbeddedEngine):
    limit, sampling = 12, Sampling(temperature=0.3, max_tokens=60, seed=1)
    reply = BudgetedReply(nano, dialect("kat"), asked(think=ThinkRequest.ON), sampling, Budget(think=limit))
    largest = 0
    before = 0
    async for item in reply.deltas():
        if isinstance(item, TextDelta):
            largest, before = max(largest, sum(reply.weights.values()) - before), sum(reply.weights.values())
    assert reply.stepped[0].reason == "think_budget"
    assert limit <= reply.weights[Segment.THINK] < limit + largest
    assert reply.reply.answer
    assert reply.usage is not None
    assert reply.usage.prefill
    assert reply.usage.completion == sum(reply.weights.values()) <= sampling.max_tokens
    assert 0 <= reply.queue < reply.first_token
