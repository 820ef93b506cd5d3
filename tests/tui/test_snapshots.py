"""How it looks.

After a wanted change run `pytest tests/tui/test_snapshots.py --snapshot-update` and look at the pictures.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from textual.pilot import Pilot

from tests.tui.conftest import Clock, build
from tests.tui.fake import FakeAgent, demo
from tui.app import KatApp
from tui.widgets.approval import QUIET_SECONDS

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
