"""Undo in a running session: what a step changed goes back, others are asked, the model is told."""

import subprocess

from assistant.events import ApprovalAsked, Decision, Notice, Restored
from tests.e2e.conftest import git, reply

EDIT = reply("I change it.", ("edit_file", {"path": "a.py", "old": "x = 1", "new": "x = 2"}))
COMMAND = reply("I run it.", ("run_command", {"command": "echo made > made.txt; rm b.py"}))
DONE = reply("Done.")


async def restored(session, action, step=0, decision=Decision.ONCE):
    events = []
    async for event in session.pilot.restore(action, step):
        events.append(event)
        if isinstance(event, ApprovalAsked):
            session.pilot.decide(event.id, decision)
    return events


async def test_undo_and_redo_of_an_edit_and_a_command(session):
    async with session({"reply": EDIT}, {"reply": COMMAND}, {"reply": DONE}, {"reply": DONE}, allow=("all",)) as s:
        await s.say("Change it.")
        edit, command, last = s.steps
        assert edit.tree_before is not None
        assert edit.tree_after == command.tree_before != command.tree_after
        assert last.tree_before is None
        assert await restored(s, "undo") == [Restored("undo", 2, ("b.py", "made.txt"))]
        assert (s.root / "b.py").read_text() == "z = 3\n"
        assert not (s.root / "made.txt").exists()
        assert await restored(s, "undo") == [Restored("undo", 1, ("a.py",))]
        assert (s.root / "a.py").read_text() == "x = 1\ny = 2\n"
        assert await restored(s, "redo") == [Restored("redo", 1, ("a.py",))]
        (refusal,) = await restored(s, "restore", 7)
        assert isinstance(refusal, Notice)
        assert "no step 7" in refusal.text
        (changes,) = [event async for event in s.pilot.changes()]
        assert "+x = 2" in changes.patch
        await s.say("Go on.")
        assert "The user used undo. Undid step 1: a.py." in s.server.requests[-1]["prompt"]


async def test_what_the_user_wrote_is_asked_about(session):
    async with session({"reply": EDIT}, {"reply": DONE}, allow=("edit",)) as s:
        await s.say("Change it.")
        (s.root / "a.py").write_text("mine\n")
        asked, _, notice = await restored(s, "undo", decision=Decision.NO)
        assert "a.py" in asked.title
        assert "-mine" in asked.preview
        assert notice.text == "Nothing was changed."
        assert (s.root / "a.py").read_text() == "mine\n"
        *_, done = await restored(s, "undo")
        assert done == Restored("undo", 1, ("a.py",))
        await restored(s, "redo")
        await restored(s, "redo")
        assert (s.root / "a.py").read_text() == "mine\n"


async def test_a_repository_that_a_command_makes_is_named(session):
    make = reply("I clone it.", ("run_command", {"command": "mkdir sub && git init -q sub && touch sub/file"}))
    async with session({"reply": make}, {"reply": DONE}, allow=("command",)) as s:
        await s.say("Make it.")
        (notice,) = s.of(Notice)
        assert notice.text.startswith("sub/ is not kept in snapshots (a repository of its own)")


async def test_nothing_is_changed_where_no_snapshot_can_be_made(session):
    async with session({"reply": EDIT}, {"reply": DONE}, allow=("edit",)) as s:
        (store,) = (s.root.parent / "state/snapshots").iterdir()
        subprocess.run(["rm", "-rf", store], check=True)
        store.write_text("in the way")
        await s.say("Change it.")
        assert "no snapshot could be made" in s.steps[0].calls[0].summary
        assert (s.root / "a.py").read_text() == "x = 1\ny = 2\n"


async def test_commit_takes_what_the_session_changed(session):
    async with session({"reply": EDIT}, {"reply": DONE}, allow=("edit",)) as s:
        await s.say("Change it.")
        (s.root / "b.py").write_text("mine\n")
        git(s.root, "config", "user.name", "A User")
        git(s.root, "config", "user.email", "a@example.org")
        (notice,) = [event async for event in s.pilot.commit("Change x")]
        assert notice.text.startswith("Committed a.py as ")
        assert git(s.root, "status", "--porcelain").split() == ["M", "b.py"]
        (notice,) = [event async for event in s.pilot.commit("")]
        assert (notice.level, notice.text) == ("error", "A commit needs a message.")


async def test_what_the_user_does_while_an_approval_waits_stays(session):
    both = reply(
        "Two.",
        ("run_command", {"command": "echo made > made.txt"}),
        ("edit_file", {"path": "a.py", "old": "x = 1", "new": "x = 2"}),
    )
    async with session({"reply": both}, {"reply": DONE}, allow=("command",)) as s:

        def meanwhile(event):
            if isinstance(event, ApprovalAsked):
                (s.root / "b.py").write_text("mine\n")

        s.answers.append((Decision.ONCE,))
        await s.say("Do both.", on=meanwhile)
        assert await restored(s, "undo") == [Restored("undo", 1, ("a.py", "made.txt"))]
        assert (s.root / "b.py").read_text() == "mine\n"


async def test_what_undo_does_not_keep_is_listed(session):
    async with session({"reply": DONE}) as s:
        (s.root / ".gitignore").write_text("build/\n*.log\n")
        (s.root / "build").mkdir()
        for name in ("build/out", "a.log"):
            (s.root / name).write_text("x")
        git(s.root, "init", "-q", "nested")
        changes, notice = [event async for event in s.pilot.changes()]
        assert changes.patch == ""
        listed = "a.log (ignored by git), build/ (ignored by git), nested/ (a repository of its own)"
        assert notice.text == f"Not kept for undo: {listed}."
