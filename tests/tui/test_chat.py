"""Sending, thinking, stopping, queueing."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator

import pytest
from textual.events import Key

from assistant.agent import Agent
from assistant.events import Event, ModeKnown, Notice, RunFinished, RunStatus, SegmentText, StepStarted
from assistant.records import Tokens
from model.engine import EngineUnreachable
from model.format import Mode, Segment, ThinkRequest
from tests.tui.conftest import Start
from tests.tui.fake import FakeAgent, Gate, call, demo, opens, step
from tui.presenter import Presenter
from tui.widgets.calls import CallView
from tui.widgets.fold import ProseView
from tui.widgets.status import Activity
from tui.widgets.step import StepView

ANSWER = step(1, Mode.ON, "Hard enough.", "first\nsecond", "It is **four**.\n\n- one\n- two")
STARTED = StepStarted(1, ThinkRequest.AUTO, "judge", "the model decides")


async def test_a_message_is_answered(start: Start) -> None:
    async with start(ANSWER) as kat:
        await kat.send("two and two?")
        await kat.idle()
        assert kat.agent.heard == [("two and two?", ThinkRequest.AUTO)]
        shown = kat.text()
        for part in ("two and two?", "think on", "Hard enough.", "It is four.", "one\ntwo", "done · 1 step"):
            assert part in shown
        assert kat.app.status.activity is Activity.READY
        assert (kat.app.status.steps, kat.app.status.context) == (1, 0.08)


async def test_a_burst_of_keys_that_ends_with_enter_is_sent_whole(start: Start) -> None:
    async with start(ANSWER) as kat:
        for character in "what is /it":
            kat.app.post_message(Key(character, character))
        kat.app.post_message(Key("enter", None))
        await kat.idle()
        assert kat.agent.heard == [("what is /it", ThinkRequest.AUTO)]
        assert kat.app.prompt.text == ""


async def test_a_burst_of_keys_edits_in_the_order_of_the_keys(start: Start) -> None:
    async with start(ANSWER) as kat:
        await kat.send("before")
        await kat.idle()
        for key in ("h", "x", "backspace", "i", "left", "o", "ctrl+u", "n", "up", "end", "!"):
            kat.app.post_message(Key(key, "!" if key == "!" else key if len(key) == 1 else None))
        await kat.until(lambda: kat.app.prompt.text.endswith("!"))
        assert kat.app.prompt.text == "ni!"


async def test_the_cursor_moves_between_the_lines_of_a_message(start: Start) -> None:
    async with start(ANSWER) as kat:
        await kat.send("before")
        await kat.pilot.press("a", "ctrl+j", "b", "up", "x", "down", "y")
        assert kat.app.prompt.text == "ax\nby"


async def test_thinking_is_open_while_it_streams_and_folds_when_the_answer_starts(start: Start) -> None:
    thinks, answers = Gate(), Gate()
    script = [
        STARTED,
        ModeKnown(1, Mode.ON, forced=False),
        SegmentText(1, Segment.THINK, "hmm, a thought"),
        thinks,
        SegmentText(1, Segment.ANSWER, "the answer"),
        answers,
    ]
    async with start(script) as kat:
        await kat.send("go")
        await kat.until(lambda: "hmm, a thought" in kat.text())
        thinks.opened.set()
        await kat.until(lambda: "the answer" in kat.text())
        assert "hmm, a thought" not in kat.text()
        await kat.pilot.press("ctrl+o")
        assert "hmm, a thought" in kat.text()
        await kat.pilot.press("ctrl+o")
        assert "hmm, a thought" not in kat.text()
        answers.opened.set()
        await kat.idle()


async def test_a_fold_opens_by_click_and_by_enter(start: Start) -> None:
    script = step(1, Mode.OFF, "", calls=call(1, "c", "run_command", "ls -l", "3 files", "a\nb\nc", command="ls -l"))
    async with start(script) as kat:
        await kat.send("list")
        await kat.idle()
        view = kat.app.query_one(CallView)
        assert "a\nb\nc" not in view.plain
        await kat.pilot.click(view, offset=(6, 0))
        assert "command: ls -l" in view.plain
        assert "a\nb\nc" in view.plain
        view.focus()
        await kat.pilot.press("enter")
        assert view.plain == "ls -l  3 files"


async def test_think_cycles_and_is_sent_with_the_next_message(start: Start) -> None:
    async with start(ANSWER) as kat:
        seen = []
        for _ in range(3):
            await kat.pilot.press("ctrl+t")
            seen.append(kat.app.status.think)
        assert seen == [ThinkRequest.ON, ThinkRequest.OFF, ThinkRequest.AUTO]
        await kat.send("/think off")
        await kat.send("go")
        await kat.idle()
        assert kat.agent.heard == [("go", ThinkRequest.OFF)]


async def test_escape_stops_keeps_what_came_and_says_so(start: Start) -> None:
    async with start([STARTED, SegmentText(1, Segment.ANSWER, "half an ans"), Gate()]) as kat:
        await kat.send("go")
        await kat.until(lambda: "half an ans" in kat.text())
        await kat.pilot.press("escape", "escape")
        await kat.idle()
        assert (kat.agent.drains, kat.agent.stops) == (1, 1)
        assert "half an ans" in kat.text()
        assert "stopped; what came is kept" in kat.text()


async def test_escape_empties_the_prompt_when_nothing_runs(start: Start) -> None:
    async with start(ANSWER) as kat:
        kat.app.prompt.insert("never mind")
        await kat.pilot.press("escape")
        assert kat.app.prompt.text == ""
        assert kat.agent.stops == 0


async def test_messages_wait_their_turn(start: Start) -> None:
    gate = Gate()
    async with start([STARTED, gate], ANSWER) as kat:
        await kat.send("first")
        await kat.until(lambda: kat.app.conversation.running)
        await kat.send("second")
        await kat.until(lambda: "second" in kat.app.waiting.plain)
        assert "second" not in kat.text()
        gate.opened.set()
        await kat.until(lambda: len(kat.agent.heard) == 2)
        await kat.idle()
        assert [text for text, _ in kat.agent.heard] == ["first", "second"]
        assert not kat.app.waiting.display


async def test_a_stop_gives_waiting_messages_back(start: Start) -> None:
    async with start([STARTED, Gate()]) as kat:
        await kat.send("first")
        await kat.until(lambda: kat.app.conversation.running)
        await kat.send("second")
        await kat.pilot.press("escape", "escape")
        await kat.idle()
        assert kat.app.prompt.text == "second"
        assert len(kat.agent.heard) == 1


async def test_up_in_an_empty_prompt_recalls_what_was_sent(start: Start) -> None:
    async with start(ANSWER) as kat:
        for text in ("one", "two"):
            await kat.send(text)
        await kat.idle()
        await kat.pilot.press("up", "up")
        assert kat.app.prompt.text == "one"
        await kat.pilot.press("down")
        assert kat.app.prompt.text == "two"
        await kat.pilot.press("down")
        assert kat.app.prompt.text == ""
        await kat.pilot.press("x", "up")
        assert kat.app.prompt.text == "x"


@pytest.mark.parametrize("key", ["ctrl+j", "shift+enter"])
async def test_a_new_line_does_not_send(start: Start, key: str) -> None:
    async with start(ANSWER) as kat:
        await kat.pilot.press("a", key, "b")
        assert kat.app.prompt.text == "a\nb"
        await kat.pilot.press("enter")
        await kat.idle()
        assert kat.agent.heard[0][0] == "a\nb"


async def test_typing_while_the_engine_loads_is_sent_when_it_is_ready(start: Start) -> None:
    agent, loaded = FakeAgent(ANSWER), asyncio.Event()

    async def slow() -> Agent:
        await loaded.wait()
        return agent

    async with start(open_agent=slow) as kat:
        assert kat.app.status.activity is Activity.LOADING
        await kat.send("early")
        await kat.until(lambda: "early" in kat.app.waiting.plain)
        loaded.set()
        await kat.until(lambda: "It is four." in kat.text())
        assert agent.heard == [("early", ThinkRequest.AUTO)]


async def test_the_first_prompt_is_sent(start: Start) -> None:
    async with start(ANSWER, first_prompt="from the command line", think=ThinkRequest.ON) as kat:
        await kat.idle()
        assert kat.agent.heard == [("from the command line", ThinkRequest.ON)]


async def test_an_engine_that_fails_can_be_tried_again(start: Start) -> None:
    agent, tries = FakeAgent(ANSWER), []

    async def flaky() -> Agent:
        tries.append(1)
        if len(tries) == 1:
            raise EngineUnreachable("Nothing answers at :8000; start a server or use --engine embedded.")
        return agent

    async with start(open_agent=flaky) as kat:
        await kat.until(lambda: kat.app.status.activity is Activity.OFFLINE)
        assert "start a server or use --engine embedded" in kat.text()
        await kat.send("kept")
        assert agent.heard == []
        await kat.send("/retry")
        await kat.until(lambda: agent.heard)
        assert agent.heard == [("kept", ThinkRequest.AUTO)]
        assert len(tries) == 2


@pytest.mark.parametrize(
    ("status", "level"),
    [(RunStatus.UNREACHABLE, "error"), (RunStatus.FAILED, "error"), (RunStatus.LIMIT, "warning")],
)
async def test_a_run_that_fails_says_why_in_one_line(start: Start, status: RunStatus, level: str) -> None:
    script = [STARTED, RunFinished(status, "The engine went away; start it again.", 0, Tokens(), 0.0)]
    async with start(script) as kat:
        await kat.send("go")
        await kat.idle()
        assert kat.app.query(f".notice.-{level}").last().plain == "The engine went away; start it again."


class Broken(FakeAgent):
    """Breaks in its first run, after some text."""

    async def run(self, text: str, think: ThinkRequest, words: str | None = None) -> AsyncIterator[Event]:
        async for event in super().run(text, think):
            yield event
            if len(self.heard) == 1 and isinstance(event, SegmentText):
                raise KeyError("slot")


async def test_an_unexpected_error_ends_the_run_and_not_the_program(start: Start) -> None:
    agent = Broken(ANSWER)
    async with start(open_agent=opens(agent)) as kat:
        await kat.send("one")
        await kat.until(lambda: kat.app.query(".notice.-error"))
        said = kat.app.query(".notice.-error").last(ProseView).plain
        assert said == "an unexpected error (KeyError: 'slot'); the conversation goes on"
        await kat.until(lambda: kat.app.status.activity is Activity.READY)
        await kat.send("two")
        await kat.until(lambda: "It is four." in kat.text())
        assert [text for text, _ in agent.heard] == ["one", "two"]


async def test_an_unexpected_error_of_opening_can_be_tried_again(start: Start) -> None:
    async def broken() -> Agent:
        raise ZeroDivisionError

    async with start(open_agent=broken) as kat:
        await kat.until(lambda: kat.app.status.activity is Activity.OFFLINE)
        assert "an unexpected error (ZeroDivisionError)\n/retry tries again." in kat.text()


async def test_a_slow_flush_is_followed_by_a_rest(start: Start) -> None:
    """The clock advances by a second whenever it is read, so each flush seems to take one."""
    ticks = itertools.count()
    async with start(ANSWER) as kat:
        app = kat.app
        presenter = Presenter(app._parts(), lambda: next(ticks))
        await presenter.present(STARTED)
        shown = []
        for number in range(12):
            await presenter.present(SegmentText(1, Segment.ANSWER, f"{number} "))
            presenter.flush()
            shown.append(app.query_one(StepView).answer.plain)
        assert len(set(shown)) == 3


async def test_commands_are_told_from_messages(start: Start) -> None:
    async with start(ANSWER) as kat:
        await kat.send("/nonsense")
        await kat.until(lambda: "There is no /nonsense" in kat.text())
        await kat.send("/think maybe")
        await kat.until(lambda: "/think auto, /think on or /think off" in kat.text())
        assert kat.agent.heard == []
        await kat.send("/etc/hosts is empty")
        await kat.idle()
        assert kat.agent.heard[0][0] == "/etc/hosts is empty"
        await kat.send("/clear")
        await kat.until(lambda: kat.text() == "")


async def test_a_command_is_completed(start: Start) -> None:
    async with start(ANSWER) as kat:
        await kat.pilot.press("slash", "q")
        assert kat.app.prompt.suggestion == "uit"
        await kat.pilot.press("right", "enter")
        assert kat.app.return_value == 0


async def test_clearing_during_a_run_is_harmless(start: Start) -> None:
    gate = Gate()
    async with start([STARTED, SegmentText(1, Segment.ANSWER, "before"), gate, *ANSWER]) as kat:
        await kat.send("go")
        await kat.until(lambda: "before" in kat.text())
        await kat.send("/clear")
        await kat.until(lambda: "before" not in kat.text())
        gate.opened.set()
        await kat.idle()
        assert "It is four." in kat.text()


@pytest.mark.parametrize("keys", [("ctrl+q",), ("ctrl+c", "ctrl+c")])
async def test_leaving_closes_the_agent(start: Start, keys: tuple[str, ...]) -> None:
    async with start(ANSWER) as kat:
        await kat.pilot.press(*keys)
    assert kat.app.return_value == 0
    assert kat.agent.closed


async def test_one_interrupt_does_not_leave(start: Start) -> None:
    async with start(ANSWER) as kat:
        await kat.pilot.press("ctrl+c")
        kat.clock.now += 10
        await kat.pilot.press("ctrl+c")
        assert kat.app.is_running
        assert kat.app.return_value is None


async def test_help_lists_keys_and_commands(start: Start) -> None:
    async with start(ANSWER, size=(100, 60)) as kat:
        await kat.pilot.press("f1")
        await kat.pilot.pause()
        shown = kat.screen()
        for part in ("Ctrl+T", "Shift+Enter, Ctrl+J", "/think auto|on|off", "Allow for this session"):
            assert part in shown
        await kat.pilot.press("escape")
        assert kat.app.screen.query("#prompt")


async def test_help_scrolls_where_it_does_not_fit(start: Start) -> None:
    async with start(ANSWER, size=(20, 24)) as kat:
        await kat.pilot.press("f1")
        await kat.pilot.pause()
        assert "Everywhere" in kat.screen()
        await kat.pilot.press("pagedown")
        await kat.until(lambda: "Everywhere" not in kat.screen())


async def test_the_transcript_follows_unless_scrolled_up(start: Start) -> None:
    gate = Gate()
    tall = "\n\n".join(f"paragraph {number}" for number in range(40))
    script = [STARTED, SegmentText(1, Segment.ANSWER, tall), gate, SegmentText(1, Segment.ANSWER, "\n\nthe end")]
    async with start(script, size=(60, 20)) as kat:
        await kat.send("go")
        await kat.until(lambda: "paragraph 39" in kat.screen())
        await kat.pilot.press("pageup", "pageup")
        await kat.pilot.pause()
        above = kat.app.transcript.scroll_y
        gate.opened.set()
        await kat.idle()
        assert kat.app.transcript.scroll_y == above
        await kat.send("again")
        await kat.until(lambda: "the end" in kat.screen())


async def test_old_entries_leave_and_are_counted(start: Start) -> None:
    script = [Notice("info", f"notice {number}") for number in range(60)]
    async with start(script) as kat:
        kat.app.transcript.limit = 30
        await kat.send("go")
        await kat.idle()
        assert len(kat.app.transcript.children) <= 31
        shown = kat.text()
        assert "notice 0\n" not in shown
        assert "notice 59" in shown
        gone = 60 + 3 - (len(kat.app.transcript.children) - 1)
        assert f"… {gone} earlier entries are no longer shown" in shown


async def test_a_whole_demonstration(start: Start) -> None:
    async with start(demo(0)) as kat:
        await kat.send("fix it")
        await kat.until(lambda: kat.app.approval.asked)
        kat.clock.now += 1
        await kat.pilot.press("y")
        await kat.idle()
        assert len(kat.app.query(StepView)) == 3
        assert "All 42 tests pass." in kat.text()


async def test_old_steps_are_packed_and_open_again(start: Start) -> None:
    ls = call(1, "c", "run_command", "ls -l", "3 files", "a\nb\nc", command="ls -l")
    script = [*step(1, Mode.ON, "Hard.", "a thought", "the answer", ls)]
    for number in range(2, 14):
        script += step(number, Mode.OFF, "Easy.", answer=f"answer {number}")
    async with start(script, size=(80, 90)) as kat:
        await kat.send("go")
        await kat.until(lambda: "answer 13" in kat.text())
        await kat.idle()
        first = kat.app.query(StepView).first()
        shown = kat.screen()
        assert first.packed
        assert not any(child.display for child in first.children)
        row = first.plain.split("\n").index("ls -l  3 files")
        await kat.pilot.click(first, offset=(6, row))
        await kat.pilot.pause()
        assert not first.packed
        assert "a\nb\nc" in first.query_one(CallView).plain
        first.query_one(CallView).fold(False)
        await kat.pilot.pause()
        assert kat.screen() == shown
        await kat.pilot.press("ctrl+o")
        assert "a thought" in kat.text()


async def test_a_selection_copies_text_without_margins(start: Start) -> None:
    async with start(step(1, Mode.OFF, "", answer="- one item that is long enough to wrap around\n- two")) as kat:
        await kat.pilot.resize_terminal(40, 20)
        await kat.send("go")
        await kat.idle()
        answer = kat.app.query_one(StepView).answer
        await kat.pilot.mouse_down(answer, offset=(4, 0))
        await kat.pilot.mouse_up(answer, offset=(7, 2))
        await kat.pilot.pause()
        assert kat.app.screen.get_selected_text() == "one item that is long enough to wrap around\ntwo"


async def test_the_interrupt_key_copies_a_selection_and_does_not_ask_to_quit(start: Start) -> None:
    async with start(step(1, Mode.OFF, "", answer="one **bold** word")) as kat:
        await kat.send("go")
        await kat.idle()
        answer = kat.app.query_one(StepView).answer
        await kat.pilot.mouse_down(answer, offset=(8, 0))
        await kat.pilot.hover(answer, offset=(11, 0))
        await kat.pilot.mouse_up(answer, offset=(11, 0))
        await kat.pilot.pause()
        assert kat.app.screen.get_selected_text() == "bold"
        await kat.pilot.press("ctrl+c", "ctrl+c")
        assert kat.app.clipboard == "bold"
        assert kat.app.return_value is None
