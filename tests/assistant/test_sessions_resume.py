"""A session that goes on: the prompt, the past that is shown, and what broke off."""

import itertools
import json
from contextlib import asynccontextmanager

import pytest

from assistant.config import Settings
from assistant.errors import UserError
from assistant.events import (
    CallFinished,
    CallStarted,
    ModeKnown,
    Notice,
    RunFinished,
    RunStatus,
    SegmentText,
    StepFinished,
    StepStarted,
    UserSaid,
)
from assistant.opening import Place, open_pilot
from assistant.sessions import fork, read
from model.engines.http import HttpEngine
from model.engines.scripted import ScriptedServer
from model.format import Segment, ThinkRequest
from tests.e2e.conftest import make_repository, reply

READ = ("read_file", {"path": "a.py"})
WRITE = ("write_file", {"path": "new.py", "content": "n = 1\n"})


@pytest.fixture
def root(tmp_path):
    return make_repository(tmp_path / "repo", {"a.py": "x = 1\ny = 2\n", "README.md": "# A small thing\n"})


@pytest.fixture
def opened(tmp_path, root):
    """Opens a session, new or resumed: `async with opened(server, resumed) as pilot`."""

    @asynccontextmanager
    async def start(server, resumed=None, repository=root, **options):
        environ = {
            "KAT_STATE": str(tmp_path / "state"),
            "KAT_CONFIG": str(tmp_path / "config"),
            "PATH": "/usr/bin:/bin",
        }
        pilot = await open_pilot(
            Place(repository, resumed=resumed, environ=environ),
            HttpEngine(server.url, retries=1, backoff=0.01),
            Settings(**options),
            allow=("all",),
        )
        try:
            yield pilot
        finally:
            await pilot.aclose()

    return start


async def say(pilot, text):
    return [event async for event in pilot.run(text, ThinkRequest.AUTO)]


def journal_of(tmp_path):
    (path,) = (tmp_path / "state/sessions").glob("*.jsonl")
    return path


def cut_behind(path, kind, nth=1):
    """End the journal right behind a record, as if the program had been killed there."""
    lines = path.read_bytes().splitlines(keepends=True)
    places = [n for n, line in enumerate(lines) if json.loads(line)["kind"] == kind]
    path.write_bytes(b"".join(lines[: places[nth - 1] + 1]))


def prompts(server):
    return [request["prompt"].rpartition("<|im_start|>assistant\n")[0] for request in server.requests]


@pytest.mark.parametrize("profile", ["compact", "full"])
async def test_the_prompt_goes_on_byte_by_byte_though_the_files_changed(tmp_path, root, opened, profile):
    lines = [{"reply": reply("I look.", READ, think="hm")}, {"reply": reply("x is 1.")}, {"reply": reply("Again.")}]
    with ScriptedServer(lines) as server:
        async with opened(server, profile=profile) as pilot:
            await say(pilot, "what is x?")
        (root / "another.py").write_text("new")
        (root / "README.md").write_text("# Something else\n")
        async with opened(server, journal_of(tmp_path), profile="full") as pilot:
            events = await say(pilot, "again?")
        assert events[-1].status is RunStatus.DONE
        for before, after in itertools.pairwise(prompts(server)):
            assert after.startswith(before)
        records = list(read(journal_of(tmp_path)))
        assert [r["record"]["index"] for r in records if r["kind"] == "step"] == [1, 2, 3]
        assert [r["n"] for r in records] == list(range(1, len(records) + 1))


async def test_the_past_is_told_as_it_was_told_when_it_happened(tmp_path, opened):
    lines = [{"reply": reply("I look.", READ, think="hm", judge="Hard.")}, {"reply": reply("Done.")}]
    with ScriptedServer(lines) as server:
        async with opened(server) as pilot:
            live = await say(pilot, "go")
        async with opened(server, journal_of(tmp_path)) as pilot:
            history = list(pilot.history)
    assert history[0] == UserSaid("go", ThinkRequest.AUTO)
    for kind in (CallStarted, CallFinished, ModeKnown, StepStarted):
        assert [e for e in history if isinstance(e, kind)] == [e for e in live if isinstance(e, kind)]
    for segment in (Segment.JUDGE, Segment.THINK, Segment.ANSWER):
        then, now = ("".join(e.text for e in events if _is(e, segment)) for events in (live, history))
        assert now == then
    assert [e.record for e in history if isinstance(e, StepFinished)] == [
        e.record for e in live if isinstance(e, StepFinished)
    ]
    assert (history[-1].status, history[-1].tokens) == (live[-1].status, live[-1].tokens)
    assert isinstance(history[-1], RunFinished)


def _is(event, segment):
    return isinstance(event, SegmentText) and event.segment is segment


async def test_a_call_that_broke_off_is_of_unknown_outcome_and_not_run_again(tmp_path, root, opened):
    lines = [{"reply": reply("I write.", WRITE, READ)}, {"reply": reply("Done.")}, {"reply": reply("I looked.")}]
    with ScriptedServer(lines) as server:
        async with opened(server) as pilot:
            await say(pilot, "go")
        path = journal_of(tmp_path)
        cut_behind(path, "intent")
        (root / "new.py").unlink()
        async with opened(server, path) as pilot:
            (notice,) = pilot.notices
            assert notice.level == "warning"
            assert "write_file in step 1 is unknown" in notice.text
            assert [e.outcome for e in pilot.history if isinstance(e, CallFinished)] == ["unknown", "stopped"]
            assert not (root / "new.py").exists()
            await say(pilot, "and?")
            assert not (root / "new.py").exists()
        prompt = server.requests[-1]["prompt"]
        assert prompt.index("outcome of this call is unknown") < prompt.index("was not begun") < prompt.index("and?")
        async with opened(server, path) as pilot:
            assert pilot.notices == ()
            assert len([e for e in pilot.history if isinstance(e, Notice)]) == 1
        outcomes = [(r["id"], r["outcome"]) for r in read(path) if r["kind"] == "result"]
        assert outcomes == [("1.1", "unknown"), ("1.2", "stopped")]


async def test_a_message_that_was_never_answered_is_taken_back(tmp_path, opened):
    with ScriptedServer([{"reply": reply("One.")}, {"reply": reply("Two.")}]) as server:
        async with opened(server) as pilot:
            await say(pilot, "lost words")
        cut_behind(journal_of(tmp_path), "user")
        async with opened(server, journal_of(tmp_path)) as pilot:
            end = [e for e in pilot.history if isinstance(e, RunFinished)]
            assert [e.status for e in end] == [RunStatus.STOPPED]
            await say(pilot, "new words")
        assert "lost words" not in server.requests[-1]["prompt"]


async def test_every_place_to_be_killed_at_leaves_a_session_that_goes_on(tmp_path, opened):
    lines = [{"reply": reply("I look.", READ, READ)}, {"reply": reply("Done.")}, {"reply": reply("More."), "times": 0}]
    with ScriptedServer(lines) as server:
        async with opened(server) as pilot:
            await say(pilot, "go")
        path = journal_of(tmp_path)
        whole = path.read_bytes()
        records = whole.splitlines(keepends=True)
        for count in range(1, len(records) + 1):
            path.write_bytes(b"".join(records[:count]) + records[-1][:20])
            async with opened(server, path) as pilot:
                events = await say(pilot, "more")
            assert events[-1].status is RunStatus.DONE, count
            prompt = server.requests[-1]["prompt"]
            assert prompt.count('"name": "read_file"') - prompt.count("<tool_response>") in (0, 1), count


async def test_another_model_is_said_and_gets_a_prompt_of_its_own(tmp_path, opened):
    with ScriptedServer([{"reply": reply("One.")}]) as server:
        async with opened(server) as pilot:
            await say(pilot, "go")
    with ScriptedServer([{"reply": reply("Two."), "times": 0}], model="other-model") as server:
        async with opened(server, journal_of(tmp_path)) as pilot:
            assert "scripted-kat-v1 so far; it goes on with other-model" in pilot.notices[0].text
            await say(pilot, "more")
        assert "One." in server.requests[-1]["prompt"]
        async with opened(server, journal_of(tmp_path)) as pilot:
            assert pilot.notices == ()


async def test_another_repository_is_refused(tmp_path, opened):
    other = make_repository(tmp_path / "other", {"b.py": ""})
    with ScriptedServer([{"reply": reply("One.")}]) as server:
        async with opened(server) as pilot:
            await say(pilot, "go")
        with pytest.raises(UserError, match=r"belongs to .*repo, not to .*other"):
            async with opened(server, journal_of(tmp_path), repository=other):
                pass
        async with opened(server, journal_of(tmp_path)):
            pass


async def test_undo_reaches_back_behind_a_resume_and_the_model_hears_of_it(tmp_path, root, opened):
    lines = [{"reply": reply("I write.", WRITE)}, {"reply": reply("Done.")}, {"reply": reply("I see."), "times": 0}]
    with ScriptedServer(lines) as server:
        async with opened(server) as pilot:
            await say(pilot, "go")
        assert (root / "new.py").exists()
        async with opened(server, journal_of(tmp_path)) as pilot:
            assert [e async for e in pilot.restore("undo")]
        assert not (root / "new.py").exists()
        async with opened(server, journal_of(tmp_path)) as pilot:
            await say(pilot, "what now?")
        assert "The user used undo meanwhile; it changed new.py." in server.requests[-1]["prompt"]


async def test_what_was_undone_is_told_with_the_next_message_if_one_failed(tmp_path, opened):
    failed = {"status": 400, "body": {"error": {"message": "bad"}}}
    lines = [{"reply": reply("I write.", WRITE)}, {"reply": reply("Done.")}, failed, failed, {"reply": reply("I see.")}]
    with ScriptedServer(lines) as server:
        async with opened(server) as pilot:
            await say(pilot, "go")
            assert [e async for e in pilot.restore("undo")]
            assert (await say(pilot, "what now?"))[-1].status is RunStatus.FAILED
            assert (await say(pilot, "and now?"))[-1].status is RunStatus.FAILED
            assert "The user used undo. Undid step 1: new.py." in server.requests[-1]["prompt"]
        async with opened(server, journal_of(tmp_path)) as pilot:
            assert (await say(pilot, "so?"))[-1].status is RunStatus.DONE
        assert server.requests[-1]["prompt"].count("The user used undo. Undid step 1: new.py.") == 1


async def test_a_fork_goes_on_from_its_step_without_what_came_after(tmp_path, opened):
    lines = [{"reply": reply("First.")}, {"reply": reply("Second.")}, {"reply": reply("Third.")}]
    with ScriptedServer(lines) as server:
        async with opened(server) as pilot:
            await say(pilot, "one")
            await say(pilot, "two")
        path = journal_of(tmp_path)
        forked = fork(path.parent, path, 1)
        async with opened(server, forked) as pilot:
            assert pilot.session == forked.stem != path.stem
            await say(pilot, "three")
        prompt = server.requests[-1]["prompt"]
        assert "First." in prompt
        assert "Second." not in prompt
        assert prompt.startswith(prompts(server)[0])
