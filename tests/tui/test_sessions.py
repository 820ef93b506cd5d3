"""Other sessions, the ledger of this one, and prompts that have a name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pytest

from assistant.agent import AgentFactory
from assistant.errors import UserError
from assistant.events import Notice, UserSaid
from assistant.ledger import Account, Estimate, Ledger
from assistant.sessions import SessionSummary
from assistant.slash import SlashPrompt
from model.format import Mode, ThinkRequest
from tests.tui.conftest import Running, Start
from tests.tui.fake import FakeAgent, Gate, opens, step
from tui.spent import ledger_text
from tui.widgets.status import Activity

ANSWER = step(1, Mode.OFF, "Easy.", answer="first answer")
OLD = SessionSummary("2026-a", "2026-11-20T10:00:00+00:00", "/repo", "kat-nano", "mend the [cut]", 7)
OTHER = SessionSummary("2026-b", "2026-11-19T10:00:00+00:00", "/repo", "kat-nano", "write docs", 2)


@dataclass
class FakeShelf:
    """Two sessions and a prompt; `problem` says why none can be opened again."""

    agent: FakeAgent
    problem: str = ""
    asked: list[str] = field(default_factory=list)

    def prompts(self) -> Mapping[str, SlashPrompt]:
        return {
            "review": SlashPrompt("review", "read what changed", "Review {arguments|everything}."),
            "broken": SlashPrompt("broken", "cannot be read", "", problem="the prompt /broken is empty"),
            "commit": SlashPrompt("commit", "write a message", "Write a message."),
        }

    def search(self, words: str) -> Sequence[SessionSummary]:
        self.asked.append(words)
        return [one for one in (OLD, OTHER) if words in one.first_words]

    def reopen(self, session: str) -> AgentFactory:
        if self.problem:
            raise UserError(self.problem)
        self.asked.append(f"open {session}")
        return opens(self.agent)

    def ledger(self, session: str) -> Ledger:
        self.asked.append(f"ledger {session}")
        return Ledger(total=Account(3))


@pytest.fixture
def shelf() -> FakeShelf:
    history = [UserSaid("mend the cut", ThinkRequest.AUTO), *step(7, Mode.ON, "Hard.", answer="an old answer")]
    return FakeShelf(FakeAgent(step(8, Mode.OFF, "Easy.", answer="a new answer"), history=history))  # type: ignore[arg-type]


async def listed(kat: Running, text: str = "/sessions") -> None:
    await kat.send(text)
    await kat.until(lambda: "mend the [cut]" in kat.screen())


async def test_a_session_goes_on_in_the_place_of_this_one(start: Start, shelf: FakeShelf) -> None:
    async with start(ANSWER, shelf=shelf) as kat:
        await kat.send("go")
        await kat.idle()
        await listed(kat)
        assert "7 steps · kat-nano" in kat.screen()
        await kat.pilot.press("down", "up", "enter")
        await kat.until(lambda: "an old answer" in kat.text())
        assert kat.agent.closed
        assert shelf.asked[-1] == "open 2026-a"
        assert "first answer" not in kat.text()
        assert kat.app.status.steps == 1
        assert kat.app.prompt.has_focus
        await kat.send("and now?")
        await kat.until(lambda: "a new answer" in kat.text())
        assert shelf.agent.heard == [("and now?", ThinkRequest.AUTO)]
    assert shelf.agent.closed


async def test_sessions_are_searched_while_it_is_written(start: Start, shelf: FakeShelf) -> None:
    async with start(ANSWER, shelf=shelf, size=(40, 24)) as kat:
        await listed(kat)
        await kat.pilot.press(*"docs")
        await kat.until(lambda: "mend the" not in kat.screen())
        assert "write docs" in kat.screen()
        await kat.pilot.press(*"x")
        await kat.until(lambda: "no session has these words" in kat.screen())
        await kat.pilot.press("enter", "escape")
        assert not kat.agent.closed
        assert kat.app.prompt.has_focus


async def test_a_session_that_cannot_go_on_leaves_this_one_as_it_is(start: Start, shelf: FakeShelf) -> None:
    shelf.problem = "session 2026-a is open in another KAT Pilot; close that one first"
    async with start(ANSWER, shelf=shelf) as kat:
        await listed(kat, "/sessions mend")
        await kat.pilot.press("enter")
        await kat.until(lambda: "is open in another" in kat.text())
        assert not kat.agent.closed
        await kat.send("go")
        await kat.idle()
        assert "first answer" in kat.text()


async def test_nothing_is_left_while_a_step_is_in_hand(start: Start, shelf: FakeShelf) -> None:
    async with start([*ANSWER, Gate()], shelf=shelf) as kat:
        await kat.send("go")
        await kat.until(lambda: kat.app.conversation.running)
        await listed(kat)
        await kat.pilot.press("enter")
        await kat.until(lambda: "A step is in hand" in kat.text())
        assert not kat.agent.closed


async def test_an_interface_that_keeps_nothing_lists_nothing(start: Start) -> None:
    async with start(ANSWER) as kat:
        await kat.send("/sessions")
        await kat.until(lambda: "no session has these words" in kat.screen())
        await kat.pilot.press("enter", "escape")
        await kat.send("/stats")
        await kat.until(lambda: "no sessions are kept here." in kat.text())


async def test_the_ledger_is_shown(start: Start, shelf: FakeShelf) -> None:
    async with start(ANSWER, shelf=shelf) as kat:
        await kat.until(lambda: kat.app.status.activity is Activity.READY)
        await kat.send("/stats")
        await kat.until(lambda: "3 steps" in kat.text())
        assert shelf.asked == ["ledger fake"]


def test_a_ledger_in_a_few_lines() -> None:
    account = Account(4)
    rules = {f"rule{number}": Account(number) for number in range(1, 8)}
    found = Ledger(total=account, by_mode={"off": account}, by_rule=rules, estimate=Estimate(4, 900, 1.0, 100))
    lines = ledger_text(found).split("\n")
    assert lines[0] == "4 steps, 0 switches of mode"
    assert lines[1] == "think off: 4 steps, judge 0, think 0, answer 0 tokens; 0.0 s, tools 0.0 s"
    assert "always thinking would have taken about 900 tokens more: 90% saved (an estimate)" in lines
    assert "rules: rule7 7, rule6 6, rule5 5, rule4 4, rule3 3, 2 others" in lines
    assert ledger_text(Ledger()) == "No step yet: nothing was spent."


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        ("/review", "Review everything."),
        ("/review the tests", "Review the tests."),
        ("/commit", "Write a message."),
    ],
)
async def test_a_prompt_with_a_name_is_a_message(start: Start, shelf: FakeShelf, text: str, sent: str) -> None:
    async with start(ANSWER, shelf=shelf) as kat:
        await kat.send(text)
        await kat.idle()
        assert kat.agent.heard == [(sent, ThinkRequest.AUTO)]
        assert kat.agent.words == [text]
        assert text in kat.text()
        assert sent not in kat.text()


async def test_a_prompt_that_cannot_be_read_says_so(start: Start, shelf: FakeShelf) -> None:
    async with start(ANSWER, shelf=shelf) as kat:
        await kat.send("/broken")
        await kat.until(lambda: "the prompt /broken is empty." in kat.text())
        await kat.send("/reviw")
        await kat.until(lambda: "There is no /reviw. Did you mean /review?" in kat.text())
        assert kat.agent.heard == []


async def test_a_session_gets_a_name(start: Start) -> None:
    async with start(ANSWER) as kat:
        await kat.until(lambda: kat.app.conversation.online)
        kat.agent.replies.append([Notice("info", "It is called the cut now.")])
        await kat.send("/rename the cut")
        await kat.until(lambda: "It is called the cut now." in kat.text())
        assert kat.agent.errands == [("rename", "the cut")]


async def test_commands_and_prompts_are_completed(start: Start, shelf: FakeShelf) -> None:
    async with start(ANSWER, shelf=shelf, size=(100, 30)) as kat:
        await kat.until(lambda: kat.app.status.activity is Activity.READY)
        await kat.pilot.press(*"/re")
        rows = kat.app.prompt.completions.plain.split("\n")
        assert [row.split()[0] for row in rows] == ["/redo", "/restore", "/rename", "/retry", "/review"]
        assert kat.app.prompt.suggestion == "do"
        await kat.pilot.press("down", "down", "up", "enter")
        assert kat.app.prompt.text == "/restore "  # only written: the beginning of a name runs nothing
        assert "bring files back" in kat.screen()
        assert kat.agent.errands == []
        kat.app.prompt.clear()
        await kat.pilot.press(*"/rev", "tab")
        assert kat.app.prompt.text == "/review "
        kat.app.prompt.clear()
        await kat.pilot.press(*"/re", "escape")
        assert not kat.app.prompt.completions.display
        assert kat.app.prompt.text == "/re"
