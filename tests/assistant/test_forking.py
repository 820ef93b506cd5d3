"""A step run again in the other mode: from the same conversation and files, without a trace in the user's tree."""

import asyncio

import pytest

from assistant.events import Forked, Notice
from assistant.explaining import state_digest
from assistant.forking import tree_before
from assistant.sessions.replay import step_records
from model.format import Mode, ThinkRequest
from model.prompt import Opening, Piece, Prompt
from tests.assistant.conftest import YES
from tests.e2e.conftest import reply, snapshot

AUTO, ON, OFF = ThinkRequest.AUTO, ThinkRequest.ON, ThinkRequest.OFF
READ = ("read_file", {"path": "a.py"})
DONE = {"reply": reply("Done.")}


def edit(old, new, path="a.py"):
    return ("edit_file", {"path": path, "old": old, "new": new})


def other(*calls, think=None, answer="Otherwise."):
    """A line that only a forked step gets: those prompts end with the reason of the fork."""
    return {"reply": reply(answer, *calls, think=think), "match": r"The user wants to see this step[^\n]*\n</judge>"}


async def forked(session, step, think=AUTO):
    """All that is told, and the `Forked` at its end."""
    events = [event async for event in session.pilot.fork(step, think)]
    assert isinstance(events[-1], Forked), events[-1]
    return events


def untouched(session):
    """The user's files, and the git directory beside them."""
    return snapshot(session.root)


async def test_the_other_branch_edits_a_copy_of_the_files_before_the_step(session):
    mine, theirs = edit("x = 1", "x = 5"), edit("x = 1", "x = 7")
    lines = [{"reply": reply("", READ)}, {"reply": reply("Five.", mine)}, DONE]
    async with session(other(theirs, think="Seven is better."), *lines, allow=("all",)) as s:
        await s.say("set x")
        before = untouched(s)
        *notices, end = await forked(s, 2)
        assert untouched(s) == before
        assert "throw-away copy with the files as they were before it" in notices[0].text
        assert (end.original.record.mode, end.other.record.mode) == (Mode.OFF, Mode.ON)
        assert "-x = 1\n+x = 5\n y = 2" in end.original.patch
        assert "-x = 1\n+x = 7\n y = 2" in end.other.patch
        assert (end.other.thought.strip(), end.other.answer) == ("Seven is better.", "Otherwise.")
        assert [call.outcome for call in end.other.record.calls] == ["ok"]
        assert (end.other.record.rule, end.other.record.sent, end.other.record.obeyed) == ("fork", ON, True)


async def test_a_step_that_thought_is_run_without(session):
    lines = [{"reply": reply("Here.", READ, think="Hm.")}, DONE]
    async with session(other(edit("z = 3", "z = 4", "b.py")), *lines, allow=("all",)) as s:
        await s.say("go")
        before = untouched(s)
        *notices, end = await forked(s, 1)
        assert untouched(s) == before
        assert "since this session changed none" in notices[0].text
        assert (end.original.record.mode, end.other.record.mode) == (Mode.ON, Mode.OFF)
        assert end.original.outputs == ("1\tx = 1\n2\ty = 2",)
        assert end.original.patch == ""
        assert "+z = 4" in end.other.patch
        assert end.other.thought == ""


async def test_both_branches_are_asked_the_same_but_for_the_mode(session):
    lines = [{"reply": reply("Look.", READ)}, {"reply": reply("", edit("x = 1", "x = 5"))}, DONE]
    async with session(other(think="t"), *lines, allow=("all",)) as s:
        await s.say("set x")
        await forked(s, 2)
        original, again = s.server.requests[1]["prompt"], s.server.requests[-1]["prompt"]
        assert again.startswith(original)
        assert again.removeprefix(original).endswith("</judge>\n\n<think_on>\n<think>\n")


async def test_later_steps_and_the_users_own_work_are_not_in_the_copy(session):
    made = ("write_file", {"path": "new.py", "content": "n = 1\n"})
    gone = ("delete_file", {"path": "b.py"})
    look = ("run_command", {"command": "cat a.py b.py; ls; mkdir made; echo w > made/w.py"})
    lines = [{"reply": reply("", READ)}, {"reply": reply("", edit("x = 1", "x = 5"))}, {"reply": reply("", made, gone)}]
    async with session(other(look), *lines, DONE, allow=("all",)) as s:
        if not s.pilot.sandbox.contains:
            pytest.skip("no sandbox works here")
        await s.say("go")
        (s.root / "a.py").write_text("mine\n")
        (s.root / "own.txt").write_text("mine\n")
        before = untouched(s)
        end = (await forked(s, 1, OFF))[-1]
        assert untouched(s) == before
        shown = end.other.outputs[0]
        assert "x = 1\ny = 2\nz = 3" in shown
        assert "new.py" not in shown
        assert "own.txt" not in shown
        assert end.other.patch.count("diff --git") == 1
        assert "made/w.py" in end.other.patch


async def test_definitions_are_looked_up_in_the_copy(session):
    made = ("write_file", {"path": "new.py", "content": "def made_later():\n    return 1\n"})
    look = [("symbols", {"symbol": "made_later"}), ("repo_map", {"focus": "made_later"})]
    async with session(other(*look), {"reply": reply("", made)}, DONE, allow=("all",)) as s:
        await s.say("go")
        found, shown = (await forked(s, 1, ON))[-1].other.outputs
        assert "It is not defined in the repository." in found
        assert "made_later" not in shown


async def test_files_that_git_ignores_are_as_the_session_left_them(session):
    first = ("write_file", {"path": "notes.log", "content": "one\n"})
    lines = [{"reply": reply("", first)}, {"reply": reply("", edit("one", "two", "notes.log"))}, DONE]
    async with session(other(edit("one", "three", "notes.log")), *lines, allow=("all",)) as s:
        (s.root / ".gitignore").write_text("*.log\n")
        await s.say("go")
        before = untouched(s)
        end = (await forked(s, 2))[-1]
        assert untouched(s) == before
        assert (s.root / "notes.log").read_text() == "two\n"
        assert "-one\n+two" in end.original.patch
        assert "-one\n+three" in end.other.patch


async def test_what_leaves_the_copy_is_refused_and_nobody_is_asked(session, tmp_path):
    outside = tmp_path / "outside.txt"
    calls = [
        ("run_command", {"command": f"echo out > {outside}"}),
        ("run_command", {"command": "echo in > in.txt; rm b.py", "network": True}),
        ("ask_user", {"question": "May I?"}),
        edit("x = 1", "x = 7"),
    ]
    async with session(other(*calls), {"reply": reply("", READ)}, DONE) as s:
        s.answers = [(YES,)]
        await s.say("go")
        before = untouched(s)
        end = (await forked(s, 1, OFF))[-1]
        assert untouched(s) == before
        assert not outside.exists()
        first, second, third, last = end.other.record.calls
        assert first.outcome in ("failed", "denied", "invalid")
        assert (second.outcome, third.outcome, last.outcome) == ("denied", "failed", "ok")
        assert "in.txt" not in end.other.patch
        assert "+x = 7" in end.other.patch


async def test_the_journal_keeps_both_branches_and_the_choice_with_all_they_need(session):
    async with session(other(think="t"), {"reply": reply("One.", READ)}, DONE) as s:
        await s.say("go")
        end = (await forked(s, 1))[-1]
        said = [event async for event in s.pilot.prefer(1, "other")]
        assert [event.level for event in said] == ["info"]
        fork, preference = [each for each in s.journal if each["kind"] in ("fork", "preference")]
        assert (fork["step"], fork["think"], preference["choice"], preference["fork"]) == (1, "on", "other", fork["n"])
        assert preference["state_sha256"] == fork["state_sha256"] == state_of(s, 0)
        for kept in (fork, preference):
            assert kept["original"]["answer"] == end.original.answer == "One."
            assert kept["other"]["thought"] == end.other.thought
            assert kept["other"]["record"]["mode"] == "on"
            assert kept["model"] == kept["original_model"] == "scripted-kat-v1"


def state_of(session, request):
    """The digest of what a request of the server asked."""
    text = session.server.requests[request]["prompt"]
    return state_digest(Prompt("kat", (), (), AUTO, Opening(), (Piece(text, True),)))


async def test_a_fork_leaves_the_conversation_as_it_was(session):
    lines = [{"reply": reply("Look.", READ)}, {"reply": reply("Done.")}, {"reply": reply("Again.")}]
    async with session(other(think="SECRET", answer="ELSEWHERE"), *lines) as s:
        await s.say("go")
        await forked(s, 1)
        end = await s.say("and now?")
        assert end.steps == 1
        assert s.steps[0].index == 3
        prompt = s.server.requests[-1]["prompt"]
        assert "ELSEWHERE" not in prompt
        assert prompt.startswith(s.server.requests[1]["prompt"].rpartition("<|im_start|>assistant\n")[0])


async def test_undo_after_a_fork_takes_back_the_users_steps_only(session):
    lines = [{"reply": reply("", edit("x = 1", "x = 5"))}, DONE]
    async with session(other(edit("y = 2", "y = 9")), *lines, allow=("all",)) as s:
        await s.say("set x")
        await forked(s, 1, OFF)
        _ = [event async for event in s.pilot.restore("undo")]
        assert (s.root / "a.py").read_text() == "x = 1\ny = 2\n"


@pytest.mark.parametrize("step", [0, 9])
async def test_an_unknown_step_is_one_notice(session, step):
    async with session({"reply": reply("", READ)}, DONE) as s:
        await s.say("go")
        (said,) = [event async for event in s.pilot.fork(step, ON)]
        assert (said.level, "has 1 to 2" in said.text) == ("error", True)
        (said,) = [event async for event in s.pilot.prefer(1, "other")]
        assert "fork it first" in said.text


async def test_an_engine_that_refuses_is_one_notice_and_nothing_is_kept(session):
    refuses = {"status": 400, "body": "no", "match": "The user wants to see"}
    async with session(refuses, {"reply": reply("", READ)}, DONE) as s:
        await s.say("go")
        *_, said = [event async for event in s.pilot.fork(1, ON)]
        assert isinstance(said, Notice)
        assert said.level == "error"
        assert not any(each["kind"] == "fork" for each in s.journal)


async def test_a_fork_that_is_stopped_before_the_model_is_asked_says_so(session):
    async with session({"reply": reply("", READ)}, DONE, DONE) as s:
        await s.say("go")
        events = []
        async for event in s.pilot.fork(1, OFF):
            events.append(event)
            s.pilot.stop()
        assert "Stopped" in events[-1].text


async def test_stop_ends_a_fork_at_once(session):
    slow = other(answer="word " * 500) | {"chunk": 5, "pause": 0.01}
    async with session(slow, {"reply": reply("", READ)}, DONE, DONE) as s:
        await s.say("go")
        events = []
        async for event in s.pilot.fork(1, OFF):
            events.append(event)
            if len(events) == 1:
                asyncio.get_running_loop().call_later(0.3, s.pilot.stop)
        assert "Stopped" in events[-1].text
        assert not any(each["kind"] == "fork" for each in s.journal)
        assert (await s.say("go on")).steps == 1


def _step(index, **trees):
    zero = {"prompt": 0, "cached": 0, "judge": 0, "think": 0, "answer": 0}
    data = {
        "index": index,
        "request": "auto",
        "rule": "model",
        "judge": "",
        "mode": "off",
        "forced": False,
        "cut": None,
    }
    record = {**data, "tokens": zero, "seconds": {}, "calls": [], "tree_before": None, "tree_after": None, **trees}
    return [{"kind": "reply", "step": index}, {"kind": "step", "record": record}]


def _changed(step, before, after):
    return {"kind": "changed", "step": step, "tree_before": before, "tree_after": after}


RECORDS = [
    *_step(1),
    {"kind": "reply", "step": 2},
    {"kind": "intent", "id": "2.1", "tree": "a"},
    _changed(2, "a", "b"),
    *_step(2, tree_before="a")[1:],
    *_step(3),
    {"kind": "reply", "step": 4},
    _changed(4, "b2", "c"),
    *_step(4, tree_before="b2")[1:],
    {"kind": "restored", "target": 2},
    *_step(5),
    {"kind": "restored", "target": 0},
    *_step(6),
]


@pytest.mark.parametrize(("step", "tree"), [(1, "a"), (2, "a"), (3, "b"), (4, "b2"), (5, "b"), (6, "a")])
def test_the_files_before_a_step(step, tree):
    (record,) = [each for each in step_records(RECORDS) if each.index == step]
    assert tree_before(RECORDS, record) == tree


def test_a_session_that_changed_nothing_has_no_files_of_its_own():
    records = [*_step(1), *_step(2)]
    assert tree_before(records, step_records(records)[1]) is None
