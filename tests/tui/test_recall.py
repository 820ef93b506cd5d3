"""A conversation that is shown again."""

from __future__ import annotations

from assistant.events import Event, Notice, RunFinished, RunStatus, UserSaid
from assistant.records import Tokens
from model.format import Mode, ThinkRequest
from tests.tui.conftest import Start
from tests.tui.fake import FakeAgent, call, opens, step
from tui.widgets.status import Activity
from tui.widgets.step import StepView


def past(steps: int) -> list[Event]:
    history: list[Event] = []
    for number in range(1, steps + 1):
        read = call(number, f"r{number}", "read_file", f"read file {number}", "3 lines", "text")
        history.append(UserSaid(f"question {number}", ThinkRequest.AUTO))
        history += step(number, Mode.ON, "Hard.", f"thought {number}", f"answer {number}", read)  # type: ignore[arg-type]
        history.append(RunFinished(RunStatus.DONE, "", 1, Tokens(), 1.0))
    return history


async def test_the_past_looks_as_it_did_and_the_conversation_goes_on(start: Start) -> None:
    history = [*past(2), Notice("warning", "The outcome of run_command in step 2 is unknown.")]
    agent = FakeAgent(step(3, Mode.OFF, "Easy.", "", "and a third"), history=history)
    async with start(open_agent=opens(agent), size=(80, 60)) as kat:
        await kat.until(lambda: kat.app.status.activity is Activity.READY)
        await kat.pilot.pause()
        shown = kat.text()
        for part in ("question 1", "answer 1", "read file 1", "question 2", "answer 2", "is unknown"):
            assert part in shown
        assert shown.index("question 1") < shown.index("answer 1") < shown.index("question 2")
        assert kat.app.status.steps == 2
        assert agent.heard == []
        kat.app.prompt.focus()
        kat.app.prompt.insert("more?")
        await kat.pilot.press("enter")
        await kat.until(lambda: "and a third" in kat.text())
        assert agent.heard == [("more?", ThinkRequest.AUTO)]


async def test_of_a_long_past_the_end_is_shown(start: Start) -> None:
    agent = FakeAgent(step(3, Mode.OFF, "Easy.", "", "more"), history=past(75))
    async with start(open_agent=opens(agent)) as kat:
        await kat.until(lambda: kat.app.status.activity is Activity.READY, seconds=30)
        steps = list(kat.app.transcript.query(StepView))
        assert len(steps) == 60
        assert kat.app.status.steps == 75
        assert "kat sessions show" in kat.text()
        assert "question 16" in kat.text()
        assert "question 15" not in kat.text()
