"""The curves of a run that goes on."""

from __future__ import annotations

import math
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from tui.curves import plot, spark
from tui.training import CurvesApp, Reading, StageCurves, ordered

LOSS = [2.0 * math.exp(-each / 40) + 0.5 + 0.05 * math.sin(each) for each in range(150)]
COLD = StageCurves("coldstart", 150, 300, {"lr": [2e-4 * (1 - each / 300) for each in range(150)], "loss": LOSS})
RL = StageCurves("rl", 40, 60, {"reward": [each / 40 for each in range(40)], "think_rate": [0.5] * 40})
WHY = "the loss is nan: the weights would be lost; lower lr; the last good checkpoint is step-20"


class Run:
    """A run whose reading is set from outside."""

    def __init__(self, *stages: StageCurves, state: str = "", log: tuple[str, ...] = ()) -> None:
        self.now = Reading("nano", stages, state, log)

    def __call__(self) -> Reading:
        return self.now


async def test_curves_follow_the_run_and_the_keys() -> None:
    run = Run(COLD, log=("2026-11-22 [coldstart]: begins",))
    app = CurvesApp(run, every=0.01)
    async with app.run_test(size=(80, 30)) as pilot:
        assert "coldstart 150/300" in app.plain
        assert app.plain.splitlines()[2].startswith("loss  0.4995")
        assert "[coldstart]: begins" in app.plain
        await pilot.press("down")
        assert app.plain.splitlines()[2].startswith("lr  1.01e-04")
        run.now = Reading("nano", (COLD, RL), WHY)
        await pilot.pause(0.05)
        assert app.plain.splitlines()[2].startswith("think rate"), "the newest stage is shown"
        assert WHY in app.plain
        await pilot.press("left", "left")
        assert "lr  1.01e-04" in app.plain
        await pilot.press("right")
        assert "think rate" in app.plain
        await pilot.press("q")
    assert app.return_code == 0


async def test_a_run_without_figures_says_so() -> None:
    app = CurvesApp(Run())
    async with app.run_test(size=(40, 10)) as pilot:
        await pilot.press("down", "left", "right")
        assert "no figures yet" in app.plain


def test_what_it_looks_like(snap_compare: Callable[..., bool]) -> None:
    assert snap_compare(CurvesApp(Run(COLD, RL, state=WHY, log=("rl: begins",)), every=1e6), terminal_size=(90, 24))


VALUES = st.lists(st.floats(allow_infinity=True), max_size=200)


@given(VALUES, st.integers(1, 60))
def test_a_small_curve_has_no_more_cells_than_it_may(values: list[float], width: int) -> None:
    drawn = spark(values, width)
    assert len(drawn) == min(len(values), width)
    finite = [each for each in values if abs(each) < 1e150]
    if len(values) <= width and finite and max(finite) > min(finite):
        assert drawn[values.index(max(finite))] == "█"
        assert drawn[values.index(min(finite))] == "▁"


@given(VALUES, st.integers(1, 40), st.integers(1, 8))
def test_a_large_curve_has_a_dot_a_column(values: list[float], width: int, height: int) -> None:
    rows = plot(values, width, height)
    assert [len(row) for row in rows] == [width] * height
    dots = sum((ord(cell) - 0x2800).bit_count() for row in rows for cell in row)
    if len(values) <= 2 * width:
        assert dots == sum(abs(each) < 1e150 for each in values)
    else:
        assert dots <= 2 * width


def test_what_is_looked_at_most_comes_first() -> None:
    assert ordered({"b": 1, "a": 1, "reward": 1, "loss": 1}) == ["loss", "reward", "a", "b"]
