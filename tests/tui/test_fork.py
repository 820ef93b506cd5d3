"""A step shown both ways."""

from __future__ import annotations

import pytest

from assistant.events import Forked, Notice
from assistant.records import Branch, CallOutcome, StepRecord, Tokens
from model.format import Mode, ThinkRequest
from tests.tui.conftest import Running, Start
from tests.tui.fake import DIFF, step
from tui.widgets.asking import QUIET_SECONDS
from tui.widgets.fold import Fold
from tui.widgets.fork import BranchView, ForkView

CALL = CallOutcome("1.1", "edit_file", {"path": "text/slugs.py"}, "ok", "+2 −1")
READ = CallOutcome("1.1", "read_file", {"path": "[none].py"}, "failed", "no such file")
ORIGINAL = Branch(
    StepRecord(1, ThinkRequest.AUTO, "judge", "", Mode.OFF, False, tokens=Tokens(900, 0, 9, 0, 30), calls=(READ,)),
    "",
    "I read the **file** first.",
    ("There is no file [none].py.",),
)
OTHER = Branch(
    StepRecord(1, ThinkRequest.ON, "fork", "", Mode.ON, True, tokens=Tokens(900, 0, 0, 240, 60), calls=(CALL,)),
    "the cut falls behind a hyphen",
    "I strip the hyphen.",
    ("Edited.",),
    DIFF,
)


async def forked(kat: Running, text: str = "/fork 1") -> None:
    await kat.send("go")
    await kat.idle()
    kat.agent.replies.append([Notice("info", "in a copy"), Forked(1, ORIGINAL, OTHER)])
    await kat.send(text)
    await kat.until(lambda: kat.app.query(ForkView))
    await kat.pilot.pause(0.05)


@pytest.mark.parametrize(
    ("size", "columns"), [((120, 60), True), ((80, 60), True), ((40, 70), False), ((20, 90), False)]
)
async def test_both_ways_stand_side_by_side_or_one_above_the_other(
    start: Start, size: tuple[int, int], columns: bool
) -> None:
    async with start(step(1, Mode.OFF, ""), size=size) as kat:
        await forked(kat)
        one, two = (view.region for view in kat.app.query(BranchView))
        assert (one.y == two.y) is columns
        assert (one.x == two.x) is not columns
        assert abs(one.width - two.width) <= 1
        assert one.width > size[0] // 3
        shown = " ".join(kat.screen().split())
        for part in ("think off", "as it was", "think on", "thought"):
            assert part in shown
        if size[0] >= 80:
            for part in ("I read the file first.", "✗ read_file [none].py", "I strip the hyphen.", "1 file changed"):
                assert part in shown


async def test_a_key_says_which_is_better_but_not_by_accident(start: Start) -> None:
    async with start(step(1, Mode.OFF, ""), size=(120, 50)) as kat:
        await forked(kat)
        assert kat.agent.errands == [("fork", 1, ThinkRequest.ON)]
        assert kat.app.query_one(ForkView).has_focus
        await kat.pilot.press("2")
        await kat.pilot.pause()
        assert kat.app.prompt.text == "2"
        kat.app.prompt.clear()
        kat.app.query_one(ForkView).focus()
        kat.clock.now += QUIET_SECONDS
        kat.agent.replies.append([Notice("info", "kept")])
        await kat.pilot.press("2")
        await kat.until(lambda: "kept" in kat.text())
        assert kat.agent.errands[1:] == [("prefer", 1, "other")]
        assert "the other way  ✓ preferred" in kat.screen()
        assert kat.app.prompt.has_focus


async def test_other_keys_are_meant_for_the_prompt(start: Start) -> None:
    async with start(step(1, Mode.OFF, ""), size=(120, 50)) as kat:
        await forked(kat)
        kat.clock.now += QUIET_SECONDS
        await kat.pilot.press(*"why 2")
        assert kat.app.prompt.text == "why 2"
        assert len(kat.agent.errands) == 1


async def test_thought_and_outputs_open(start: Start) -> None:
    async with start(step(1, Mode.OFF, ""), size=(120, 60)) as kat:
        await forked(kat)
        assert "the cut falls" not in kat.screen()
        for view in kat.app.query(BranchView).results():
            for fold in view.query(Fold).results():
                fold.fold(True)
        await kat.pilot.pause()
        for part in ("the cut falls", "There is no file [none].py.", "path: text/slugs.py", 'slug = "-".join(words)'):
            assert part in kat.screen()


@pytest.mark.parametrize(
    ("text", "errand"),
    [
        ("/fork 1 off", ("fork", 1, ThinkRequest.OFF)),
        ("/think-harder 1", ("fork", 1, ThinkRequest.ON)),
        ("/prefer 1 original", ("prefer", 1, "original")),
    ],
)
async def test_commands(start: Start, text: str, errand: tuple[object, ...]) -> None:
    async with start(step(1, Mode.OFF, "")) as kat:
        await forked(kat, text)
        assert kat.agent.errands == [errand]


async def test_wrong_arguments_are_explained(start: Start) -> None:
    async with start(step(1, Mode.OFF, "")) as kat:
        await kat.send("go")
        await kat.idle()
        for text in (
            "/fork",
            "/fork x",
            "/fork 1 maybe",
            "/think-harder",
            "/prefer 1",
            "/prefer 1 both",
            "/fact",
            "/rename",
        ):
            await kat.send(text)
        await kat.send("/fork 7")
        await kat.until(lambda: "There is no step 7" in kat.text())
        assert kat.text().count("Say /") == 8
        assert kat.agent.errands == []
