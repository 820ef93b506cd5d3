"""Being asked, and not answering by accident."""

from __future__ import annotations

from dataclasses import replace

import pytest

from assistant.events import ApprovalAsked, CallFinished, CallStarted, Decision
from model.format import Mode
from tests.tui.conftest import Running, Start
from tests.tui.fake import Ask, Gate, Item, ask_edit, step
from tui.widgets.asking import QUIET_SECONDS
from tui.widgets.calls import CallView
from tui.widgets.status import Activity

STARTED = CallStarted(1, "edit", "edit_file", "edit text/slugs.py", {"path": "text/slugs.py"})
EDIT = step(1, Mode.OFF, "", calls=[STARTED, ask_edit(1)])


async def asked(kat: Running) -> None:
    await kat.send("go")
    await kat.until(lambda: kat.app.approval.asked and kat.app.approval.has_focus)


@pytest.mark.parametrize(("key", "decision"), [("y", Decision.ONCE), ("s", Decision.SESSION)])
async def test_yes(start: Start, key: str, decision: Decision) -> None:
    async with start(EDIT) as kat:
        await asked(kat)
        assert 'slug = "-".join(words)' in kat.screen()
        assert kat.app.status.activity is Activity.ASKING
        kat.clock.now += QUIET_SECONDS
        await kat.pilot.press(key)
        await kat.idle()
        assert kat.agent.decisions == [("edit", decision, "")]
        assert kat.app.query_one(CallView).state == "ok"
        assert not kat.app.approval.display
        assert kat.app.prompt.has_focus


ALWAYS = "command:npm run [build] *\x1b]52;c;eA==\x07"
COMMAND = ApprovalAsked(1, "c", "run_command", "run npm", "npm run [build]", "command", "It runs.", ALWAYS)


def asks_for(question: ApprovalAsked) -> list[Item]:
    script: list[Item] = [
        CallStarted(1, "c", "run_command", "run npm", {}),
        Ask(question, [CallFinished(1, "c", "run_command", "ok", "exit 0", "")]),
    ]
    return [*step(1, Mode.OFF, "", calls=script)]


@pytest.mark.parametrize("size", [(80, 30), (36, 30)])
async def test_always_shows_the_rule_before_it_is_kept(start: Start, size: tuple[int, int]) -> None:
    async with start(asks_for(COMMAND), size=size) as kat:
        await asked(kat)
        shown = " ".join(kat.screen().replace("│", " ").split())
        assert "a always" in shown
        assert "command:npm run [build] *" in shown
        assert "\x1b" not in shown
        kat.clock.now += QUIET_SECONDS
        await kat.pilot.press("a")
        await kat.idle()
        assert kat.agent.decisions == [("c", Decision.ALWAYS, "")]
        assert kat.app.query_one(CallView).state == "ok"


async def test_always_cannot_be_answered_where_no_rule_is_offered_or_too_early(start: Start) -> None:
    async with start(asks_for(COMMAND), asks_for(replace(COMMAND, always=""))) as kat:
        await asked(kat)
        await kat.pilot.press("a")
        assert kat.agent.decisions == []
        assert kat.app.prompt.text == "a"
        kat.app.prompt.clear()
        kat.app.approval.focus()
        kat.clock.now += QUIET_SECONDS
        await kat.pilot.press("y")
        await kat.idle()
        await asked(kat)
        assert "always" not in kat.screen()
        kat.clock.now += QUIET_SECONDS
        await kat.pilot.press("a")
        assert kat.app.approval.asked
        await kat.pilot.press("y")
        await kat.idle()
        assert [decision for _, decision, _ in kat.agent.decisions] == [Decision.ONCE, Decision.ONCE]


async def test_no_with_a_sentence(start: Start) -> None:
    async with start(EDIT) as kat:
        await asked(kat)
        kat.clock.now += QUIET_SECONDS
        await kat.pilot.press("n", *"use removesuffix", "enter")
        await kat.idle()
        assert kat.agent.decisions == [("edit", Decision.NO, "use removesuffix")]
        assert kat.app.query_one(CallView).state == "denied"


async def test_a_no_can_be_taken_back(start: Start) -> None:
    async with start(EDIT) as kat:
        await asked(kat)
        kat.clock.now += QUIET_SECONDS
        await kat.pilot.press("n", "escape")
        assert kat.agent.stops == 0
        await kat.pilot.press("y")
        await kat.idle()
        assert kat.agent.decisions == [("edit", Decision.ONCE, "")]


async def test_what_is_typed_too_early_goes_to_the_prompt(start: Start) -> None:
    async with start(EDIT) as kat:
        await asked(kat)
        await kat.pilot.press(*"yes")
        await kat.pilot.pause()
        assert kat.agent.decisions == []
        assert kat.app.prompt.text == "yes"
        assert "press Tab" in kat.screen()


async def test_what_is_no_answer_goes_to_the_prompt(start: Start) -> None:
    async with start(EDIT) as kat:
        await asked(kat)
        kat.clock.now += QUIET_SECONDS
        await kat.pilot.press(*"plays")
        await kat.pilot.pause()
        assert kat.agent.decisions == []
        assert kat.app.prompt.text == "plays"


async def test_a_long_preview_scrolls(start: Start) -> None:
    lines = "\n".join(f"+line {number}" for number in range(90))
    long = replace(ask_edit(1).asked, preview=f"--- a/a.py\n+++ b/a.py\n@@ -0,0 +1,90 @@\n{lines}\n")
    async with start(step(1, Mode.OFF, "", calls=[STARTED, Ask(long)])) as kat:
        await asked(kat)
        await kat.pilot.press("pagedown")
        await kat.until(lambda: "line 0" not in kat.screen())
        assert "line 12" in kat.screen()


async def test_a_prompt_with_text_keeps_the_focus(start: Start) -> None:
    gate = Gate()
    async with start([gate, *EDIT]) as kat:
        await kat.send("go")
        await kat.pilot.press(*"also", "space")
        gate.opened.set()
        await kat.until(lambda: kat.app.approval.asked)
        kat.clock.now += QUIET_SECONDS
        await kat.pilot.press("y")
        assert kat.agent.decisions == []
        assert kat.app.prompt.text == "also y"
        kat.app.approval.focus()
        await kat.pilot.press("y")
        await kat.idle()
        assert kat.agent.decisions == [("edit", Decision.ONCE, "")]
        assert kat.app.prompt.text == "also y"


async def test_escape_stops_the_run_and_takes_the_question_away(start: Start) -> None:
    async with start(EDIT) as kat:
        await asked(kat)
        await kat.pilot.press("escape")
        await kat.idle()
        assert kat.agent.decisions == []
        assert not kat.app.approval.display
        assert kat.app.prompt.has_focus
        assert kat.app.query_one(CallView).state == "unfinished"


async def test_a_command_is_shown_as_it_will_run(start: Start) -> None:
    command = "rm -r build\n[bold]\x1b]52;c;eA==\x07\u202e"
    question = ApprovalAsked(1, "c", "run_command", "run rm", command, "command", "It changes the repository.")
    script: list[Item] = [
        CallStarted(1, "c", "run_command", "run rm", {}),
        Ask(question, [CallFinished(1, "c", "run_command", "ok", "exit 0", "")]),
    ]
    async with start([*step(1, Mode.OFF, "", calls=script)]) as kat:
        await asked(kat)
        screen = kat.screen()
        assert "$ rm -r build" in screen
        assert "[bold]" in screen
        assert "It changes the repository." in screen
        assert "\x1b" not in screen
        assert "\u202e" not in screen
