"""Undo, redo, restore, diff and commit by slash command."""

from __future__ import annotations

from assistant.events import ApprovalAsked, Changes, Decision, Notice, Restored
from model.format import Mode
from tests.tui.conftest import Running, Start
from tests.tui.fake import DIFF, Ask, Gate, step
from tui.widgets.changes import FILES_LIMIT
from tui.widgets.fold import Fold
from tui.widgets.status import Activity

ANSWER = step(1, Mode.OFF, "Clear.", answer="Done.")
ASKED = ApprovalAsked(3, "undo.3", "undo", "Undo and overwrite what is new in a.py", DIFF, "diff", "a.py changed since")


async def errand(kat: Running, text: str, *replies: object) -> str:
    """What the transcript says after a command."""
    kat.agent.replies.append(replies)  # type: ignore[arg-type]
    await kat.send(text)
    await kat.until(lambda: not kat.agent.replies and not kat.app.conversation.running)
    await kat.pilot.pause()
    return kat.text()


async def test_what_was_restored_is_said(start: Start) -> None:
    async with start(ANSWER) as kat:
        shown = await errand(kat, "/undo", Restored("undo", 3, ("a.py", "b [x].py")))
        assert "Undid step 3: a.py, b [x].py." in shown
        assert "Did step 3 again: a.py." in await errand(kat, "/redo", Restored("redo", 3, ("a.py",)))
        shown = await errand(kat, "/restore 0", Restored("restore", 0, ()))
        assert "Went back to the beginning: no file had to change." in shown
        assert kat.agent.errands == [("undo", 0), ("redo", 0), ("restore", 0)]
        assert kat.app.status.activity is Activity.READY


async def test_a_diff_is_shown_as_one(start: Start) -> None:
    async with start(ANSWER) as kat:
        assert "slug =" in await errand(kat, "/diff 1 2", Changes(DIFF))
        assert "No file was changed." in await errand(kat, "/diff", Changes(""))
        assert "Committed a.py" in await errand(kat, "/commit Mend it", Notice("info", "Committed a.py as 12345."))
        assert kat.agent.errands == [("changes", 1, 2), ("changes", None, None), ("commit", "Mend it")]


async def test_the_question_of_an_undo_has_two_answers(start: Start) -> None:
    async with start(ANSWER) as kat:
        kat.agent.replies.append([Ask(ASKED, [Restored("undo", 3, ("a.py",))])])
        await kat.send("/undo")
        await kat.until(lambda: kat.app.approval.asked and kat.app.approval.has_focus)
        assert "overwrite" in kat.screen()
        assert "this session" not in kat.screen()
        kat.clock.now += 1
        await kat.pilot.press("s", "a")
        assert kat.agent.decisions == []
        await kat.pilot.press("n")
        await kat.until(lambda: kat.agent.decisions)
        assert kat.agent.decisions == [("undo.3", Decision.NO, "")]


async def test_a_long_diff_is_a_list_of_files_that_open(start: Start) -> None:
    rows = "".join(f"-old {n}\n+new {n}\n" for n in range(2500))
    patch = "".join(
        f"diff --git a/{name} b/{name}\n--- a/{name}\n+++ b/{name}\n@@ -1,2500 +1,2500 @@\n{rows}" for name in "xy"
    )
    async with start(ANSWER) as kat:
        shown = await errand(kat, "/diff", Changes(patch))
        assert "2 files changed  +5000 -5000" in shown
        assert "x  +2500 -2500" in shown
        assert "new 17" not in shown
        kat.app.transcript.query_one(".changes").query(Fold).last().fold(True)
        await kat.pilot.pause()
        assert kat.text().count("new 17\n") == 1


async def test_of_very_many_files_there_is_the_count(start: Start) -> None:
    patch = "".join(f"diff --git a/{n} b/{n}\nnew file mode 100644\n" for n in range(FILES_LIMIT + 2))
    async with start(ANSWER) as kat:
        assert "and 2 other files" in await errand(kat, "/diff", Changes(patch))
        assert len(kat.app.query(".changes Fold")) == FILES_LIMIT


async def test_what_others_changed_is_asked_about(start: Start) -> None:
    async with start(ANSWER) as kat:
        kat.agent.replies.append([Ask(ASKED, [Restored("undo", 3, ("a.py",))])])
        await kat.send("/undo")
        await kat.until(lambda: kat.app.approval.asked)
        assert "what is new in a.py" in kat.screen()
        kat.clock.now += 1
        await kat.pilot.press("y")
        await kat.until(lambda: "Undid step 3" in kat.text())
        assert kat.agent.decisions == [("undo.3", Decision.ONCE, "")]


async def test_undo_waits_for_the_run(start: Start) -> None:
    gate = Gate()
    async with start([gate, *ANSWER]) as kat:
        await kat.send("work")
        await kat.until(lambda: kat.agent.heard)
        kat.agent.replies.append([Restored("undo", 1, ("a.py",))])
        await kat.send("/undo")
        await kat.pilot.pause(0.05)
        assert kat.agent.errands == []
        gate.opened.set()
        await kat.until(lambda: "Undid step 1" in kat.text())


async def test_wrong_arguments_are_explained(start: Start) -> None:
    async with start(ANSWER) as kat:
        for text in ("/restore", "/restore x", "/diff a", "/diff 1 2 3", "/commit"):
            await kat.send(text)
        await kat.until(lambda: kat.text().count("Say /") == 5)
        assert kat.agent.errands == []
