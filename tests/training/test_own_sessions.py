"""The user's own sessions: nothing without his leave, only what was kept, and neither secrets nor people."""

import asyncio
import os
import shutil
from pathlib import Path

import pytest

from assistant.config import Settings
from assistant.errors import UserError
from assistant.events import ApprovalAsked, Decision, Forked, StepStarted
from assistant.opening import Place, open_pilot
from assistant.workspace.plain_git import plain_git
from model.format import Mode, ThinkRequest
from training.data.experts.expert import call
from training.data.experts.playing import Expert, Turn
from training.data.flow import places, shards
from training.data.flow.progress import Progress
from training.data.flow.running import Here, run
from training.data.own.outcomes import outcomes
from training.data.schema import Preference, Refused, Sample, Source, as_line
from training.data.sessions import OwnSessions
from training.data.stage import Context

MAIL, KEY = "ada.lovelace@analytical.org", "sk-live-9fK2mQ7xVb4TzR8wLp3N"


def _edit(old, new):
    return call("edit_file", path="a.py", old=old, new=new)


def _script():
    """What the model says in the session below."""
    yield Turn("", (call("read_file", path="a.py"),), judge="A look.")
    yield Turn("Set.", (_edit("x = 1", "x = 2"),), "Two, then.", "A change.", on=True)
    yield Turn("Done.", judge="Over.")
    yield Turn("", (call("read_file", path="a.py"),), judge="A look.")
    yield Turn("", (_edit("x = 1", "x = 3"),), "Three was meant.", "A change.", on=True)
    yield Turn("", (call("run_tests"),), judge="The tests.")
    yield Turn(f"x is 3 now. I wrote to {MAIL}.", judge="Over.")
    yield Turn("", (_edit("y = 1", "y = 5"),), "Five.", "A change.", on=True)
    yield Turn("You said no.", judge="Over.")
    yield Turn("It holds x and y.", judge="Known.")
    yield Turn("It holds x and y, as I read.", think="I read it.", judge="Known.", on=True)


async def _said(pilot, words, steer=""):
    async for event in pilot.run(words, ThinkRequest.AUTO):
        match event:
            case ApprovalAsked(id=asked):
                pilot.decide(asked, Decision.NO if "y = 5" in event.preview else Decision.ONCE)
            case StepStarted() if steer:
                pilot.steer(steer)
                steer = ""
            case _:
                pass


async def _session(root, environ):
    settings = Settings(profile="full", test_command="true")
    pilot = await open_pilot(Place(root, environ=environ), Expert(_script()), settings)
    try:
        await _said(pilot, "Set x.")
        async for _ in pilot.restore("undo"):
            pass
        await _said(pilot, f"No, x is 3. My mail is {MAIL}, the key {KEY}.", steer="Run the tests, too.")
        await _said(pilot, "Set y to 5.")
        await _said(pilot, "What is in a.py?")
        forked = [each async for each in pilot.fork(pilot.records[-1].index, ThinkRequest.AUTO)]
        assert isinstance(forked[-1], Forked), forked
        async for _ in pilot.prefer(pilot.records[-1].index, "other"):
            pass
    finally:
        await pilot.aclose()


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    """A source, and the folder of the journals of one session in it."""
    home = tmp_path_factory.mktemp("own")
    root = home / "things"
    root.mkdir()
    (root / "a.py").write_text("x = 1\ny = 1\n")
    for order in (("init", "--quiet"), ("add", "."), ("commit", "--quiet", "-m", "begin")):
        plain_git(root, *order, failing="no git")
    environ = {"KAT_STATE": str(home / "state"), "KAT_CONFIG": str(home / "config"), "PATH": "/usr/bin:/bin"}
    asyncio.run(_session(root, environ))
    return Source("things", str(root), "", licence="MIT"), home / "state" / "sessions"


@pytest.fixture(scope="module")
def found(session):
    source, journals = session
    stage = OwnSessions(opt_in=True, journals=str(journals))
    return [*stage([source], Context(Path("unused")))]


def test_nothing_is_read_before_the_user_says_so(session, tmp_path, monkeypatch):
    source, journals = session
    monkeypatch.setenv("KAT_CONFIG", str(tmp_path))
    stage = OwnSessions(journals=str(journals))
    with pytest.raises(UserError, match="only used if you say so"):
        next(stage([source], Context(tmp_path)))
    (tmp_path / "config.toml").write_text("own_sessions = true\n")
    assert [*stage([source], Context(tmp_path))]
    (tmp_path / "config.toml").write_text('own_sessions = "yes"\n')
    with pytest.raises(UserError, match="true or false"):
        next(stage([source], Context(tmp_path)))


def test_what_became_of_sessions_is_looked_at_anew_when_it_may_be_another(session, tmp_path, monkeypatch):
    source, journals = session
    copy = Path(shutil.copytree(journals, tmp_path / "journals"))
    monkeypatch.setenv("KAT_CONFIG", str(tmp_path))
    config = tmp_path / "config.toml"

    def made(say="true"):
        config.write_text(f"own_sessions = {say}\n")
        with Path(os.devnull).open("w") as silent:
            shown = Progress("own", out=silent)
            stage = OwnSessions(journals=str(copy))
            return run(stage, [source], tmp_path / "out", Context(tmp_path), engine=Here(), progress=shown)

    first = made()
    assert ([*places.manifests(tmp_path / "out")], made().reused) == (["sample", "preference"], 1)
    plain_git(Path(source.root), "commit", "--quiet", "--allow-empty", "-m", "more", failing="no commit")
    assert (made().reused, made().reused) == (0, 1)
    monkeypatch.setenv("SERVICE_TOKEN", KEY)
    assert (made().reused, made().digest) == (0, first.digest)
    with pytest.raises(UserError, match="only used if you say so"):
        made("false")
    (journal,) = copy.glob("*.jsonl")
    journal.unlink()
    assert (made().written, [*shards.read(Sample, tmp_path / "out")]) == (0, [])


def test_only_the_run_whose_tests_passed_gives_samples(found):
    samples = [each for each in found if isinstance(each, Sample)]
    assert [call.name for each in samples for call in each.calls] == ["read_file", "edit_file", "run_tests"]
    assert samples[1].calls[0].arguments["new"] == "x = 3"
    assert {each.verification.evidence["kept"] for each in samples} == {"tests"}
    assert any(each.provenance.made_by == "own_sessions:correction" for each in samples)
    assert samples[0].tools
    assert samples[0].messages[0].role == "system"


def test_what_was_undone_loses_against_what_was_kept(found):
    (choice,) = (each for each in found if isinstance(each, Preference) and each.provenance.made_by.endswith("undone"))
    assert choice.chosen.calls[0].arguments["new"] == "x = 3"
    assert choice.rejected.calls[0].arguments["new"] == "x = 2"
    assert any("No, x is 3" in message.content for message in choice.messages)


def test_the_branch_that_the_user_chose_is_preferred(found):
    (choice,) = (each for each in found if isinstance(each, Preference) and each.provenance.made_by.endswith("fork"))
    assert (choice.chosen.mode, choice.rejected.mode) == (Mode.ON, Mode.OFF)
    assert choice.chosen.answer == "It holds x and y, as I read."


def test_secrets_people_and_places_are_taken_out(session, found):
    source, _ = session
    text = "\n".join(as_line(each) for each in found)
    assert not [each for each in found if isinstance(each, Refused)]
    for private in (MAIL, KEY, source.root):
        assert private not in text
    assert "@example.com" in text


def _changed(step, path, new):
    return {"kind": "changed", "step": step, "changes": {path: [None, ["100644", new]]}, "doubtful": []}


def test_redone_steps_are_wanted_again_and_commits_tell_what_was_kept():
    records = [{"kind": "user", "text": "Go."}, _changed(1, "a.py", "one"), _changed(2, "b.py", "two")]
    undone = [*records, {"kind": "restored", "target": 0}]
    assert outcomes(undone, {}).undone == {1, 2}
    assert outcomes([*undone, {"kind": "restored", "target": 1}], {}).undone == {2}
    assert outcomes([*undone, _changed(3, "a.py", "new")], {}).undone == {1, 2}
