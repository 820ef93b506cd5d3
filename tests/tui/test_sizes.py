"""Terminals that are very small, and text that means harm."""

from __future__ import annotations

import pytest

from assistant.events import CallFinished, CallStarted, Notice, PlanChanged
from assistant.records import PlanItem
from model.format import Mode
from tests.tui.conftest import Start
from tests.tui.fake import Gate, demo, step
from tui.widgets.asking import QUIET_SECONDS
from tui.widgets.calls import CallView

HOSTILE = "[bold]b[/bold] [/] \x1b[31mred\x1b]0;title\x07 \u202eesrever\u200b \x9b2J `[@click=app.quit]x[/]`"


@pytest.mark.parametrize("size", [(20, 6), (20, 24), (8, 3), (1, 1), (200, 60)])
async def test_every_size_is_usable(start: Start, size: tuple[int, int]) -> None:
    async with start(demo(0), size=size) as kat:
        await kat.send("fix it")
        await kat.until(lambda: kat.app.approval.asked)
        await kat.pilot.pause()
        if size >= (20, 6):
            assert " y " in kat.screen()
            assert " n " in kat.screen()
        kat.clock.now += QUIET_SECONDS
        await kat.pilot.press("y")
        await kat.idle()
        await kat.pilot.press(*"hi")
        await kat.pilot.pause()
        if size >= (20, 6):
            assert "hi" in kat.screen()
            assert "auto" in kat.screen()


@pytest.mark.parametrize("size", [(20, 24), (20, 12), (40, 16), (60, 14), (80, 24), (100, 40)])
async def test_a_question_leaves_prompt_and_status_on_the_screen(start: Start, size: tuple[int, int]) -> None:
    async with start(demo(0), size=size) as kat:
        await kat.send("fix it")
        await kat.until(lambda: kat.app.approval.has_focus)
        for _ in range(2):
            await kat.pilot.pause(0.05)
        rows = kat.screen().split("\n")
        assert any("Ask, or say what" in row for row in rows)
        assert any("waiting" in row for row in rows[-2:])
        assert any("no" in row for row in rows if " n " in row)
        assert any("this session" in row for row in rows)
        kat.app.prompt.insert("line\n" * 9)
        await kat.pilot.pause()
        assert any("waiting" in row for row in kat.screen().split("\n")[-2:])


@pytest.mark.parametrize("size", [(20, 6), (20, 24), (80, 24), (200, 50)])
async def test_plan_and_queue_leave_prompt_and_status_on_the_screen(start: Start, size: tuple[int, int]) -> None:
    plan = PlanChanged(tuple(PlanItem(f"thing {number} with many words to say about it") for number in range(20)))
    async with start([plan, Gate()], size=size) as kat:
        await kat.send("go")
        await kat.until(lambda: kat.app.plan.display)
        for number in range(5):
            kat.app.send(f"message {number} with many words to say about it")
        await kat.pilot.press(*"/")
        await kat.pilot.pause()
        rows = kat.screen().split("\n")
        assert any("auto" in row for row in rows[-2:])
        assert any("to do" in row for row in rows)
        assert any("queued" in row for row in rows)
        assert sum("/help" in row for row in rows) == 2


async def test_a_terminal_may_change_its_size(start: Start) -> None:
    async with start(demo(0)) as kat:
        await kat.send("fix it")
        await kat.until(lambda: kat.app.approval.asked)
        for size in ((20, 6), (140, 50), (3, 2), (40, 12)):
            await kat.pilot.resize_terminal(*size)
            await kat.pilot.pause()
        kat.clock.now += QUIET_SECONDS
        await kat.pilot.press("y")
        await kat.idle()
        assert "42 passed" in kat.screen()


async def test_hostile_text_is_inert(start: Start) -> None:
    calls = [
        CallStarted(1, "c", HOSTILE, HOSTILE, {HOSTILE: HOSTILE}),
        CallFinished(1, "c", HOSTILE, "ok", HOSTILE, HOSTILE),
    ]
    script = [*step(1, Mode.ON, HOSTILE, HOSTILE, HOSTILE, calls), Notice("warning", HOSTILE)]
    async with start(script, size=(120, 60)) as kat:
        await kat.send(HOSTILE)
        await kat.idle()
        kat.app.query_one(CallView).fold(True)
        await kat.pilot.press("ctrl+o")
        await kat.pilot.pause()
        screen = kat.screen()
        assert screen.count("[bold]b[/bold] [/] red") >= 8
        assert "[@click=app.quit]x[/]" in screen
        assert not set(screen) & set("\x1b\x07\x9b\u202e\u200b")
