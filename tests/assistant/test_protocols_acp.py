"""A session of an editor, with an agent that plays a script: what comes while something else runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from acp import schema

from assistant.errors import UserError
from assistant.events import Restored, UserSaid
from assistant.protocols.acp.bridge import _info
from assistant.protocols.acp.content import places
from assistant.protocols.acp.conversation import Conversation
from assistant.protocols.acp.slash import events_of, message_for
from assistant.sessions import SessionSummary
from model.format import Mode, ThinkRequest
from tests.tui.fake import FakeAgent, Gate, TakeIn, ask_edit, call, step


class Editor:
    """Keeps what it is told; its user chooses when told to."""

    def __init__(self) -> None:
        self.updates: list[object] = []
        self.asked = 0
        self.choice: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def session_update(self, session_id: str, update: object) -> None:
        self.updates.append(update)

    async def request_permission(
        self, session_id: str, tool_call: schema.ToolCallUpdate, options: Sequence[schema.PermissionOption]
    ) -> schema.RequestPermissionResponse:
        self.asked += 1
        chosen = schema.AllowedOutcome(outcome="selected", option_id=await self.choice)
        return schema.RequestPermissionResponse(outcome=chosen)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.001)


def begun(agent: FakeAgent) -> tuple[Conversation, Editor]:
    editor = Editor()
    return Conversation(agent, Path("/repo"), ThinkRequest.AUTO, editor), editor


async def test_a_command_waits_for_the_run_and_leaves_its_question_open() -> None:
    agent = FakeAgent(step(1, Mode.OFF, "", calls=[*call(1, "edit", "edit_file", "edit", "")[:1], ask_edit(1)]))
    agent.replies.append([Restored("undo", 1, ())])
    conversation, editor = begun(agent)
    run = asyncio.ensure_future(conversation.prompt("mend it", "mend it"))
    await until(lambda: editor.asked)
    undo = asyncio.ensure_future(conversation.command(agent.restore("undo")))
    await asyncio.sleep(0.05)
    assert agent.errands == []
    assert agent.decisions == []
    editor.choice.set_result("once")
    assert (await run).stop_reason == (await undo).stop_reason == "end_turn"
    assert agent.errands == [("undo", 0)]


async def test_a_message_that_came_too_late_for_the_run_is_answered_for_itself() -> None:
    gate = Gate()
    conversation, _ = begun(FakeAgent([*step(1, Mode.OFF, ""), gate], step(2, Mode.OFF, "", answer="Yes.")))
    agent = conversation.agent
    first = asyncio.ensure_future(conversation.prompt("one", "one"))
    await until(lambda: agent.heard)
    second = asyncio.ensure_future(conversation.prompt("two", "two"))
    await until(lambda: agent.steered)
    gate.opened.set()
    await asyncio.gather(first, second)
    assert [text for text, _ in agent.heard] == ["one", "two"]


async def test_a_message_that_was_read_between_two_steps_is_not_said_again() -> None:
    gate = Gate()
    conversation, editor = begun(FakeAgent([*step(1, Mode.OFF, ""), gate, TakeIn(), *step(2, Mode.OFF, "")]))
    agent = conversation.agent
    first = asyncio.ensure_future(conversation.prompt("one", "one"))
    await until(lambda: agent.heard)
    second = asyncio.ensure_future(conversation.prompt("two", "two"))
    await until(lambda: agent.steered)
    gate.opened.set()
    await asyncio.gather(first, second)
    assert [text for text, _ in agent.heard] == ["one"]
    assert not [update for update in editor.updates if isinstance(update, schema.UserMessageChunk)]


async def test_cancelling_is_for_all_that_came_before_it() -> None:
    conversation, _ = begun(FakeAgent([*step(1, Mode.OFF, ""), Gate()], step(2, Mode.OFF, "")))
    agent = conversation.agent
    agent.replies.append([Restored("undo", 1, ())])
    begun_at_once = asyncio.ensure_future(conversation.prompt("one", "one"))
    await asyncio.sleep(0)
    conversation.stop()
    assert (await begun_at_once).stop_reason == "cancelled"
    assert agent.heard == []
    waiting = [asyncio.ensure_future(conversation.prompt("two", "two"))]
    await until(lambda: agent.heard)
    waiting.append(asyncio.ensure_future(conversation.command(agent.restore("undo"))))
    waiting.append(asyncio.ensure_future(conversation.prompt("three", "three")))
    await until(lambda: agent.steered)
    conversation.stop()
    assert [ended.stop_reason for ended in await asyncio.gather(*waiting)] == ["cancelled"] * 3
    assert agent.errands == []
    assert (await conversation.prompt("four", "four")).stop_reason == "end_turn"


async def test_the_past_is_told_with_the_words_of_the_user() -> None:
    conversation, editor = begun(FakeAgent([]))
    await conversation.tell(UserSaid("hello", ThinkRequest.AUTO))
    (said,) = editor.updates
    assert isinstance(said, schema.UserMessageChunk)


async def test_an_option_that_was_never_offered_is_a_no() -> None:
    agent = FakeAgent(step(1, Mode.OFF, "", calls=[*call(1, "edit", "edit_file", "edit", "")[:1], ask_edit(1)]))
    conversation, editor = begun(agent)
    editor.choice.set_result("of course")
    await conversation.prompt("mend it", "mend it")
    assert [decision for _, decision, _ in agent.decisions] == ["no"]


def test_commit_alone_asks_the_model_for_a_message() -> None:
    agent = FakeAgent([])
    assert events_of(agent, "/commit") is None
    assert "commit message" in message_for("/commit").lower()
    assert events_of(agent, "/commit Mend the sum") is not None
    with pytest.raises(UserError, match="/restore STEP"):
        events_of(agent, "/restore")


def test_a_move_names_both_files() -> None:
    assert places({"path": "a.py", "new_path": "lib/a.py"}, Path("/repo")) == ["/repo/a.py", "/repo/lib/a.py"]


def test_a_session_has_the_name_that_the_user_gave_it() -> None:
    row = SessionSummary("id", "2026-11-01T00:00:00+00:00", "/repo", "kat", "mend it", 1, name="the cut")
    assert _info(row).title == "the cut"


async def test_an_editor_that_goes_ends_the_run() -> None:
    conversation, editor = begun(FakeAgent([*step(1, Mode.OFF, ""), Gate()]))
    asking = asyncio.ensure_future(conversation.prompt("one", "one"))
    await until(lambda: editor.updates)
    asking.cancel()  # as the library does with what it awaits
    async with asyncio.timeout(2):
        await conversation.aclose()
    assert conversation.agent.stops
    assert conversation.agent.closed


async def test_a_connection_that_breaks_ends_the_run() -> None:
    class Gone(Editor):
        async def session_update(self, session_id: str, update: object) -> None:
            raise ConnectionError("Connection closed")

    agent = FakeAgent([*step(1, Mode.OFF, "judged"), Gate()])
    with pytest.raises(ConnectionError):
        await Conversation(agent, Path("/repo"), ThinkRequest.AUTO, Gone()).prompt("one", "one")
    assert not agent.steer("two")  # nothing runs
