"""`kat acp` as a process, driven by the protocol library's own client."""

import asyncio
from contextlib import asynccontextmanager

import acp
import pytest
from acp import schema
from acp.schema import AllowedOutcome, DeniedOutcome, RequestPermissionResponse

from tests.e2e.conftest import KAT, environment, reply

EDIT = ("edit_file", {"path": "shop/price.py", "old": " + 1", "new": ""})
PLAN = ("todo", {"items": [{"text": "Mend total", "state": "doing"}, {"text": "Run the tests"}]})


class Editor:
    """What an editor keeps of a session, and how its user answers."""

    def __init__(self):
        self.updates, self.asked, self.answers = [], [], []
        self.seen = asyncio.Condition()

    async def session_update(self, session_id, update, **_):
        async with self.seen:
            self.updates.append(update)
            self.seen.notify_all()

    async def request_permission(self, session_id, tool_call, options, **_):
        async with self.seen:
            self.asked.append((tool_call, options))
            self.seen.notify_all()
        answer = self.answers.pop(0)
        if answer is None:
            await asyncio.Event().wait()
        chosen = AllowedOutcome(outcome="selected", option_id=answer) if answer else DeniedOutcome(outcome="cancelled")
        return RequestPermissionResponse(outcome=chosen)

    def on_connect(self, conn):
        pass

    def of(self, kind):
        return [update for update in self.updates if isinstance(update, kind)]

    def text(self, kind):
        return "".join(update.content.text for update in self.of(kind))

    def messages(self):
        found = {}
        for update in self.of(schema.AgentMessageChunk):
            found[update.message_id] = found.get(update.message_id, "") + update.content.text
        return found

    async def until(self, condition):
        async with self.seen:
            await asyncio.wait_for(self.seen.wait_for(lambda: condition(self)), 20)


@pytest.fixture
def connect(tmp_path, repository):
    """Starts `kat acp` for an editor: `async with connect(server) as (connection, editor)`."""

    @asynccontextmanager
    async def start(engine, *options):
        editor = Editor()
        home = tmp_path / "home"
        async with acp.spawn_agent_process(
            editor,
            *KAT,
            "acp",
            "--engine",
            engine,
            *options,
            env=environment(home),
            use_unstable_protocol=True,
            transport_kwargs={"limit": 1 << 24},
        ) as (connection, process):
            await connection.initialize(protocol_version=acp.PROTOCOL_VERSION)
            yield connection, editor
            process.stdin.close()
            assert await asyncio.wait_for(process.wait(), 10) == 0

    return start


async def ask(connection, session, text):
    return await connection.prompt(session_id=session, prompt=[acp.text_block(text)])


async def test_a_whole_edit_with_a_permission_in_the_editor(connect, repository, serve):
    server = serve(
        {"reply": reply("I mend it.", PLAN, EDIT, think="The sum is one too large.", judge="It needs care.")},
        {"reply": reply("", ("read_file", {"path": "shop/price.py"}))},
        {"reply": reply("Mended.")},
    )
    async with connect(server.url) as (connection, editor):
        opened = await connection.new_session(cwd=str(repository), mcp_servers=[])
        assert [mode.id for mode in opened.modes.available_modes] == ["auto", "on", "off"]
        editor.answers = ["once"]
        ended = await ask(connection, opened.session_id, "Mend the sum")
    assert ended.stop_reason == "end_turn"
    assert ended.usage.output_tokens >= ended.usage.thought_tokens > 0
    assert "+ 1" not in (repository / "shop/price.py").read_text()

    ((call, options),) = editor.asked
    assert [option.kind for option in options] == ["allow_once", "allow_always", "allow_always", "reject_once"]
    diff = next(content for content in call.content if content.type == "diff")
    assert diff.path == str(repository / "shop/price.py")
    assert (" + 1" in diff.old_text, " + 1" in diff.new_text) == (True, False)

    assert "It needs care." in editor.text(schema.AgentThoughtChunk)
    assert "one too large" in editor.text(schema.AgentThoughtChunk)
    assert list(editor.messages().values()) == ["I mend it.", "Mended."]
    (plan,) = editor.of(schema.AgentPlanUpdate)
    assert [(entry.content, entry.status) for entry in plan.entries] == [
        ("Mend total", "in_progress"),
        ("Run the tests", "pending"),
    ]
    started = {update.tool_call_id: update for update in editor.of(schema.ToolCallStart)}
    assert [update.kind for update in started.values()] == ["think", "edit", "read"]
    assert started[call.tool_call_id].locations[0].path == str(repository / "shop/price.py")
    finished = {update.tool_call_id: update.status for update in editor.of(schema.ToolCallProgress)}
    assert set(finished) == set(started)
    assert set(finished.values()) == {"completed"}
    (commands,) = editor.of(schema.AvailableCommandsUpdate)
    assert {"undo", "commit", "review"} <= {command.name for command in commands.available_commands}


async def test_a_session_with_its_modes_its_undo_and_its_return(connect, repository, serve):
    server = serve({"reply": reply("Four.", think="Two and two.")}, {"reply": reply("", EDIT)}, {"reply": reply("So.")})
    before = (repository / "shop/price.py").read_text()
    async with connect(server.url) as (connection, editor):
        session = (await connection.new_session(cwd=str(repository), mcp_servers=[])).session_id
        await connection.set_session_mode(session_id=session, mode_id="on")
        link = acp.resource_link_block("price.py", (repository / "shop/price.py").as_uri())
        await connection.prompt(session_id=session, prompt=[acp.text_block("How much is"), link])
        assert "<think_on>" in server.requests[0]["prompt"].rsplit("<judge>", 1)[1]
        assert "How much is shop/price.py" in server.requests[0]["prompt"]

        await connection.close_session(session_id=session)
        listed = await connection.list_sessions(cwd=str(repository))
        assert [info.session_id for info in listed.sessions] == [session]
        editor.updates.clear()
        await connection.load_session(cwd=str(repository), session_id=session, mcp_servers=[])
        assert "How much is" in editor.text(schema.UserMessageChunk)
        assert "Four." in editor.text(schema.AgentMessageChunk)

        editor.answers = ["session"]
        await ask(connection, session, "Mend it")
        assert "Four." in server.requests[1]["prompt"]
        assert (repository / "shop/price.py").read_text() != before
        await ask(connection, session, "/undo")
        assert (repository / "shop/price.py").read_text() == before
    assert "Undid step" in editor.text(schema.AgentMessageChunk)


async def test_cancel_stops_a_reply_and_a_question_that_nobody_answers(connect, repository, serve):
    server = serve(
        {"reply": reply("slow " * 500), "chunk": 5, "pause": 0.02},
        {"reply": reply("", EDIT)},
        {"reply": reply("", EDIT)},
        {"reply": reply("Well.")},
    )
    async with connect(server.url) as (connection, editor):
        session = (await connection.new_session(cwd=str(repository), mcp_servers=[])).session_id
        running = asyncio.ensure_future(ask(connection, session, "Speak"))
        await editor.until(lambda e: "slow" in e.text(schema.AgentMessageChunk))
        await connection.cancel(session_id=session)
        assert (await running).stop_reason == "cancelled"
        editor.answers = [None, "no"]
        running = asyncio.ensure_future(ask(connection, session, "Mend it"))
        await editor.until(lambda e: e.asked)
        await connection.cancel(session_id=session)
        assert (await asyncio.wait_for(running, 20)).stop_reason == "cancelled"
        await ask(connection, session, "Mend it after all")
    assert "said no" in server.requests[3]["prompt"]
    assert "+ 1" in (repository / "shop/price.py").read_text()


async def test_what_goes_wrong_is_a_sentence(connect, tmp_path, repository, serve):
    server = serve({"status": 401, "body": "no"})
    async with connect(server.url) as (connection, _):
        with pytest.raises(acp.RequestError, match="not an absolute path"):
            await connection.new_session(cwd="shop", mcp_servers=[])
        with pytest.raises(acp.RequestError, match="git"):
            await connection.new_session(cwd=str(tmp_path), mcp_servers=[])
        with pytest.raises(acp.RequestError, match="there is no session"):
            await connection.load_session(cwd=str(repository), session_id="none", mcp_servers=[])
        with pytest.raises(acp.RequestError, match="not open"):
            await ask(connection, "none", "Hello")
        session = (await connection.new_session(cwd=str(repository), mcp_servers=[])).session_id
        with pytest.raises(acp.RequestError, match="cannot take image"):
            await connection.prompt(session_id=session, prompt=[acp.image_block("aGk=", "image/png")])
        with pytest.raises(acp.RequestError, match="no mode"):
            await connection.set_session_mode(session_id=session, mode_id="hard")
        with pytest.raises(acp.RequestError, match="KAT_API_KEY"):
            await ask(connection, session, "Hello")
