"""Being asked by the model, and not answering by accident."""

from __future__ import annotations

import pytest

from assistant.events import QuestionAnswered, QuestionAsked, UserSaid
from model.format import Mode, ThinkRequest
from tests.tui.conftest import Running, Start
from tests.tui.fake import FakeAgent, Gate, Inquire, Item, opens, step
from tui.widgets.asking import QUIET_SECONDS
from tui.widgets.status import Activity

QUESTION = QuestionAsked(1, "q", "Which [limit] counts?\nThere are two.", ("LIMIT, 40", "MAX\x1b[2J, 60"))
ASKS: list[Item] = [*step(1, Mode.OFF, "", calls=[Inquire(QUESTION)]), *step(2, Mode.OFF, "", answer="so be it")]


async def asked(kat: Running) -> None:
    await kat.send("go")
    await kat.until(lambda: kat.app.question.asked and kat.app.question.has_focus)
    await kat.pilot.pause()


async def test_a_digit_picks_a_proposal(start: Start) -> None:
    async with start(ASKS) as kat:
        await asked(kat)
        shown = kat.screen()
        for part in (
            "? Which [limit] counts?",
            "There are two.",
            " 1  LIMIT, 40",
            " 2  MAX, 60",
            "press 1 to 2, or write",
        ):
            assert part in shown
        assert kat.app.status.activity is Activity.ASKING
        kat.clock.now += QUIET_SECONDS
        await kat.pilot.press("2")
        await kat.idle()
        assert kat.agent.answers == [("q", "MAX\x1b[2J, 60")]
        assert "Which [limit] counts?\nThere are two.\nMAX, 60" in kat.text()
        assert kat.app.prompt.has_focus
        assert "so be it" in kat.text()


@pytest.mark.parametrize("question", [QUESTION, QuestionAsked(1, "q", "Which limit counts?")])
async def test_any_words_are_an_answer(start: Start, question: QuestionAsked) -> None:
    async with start(step(1, Mode.OFF, "", calls=[Inquire(question)])) as kat:
        await asked(kat)
        kat.clock.now += QUIET_SECONDS
        await kat.pilot.press(*"no, 12", "enter")
        await kat.idle()
        assert kat.agent.answers == [("q", "no, 12")]


async def test_what_is_typed_too_early_goes_to_the_prompt_and_tab_leads_back(start: Start) -> None:
    async with start(ASKS) as kat:
        await asked(kat)
        await kat.pilot.press("1", "enter")
        await kat.pilot.pause()
        assert kat.agent.answers == []
        assert kat.app.waiting.plain == "1"
        assert "press Tab" in kat.screen()
        await kat.pilot.press("tab")
        kat.clock.now += QUIET_SECONDS
        await kat.pilot.press("1")
        await kat.until(lambda: kat.agent.answers)
        assert kat.agent.answers == [("q", "LIMIT, 40")]


async def test_escape_gives_no_answer_and_the_run_goes_on(start: Start) -> None:
    async with start(ASKS) as kat:
        await asked(kat)
        await kat.pilot.press("escape")
        assert kat.agent.answers == []  # it may have been meant for the step
        kat.clock.now += QUIET_SECONDS
        await kat.pilot.press("escape")
        await kat.idle()
        assert kat.agent.answers == [("q", "")]
        assert (kat.agent.drains, kat.agent.stops) == (0, 0)
        assert "no answer" in kat.text()
        assert "so be it" in kat.text()


async def test_a_stop_takes_the_question_away(start: Start) -> None:
    async with start(ASKS) as kat:
        await asked(kat)
        kat.app.prompt.focus()
        await kat.pilot.press("escape")
        await kat.idle()
        assert kat.agent.stops == 1
        assert not kat.app.question.display


async def test_a_question_of_an_earlier_conversation_is_not_asked_again(start: Start) -> None:
    second = QuestionAsked(2, "p", "And the other?")
    history = [UserSaid("go", ThinkRequest.AUTO), QUESTION, QuestionAnswered(1, "q", "LIMIT, 40"), second]
    async with start(open_agent=opens(FakeAgent([], history=history))) as kat:
        await kat.until(lambda: kat.app.status.activity is Activity.READY)
        await kat.pilot.pause()
        assert "There are two.\nLIMIT, 40" in kat.text()
        assert not kat.app.question.display
        assert kat.app.prompt.has_focus


@pytest.mark.parametrize("size", [(20, 24), (20, 12), (80, 24)])
async def test_a_question_leaves_prompt_and_status_on_the_screen(start: Start, size: tuple[int, int]) -> None:
    long = QuestionAsked(1, "q", "Which one? " * 40, tuple(f"proposal {number}" for number in range(12)))
    async with start([Inquire(long), Gate()], size=size) as kat:
        await asked(kat)
        for _ in range(2):
            await kat.pilot.pause(0.05)
        rows = kat.screen().split("\n")
        assert any("Ask, or say what" in row for row in rows)
        assert any("waiting" in row for row in rows[-2:])
        assert any("press 1" in row for row in rows)
