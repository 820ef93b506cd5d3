"""How it looks.

After a wanted change run `pytest tests/tui/test_snapshots.py --snapshot-update` and look at the pictures.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from textual.pilot import Pilot

from assistant.events import (
    ApprovalAsked,
    CallOutput,
    CallStarted,
    Changes,
    Forked,
    Intervened,
    Notice,
    PlanChanged,
    Restored,
    SegmentText,
)
from assistant.records import Intervention, PlanItem
from model.format import Mode, Segment
from tests.tui.conftest import Clock, build
from tests.tui.fake import DIFF, THOUGHT, Ask, FakeAgent, Gate, Script, demo, step
from tests.tui.test_engine import Served
from tests.tui.test_fork import ORIGINAL, OTHER
from tui.app import KatApp
from tui.widgets.asking import QUIET_SECONDS
from tui.widgets.fold import ProseView
from tui.widgets.fork import ForkView

Compare = Callable[..., bool]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def app(clock: Clock) -> KatApp:
    return build(FakeAgent(demo(0)), clock, greeting="Embedded model kat-nano: nothing else answered.")


async def _calm(pilot: Pilot[int]) -> KatApp:
    app = pilot.app
    assert isinstance(app, KatApp)
    app.prompt.cursor_blink = False
    await pilot.pause()
    return app


async def _asked(pilot: Pilot[int]) -> KatApp:
    app = await _calm(pilot)
    app.prompt.insert("The cut test in tests/test_slugs.py fails. Why, and can you fix it?")
    await pilot.press("enter")
    while app.approval.asked is None or not app.approval.has_focus:
        await pilot.pause(0.02)
    await pilot.pause(0.1)
    return app


def _answered(clock: Clock) -> Callable[[Pilot[int]], object]:
    async def answered(pilot: Pilot[int]) -> None:
        app = await _asked(pilot)
        clock.now += QUIET_SECONDS
        await pilot.press("y")
        while app.conversation.running:
            await pilot.pause(0.02)
        await pilot.pause(0.1)

    return answered


def test_idle(snap_compare: Compare, app: KatApp) -> None:
    assert snap_compare(app, terminal_size=(90, 16), run_before=_calm)


def test_asked_about_an_edit(snap_compare: Compare, app: KatApp) -> None:
    assert snap_compare(app, terminal_size=(100, 40), run_before=_asked)


def test_done(snap_compare: Compare, app: KatApp, clock: Clock) -> None:
    assert snap_compare(app, terminal_size=(100, 44), run_before=_answered(clock))


def test_narrow(snap_compare: Compare, app: KatApp, clock: Clock) -> None:
    assert snap_compare(app, terminal_size=(20, 24), run_before=_answered(clock))


PATCH = f"""diff --git a/docs/slugs.md b/docs/slugs.md
new file mode 100644
--- /dev/null
+++ b/docs/slugs.md
@@ -0,0 +1,2 @@
+# Slugs
+They never end on a hyphen.
diff --git a/notes.txt b/notes.txt
deleted file mode 100644
--- a/notes.txt
+++ /dev/null
@@ -1 +0,0 @@
-Mend the cut.
diff --git a/text/slugs.py b/text/slugs.py
{DIFF}"""
LOST = ApprovalAsked(
    2,
    "undo.2",
    "undo",
    "Undo and overwrite what is new in text/slugs.py",
    DIFF,
    "diff",
    "you or another program may have changed it since; what is overwritten, redo brings back",
)
ERRANDS: list[tuple[str, Script]] = [
    ("/diff", [Changes(PATCH)]),
    ("/commit Mend the cut", [Notice("info", "Committed text/slugs.py as 1234567890.")]),
    ("/redo", [Restored("redo", 2, ("text/slugs.py",))]),
    ("/undo", [Ask(LOST)]),
]


def test_undo(snap_compare: Compare, clock: Clock) -> None:
    agent = FakeAgent(demo(0))

    async def errands(pilot: Pilot[int]) -> None:
        app = await _calm(pilot)
        for text, script in ERRANDS:
            agent.replies.append(script)
            app.prompt.insert(text)
            await pilot.press("enter")
            while agent.replies or (app.conversation.running and app.approval.asked is None):
                await pilot.pause(0.02)
        await pilot.pause(0.2)

    assert snap_compare(build(agent, clock), terminal_size=(90, 52), run_before=errands)


LOOP = [
    PlanChanged((PlanItem("run the tests", "done"), PlanItem("find the cut", "doing"), PlanItem("mend it"))),
    *step(1, Mode.ON, "The cut may interact with the hyphen.", THOUGHT)[:-1],
    Intervened(1, Intervention("fact", 31, "LIMIT is 40 everywhere.")),
    Intervened(1, Intervention("think_budget", 240)),
    SegmentText(1, Segment.ANSWER, "I look at what `pytest` says about it."),
    CallStarted(1, "c", "run_command", "Run pytest -x", {"command": "pytest -x"}),
    CallOutput(1, "c", "collected 42 items\n\ntests/test_slugs.py ...F\n"),
    Gate(),
]


def test_loop(snap_compare: Compare, clock: Clock) -> None:
    async def at_work(pilot: Pilot[int]) -> None:
        app = await _calm(pilot)
        for text in ("Why does the cut test fail?", "then the docs"):
            app.prompt.insert(text)
            await pilot.press("enter")
            await pilot.pause(0.1)
        app.prompt.insert("/st")
        await pilot.press("down")
        await pilot.pause(0.2)

    assert snap_compare(build(FakeAgent(LOOP), clock), terminal_size=(90, 36), run_before=at_work)


@pytest.mark.parametrize("size", [(100, 40), (20, 60)])
def test_fork(snap_compare: Compare, clock: Clock, size: tuple[int, int]) -> None:
    agent = FakeAgent(step(1, Mode.OFF, "Easy."))

    async def forked(pilot: Pilot[int]) -> None:
        app = await _calm(pilot)
        app.presenter.modes[1] = Mode.OFF
        agent.replies.append([Forked(1, ORIGINAL, OTHER)])
        app.prompt.insert("/think-harder 1")
        await pilot.press("enter")
        while agent.replies or app.conversation.running or not app.query(ForkView):
            await pilot.pause(0.02)
        places: list[object] = []
        while len(places) < 5 or places[-1] != places[-5]:  # until the layout stays as it is
            await pilot.pause(0.1)
            places.append([part.region for part in app.query_one(ForkView).query("*")])

    assert snap_compare(build(agent, clock), terminal_size=size, run_before=forked)


def test_engine(snap_compare: Compare, clock: Clock) -> None:
    async def shown(pilot: Pilot[int]) -> None:
        app = await _calm(pilot)
        app.prompt.insert("/engine")
        await pilot.press("enter")
        while "118 tokens/s" not in "".join(view.plain for view in app.screen.query(ProseView)):
            await pilot.pause(0.02)
        await pilot.press("d")
        await pilot.pause(0.2)

    app = build(FakeAgent(demo(0)), clock, shelf=Served())
    assert snap_compare(app, terminal_size=(90, 32), run_before=shown)
