"""Steering an agent at work: an end after the step, a word in between, enough thinking, commands that run long."""

from __future__ import annotations

import pytest

from assistant.events import (
    CallFinished,
    CallOutput,
    CallStarted,
    Compacted,
    Intervened,
    ModeKnown,
    Notice,
    PlanChanged,
    SegmentText,
    StepFinished,
    StepStarted,
)
from assistant.records import Intervention, PlanItem, StepRecord
from model.format import Mode, Segment, ThinkRequest
from tests.tui.conftest import Start
from tests.tui.fake import Gate, Item, TakeIn, step
from tui.widgets.calls import CallView
from tui.widgets.messages import CompactedLine
from tui.widgets.status import Activity

STARTED = StepStarted(1, ThinkRequest.AUTO, "judge", "the model decides")
THINKING: list[Item] = [STARTED, ModeKnown(1, Mode.ON, forced=False), SegmentText(1, Segment.THINK, "hmm, so")]
ANSWERED = step(2, Mode.OFF, "Easy.", answer="the second step")


async def test_the_first_escape_waits_for_the_end_of_the_step(start: Start) -> None:
    gate = Gate()
    async with start([gate, *step(1, Mode.OFF, "Easy.", answer="the whole step"), *ANSWERED]) as kat:
        await kat.send("go")
        await kat.until(lambda: kat.app.conversation.running)
        await kat.send("and then")
        await kat.pilot.press("escape")
        assert kat.app.status.activity is Activity.DRAINING
        assert "stopping after this step" in kat.screen()
        assert kat.app.prompt.text == "and then"
        gate.opened.set()
        await kat.idle()
        assert (kat.agent.drains, kat.agent.stops) == (1, 0)
        assert "the whole step" in kat.text()
        assert "the second step" not in kat.text()
        assert kat.app.status.activity is Activity.READY
        assert len(kat.agent.heard) == 1


async def test_an_errand_is_stopped_at_once(start: Start) -> None:
    async with start(ANSWERED) as kat:
        await kat.until(lambda: kat.app.conversation.online)
        kat.agent.replies.append([Gate()])
        await kat.send("/compact the goal")
        await kat.until(lambda: kat.agent.errands)
        await kat.pilot.press("escape")
        assert (kat.agent.drains, kat.agent.stops) == (0, 1)
        assert kat.agent.errands == [("compact", "the goal")]


async def test_what_is_said_now_is_read_before_the_next_step(start: Start) -> None:
    gate, ends = Gate(), Gate()
    async with start([STARTED, gate, TakeIn(), *ANSWERED, ends]) as kat:
        await kat.send("go")
        await kat.until(lambda: kat.app.conversation.running)
        await kat.pilot.press(*"not b", "ctrl+s")
        assert kat.agent.steered == ["not b"]
        assert "now ▸ not b" in kat.screen()
        assert "not b" not in kat.text()
        gate.opened.set()
        await kat.until(lambda: "the second step" in kat.text())
        assert kat.text().index("not b") < kat.text().index("the second step")
        assert not kat.app.waiting.display
        ends.opened.set()
        await kat.idle()
        assert [text for text, _ in kat.agent.heard] == ["go"]


async def test_a_queued_message_can_be_said_now(start: Start) -> None:
    async with start([STARTED, Gate()]) as kat:
        await kat.send("go")
        await kat.until(lambda: kat.app.conversation.running)
        await kat.send("first")
        await kat.send("second")
        await kat.pilot.press("ctrl+s")
        assert kat.agent.steered == ["first"]
        assert "second" in kat.app.waiting.plain


async def test_a_command_is_not_said_to_the_model(start: Start) -> None:
    async with start([STARTED, Gate()]) as kat:
        await kat.send("go")
        await kat.until(lambda: kat.app.conversation.running)
        kat.app.prompt.insert("/fact the bound is 7")
        await kat.pilot.press("ctrl+s")
        assert (kat.agent.facts, kat.agent.steered) == (["the bound is 7"], [])


async def test_what_is_said_too_late_is_the_next_message(start: Start) -> None:
    gate = Gate()
    async with start([STARTED, gate], ANSWERED) as kat:
        await kat.send("go")
        await kat.until(lambda: kat.app.conversation.running)
        await kat.pilot.press(*"late", "ctrl+s")
        gate.opened.set()
        await kat.until(lambda: len(kat.agent.heard) == 2)
        await kat.idle()
        assert [text for text, _ in kat.agent.heard] == ["go", "late"]


async def test_what_is_said_too_late_comes_back_where_the_user_wanted_an_end(start: Start) -> None:
    async with start([STARTED, Gate()]) as kat:
        await kat.send("go")
        await kat.until(lambda: kat.app.conversation.running)
        await kat.pilot.press(*"late", "ctrl+s", "escape", "escape")
        await kat.idle()
        assert kat.app.prompt.text == "late"
        assert len(kat.agent.heard) == 1


async def test_nothing_runs_so_what_is_said_now_is_a_message(start: Start) -> None:
    async with start(ANSWERED) as kat:
        await kat.until(lambda: kat.app.conversation.online)
        await kat.pilot.press(*"hi", "ctrl+s")
        await kat.idle()
        assert kat.agent.heard == [("hi", ThinkRequest.AUTO)]
        assert kat.agent.steered == []


async def test_the_queue_is_edited_with_up_and_shortened_with_cut(start: Start) -> None:
    async with start([STARTED, Gate()]) as kat:
        await kat.send("go")
        await kat.until(lambda: kat.app.conversation.running)
        for text in ("one", "two", "three"):
            await kat.send(text)
        await kat.pilot.press("up")
        assert kat.app.prompt.text == "three"
        assert "three" not in kat.app.waiting.plain
        await kat.pilot.press("!", "enter")
        assert kat.app.waiting.plain == "one\ntwo\nthree!"
        await kat.pilot.press("ctrl+x", "ctrl+x")
        assert kat.app.waiting.plain == "one"
        await kat.pilot.press("up", "up")
        assert kat.app.prompt.text == "one"
        kat.app.prompt.clear()
        await kat.pilot.press("up")
        assert kat.app.prompt.text == "two"  # removed last, and not lost
        await kat.pilot.press("ctrl+x")
        assert kat.app.prompt.text == ""  # with text, the key cuts


async def test_a_key_ends_the_thought_and_is_named_while_one_is_open(start: Start) -> None:
    gate, ends = Gate(), Gate()
    cut = Intervened(1, Intervention("enough", 240))
    async with start([*THINKING, gate, cut, SegmentText(1, Segment.ANSWER, "so: four"), ends], size=(90, 24)) as kat:
        await kat.send("go")
        await kat.until(lambda: "hmm, so" in kat.text())
        assert "Ctrl+G: answer now" in kat.screen()
        await kat.pilot.press("ctrl+g")
        assert kat.agent.enoughs == 1
        gate.opened.set()
        await kat.until(lambda: "so: four" in kat.text())
        assert "Ctrl+G" not in kat.screen()
        assert "enough: you asked for the answer at 240 tokens" in kat.screen()
        ends.opened.set()
        await kat.idle()


async def test_a_fact_goes_into_the_thought(start: Start) -> None:
    gate, ends = Gate(), Gate()
    taken = Intervened(1, Intervention("fact", 30, "The limit is 40."))
    async with start([*THINKING, gate, taken, ends]) as kat:
        await kat.send("go")
        await kat.until(lambda: "hmm, so" in kat.text())
        await kat.send("/fact The limit is 40.")
        assert kat.agent.facts == ["The limit is 40."]
        assert "now ▸ The limit is 40." in kat.screen()
        gate.opened.set()
        await kat.until(lambda: "fact: The limit is 40." in kat.text())
        assert not kat.app.waiting.display
        ends.opened.set()
        await kat.idle()
        assert len(kat.agent.heard) == 1


@pytest.mark.parametrize(
    ("reason", "said"),
    [("think_budget", "budget: thought cut at 240 tokens"), ("judge_budget", "budget: judging cut at 240 tokens")],
)
async def test_a_recorded_cut_is_shown_again(start: Start, reason: str, said: str) -> None:
    record = StepRecord(
        1, ThinkRequest.ON, "words", "", Mode.OFF, True, sent=ThinkRequest.ON, why="you said so",
        interventions=(Intervention(reason, 240),),  # type: ignore[arg-type]
    )  # fmt: skip
    async with start([STARTED, SegmentText(1, Segment.ANSWER, "four"), StepFinished(record, None)]) as kat:
        await kat.send("go")
        await kat.idle()
        assert said in kat.screen()
        assert "asked on, came back off" in kat.screen()
        kat.app.query_one(".header").focus()
        await kat.pilot.press("enter")
        await kat.until(lambda: "rule words, forced: you said so" in kat.screen())
        assert "sent on, came back off: not obeyed" in kat.screen()


async def test_the_end_of_a_running_command_is_seen_and_its_memory_is_bounded(start: Start) -> None:
    sent, over, ends = Gate(), Gate(), Gate()
    lines = "".join(f"test {number} \x1b[32mok\x1b[0m\n" for number in range(2000)) + "\u202etest"
    script = [
        STARTED,
        CallStarted(1, "c", "run_command", "Run pytest", {"command": "pytest"}),
        CallOutput(1, "c", "collecting"),
        sent,
        CallOutput(1, "c", f"\n{lines}"),
        CallOutput(1, "gone", "of no call"),
        over,
        CallFinished(1, "c", "run_command", "ok", "exit 0", "2000 passed"),
        ends,
    ]
    async with start(script, size=(90, 24)) as kat:
        await kat.send("go")
        await kat.until(lambda: "collecting" in kat.screen())
        assert "Ctrl+B: to background" in kat.screen()
        await kat.pilot.press("ctrl+b")
        assert kat.agent.sent_back == ["c"]
        sent.opened.set()
        await kat.until(lambda: "test 1999 ok" in kat.screen())
        view = kat.app.query_one(CallView)
        assert view.plain.split("\n")[1:] == [
            "… 1999 earlier lines", "test 1998 ok", "test 1999 ok", "⟨U+202E⟩test",
        ]  # fmt: skip
        view.fold(True)
        assert 200 <= len(view.lines) < 210
        view.fold(False)
        over.opened.set()
        await kat.until(lambda: view.state == "ok")
        assert view.plain == "Run pytest  exit 0"
        assert "Ctrl+B" not in kat.screen()
        await kat.pilot.press("ctrl+b")
        assert kat.agent.sent_back == ["c"]
        ends.opened.set()
        await kat.idle()


PLAN = (PlanItem("read the tests", "done"), PlanItem("find\nthe [cut]", "doing"), PlanItem("mend it"))


async def test_a_plan_is_one_list_that_changes_in_its_place(start: Start) -> None:
    more, done = Gate(), Gate()
    script: list[Item] = [PlanChanged(PLAN), more, PlanChanged((PLAN[0], *PLAN[2:])), done]
    script.append(PlanChanged((PlanItem("read the tests", "done"), PlanItem("mend it", "done"))))
    async with start(script) as kat:
        await kat.send("go")
        await kat.until(lambda: "1 of 3 done" in kat.screen())
        rows = [row.strip() for row in kat.screen().split("\n")]
        assert [row for row in rows if row[:1] in ("✓", "▶", "○")] == [
            "✓ read the tests",
            "▶ find the [cut]",
            "○ mend it",
        ]
        kat.app.plan.focus()
        await kat.pilot.press("enter")
        assert "1 of 3 done · find the [cut]" in kat.screen()
        more.opened.set()
        await kat.until(lambda: "1 of 2 done · mend it" in kat.screen())
        done.opened.set()
        await kat.idle()
        assert not kat.app.plan.display


async def test_a_long_plan_shows_what_is_in_hand(start: Start) -> None:
    items = [PlanItem(f"thing {number}", "done" if number < 15 else "open") for number in range(30)]
    async with start([PlanChanged(tuple(items))], size=(80, 50)) as kat:
        await kat.send("go")
        await kat.until(lambda: "15 of 30 done" in kat.screen())
        for part in ("… 14 before", "✓ thing 14", "○ thing 15", "… 8 more"):
            assert part in kat.screen()


@pytest.mark.parametrize(("exact", "said"), [(True, "compacted  41k → 18k"), (False, "compacted  about 41k → 18k")])
async def test_compaction_is_one_line_that_opens(start: Start, exact: bool, said: str) -> None:
    async with start(ANSWERED) as kat:
        await kat.until(lambda: kat.app.conversation.online)
        kat.agent.replies.append([Compacted(41_000, 18_000, exact, "The goal: [mend] the cut."), Notice("info", "end")])
        await kat.send("/compact")
        await kat.until(lambda: "end" in kat.text())
        assert said in kat.screen()
        assert kat.app.status.context == 1.0  # 18,000 tokens for a model of 8,192
        view = kat.app.query_one(CompactedLine)
        assert "The goal" not in view.plain
        view.focus()
        await kat.pilot.press("enter")
        assert "The goal: [mend] the cut." in view.plain
