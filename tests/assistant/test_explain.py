"""`kat explain`: a step and its branches, from the journal."""

import json
import shutil

import pytest

from assistant.commands.registry import run
from assistant.explaining import explain
from assistant.records import StepRecord
from assistant.sessions import Journal, read
from model.engine import EngineInfo
from model.engines.scripted import ScriptedServer
from model.format import Mode, ThinkRequest
from tests.e2e.conftest import make_repository, reply, snapshot

READ = ("read_file", {"path": "a.py"})
EDIT = ("edit_file", {"path": "a.py", "old": "x = 1", "new": "x = 5"})
FORKED = {"reply": reply("Otherwise.", EDIT, think="A thought."), "match": "The user wants to see this step"}
SCRIPT = [
    {"reply": reply("I look.", READ, judge="It is \x1b[31msimple [bold].")},
    {"reply": reply("", EDIT, think="line\n" * 40)},
    {"reply": reply("Done.")},
]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A session of three steps, made once: where it is kept, the repository, and the prompts that were sent."""
    home = tmp_path_factory.mktemp("home")
    root = make_repository(home / "repo", {"a.py": "x = 1\ny = 2\n"})
    with ScriptedServer(SCRIPT) as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("KAT_STATE", str(home / "state"))
        patch.setenv("KAT_CONFIG", str(home / "config"))
        assert run(["ask", "set x to 5", "--repo", str(root), "--engine", server.url, "--allow", "all"]) == 0
    return home / "state", root, [request["prompt"] for request in server.requests]


@pytest.fixture
def place(made, tmp_path, monkeypatch):
    """A copy of the session, and its repository."""
    state, root, _ = made
    shutil.copytree(state, tmp_path / "state")
    monkeypatch.setenv("KAT_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("KAT_CONFIG", str(tmp_path / "config"))
    return root


@pytest.fixture
def server():
    """Answers a forked step."""
    with ScriptedServer([FORKED]) as server:
        yield server


def told(capsys, *arguments, code=0):
    capsys.readouterr()
    assert run(["explain", *arguments]) == code
    return capsys.readouterr()


def test_the_prompt_is_rebuilt_byte_by_byte(made, place, capsys, tmp_path):
    (path,) = (tmp_path / "state/sessions").glob("*.jsonl")
    for step, sent in enumerate(made[2], 1):
        found = explain(path.stem, list(read(path)), step)
        assert found.prompt.text == sent
        assert found.record.tokens.prompt > 0
        shown = json.loads(told(capsys, str(step), "--json").out)["prompt"]
        assert [message["content"] for message in shown["messages"]] == [each.content for each in found.prompt.messages]


def test_a_step_is_told_with_all_that_decided_it(place, capsys):
    text = told(capsys, "1").out
    assert "\x1b" not in text
    for words in (
        "decided by model",
        "The model judges for itself.",
        "wanted auto, sent auto, came back off",
        "It is simple [bold].",
        "prefill",
        "read_file ok",
        "x = 1",
        "I look.",
        "Prompt: 2 messages",
    ):
        assert words in " ".join(text.split())
    thought = told(capsys, "2").out
    assert "28 lines; --whole shows them" in thought
    assert told(capsys, "2", "--whole").out.count("line\n") == 40
    assert "+x = 5" in thought


def test_both_branches_and_the_choice_are_told_once_it_was_forked(place, server, capsys):
    before = snapshot(place)
    said = told(capsys, "1", "--fork", "on", "--engine", server.url)
    assert "Running step 1 again with thinking on" in said.err
    assert "A thought." in said.out
    assert snapshot(place) == before
    assert "No branch is preferred yet" in told(capsys, "1").out
    assert "the other (think on) branch is better" in told(capsys, "1", "--prefer", "other").err
    text = told(capsys, "1").out
    assert "Step 1 in both modes" in text
    assert "The other branch is liked better." in text
    assert "+x = 5" in text
    found = json.loads(told(capsys, "1", "--json").out)
    assert found["forked"]["other"]["record"]["mode"] == "on"
    assert found["preferred"] == "other"


def test_a_fork_as_json_is_events(place, server, capsys):
    lines = [
        json.loads(line)
        for line in told(capsys, "1", "--fork", "on", "--engine", server.url, "--json").out.splitlines()
    ]
    assert [line["kind"] for line in lines] == ["notice", "forked"]
    assert lines[-1]["other"]["patch"].count("+x = 5") == 1


@pytest.mark.parametrize(
    ("arguments", "words", "code"),
    [
        (["9"], "has 1 to 3", 2),
        (["1", "--session", "nope"], "there is no session 'nope'", 2),
        (["0"], "there is no step 0", 2),
        (["1", "--fork", "on", "--prefer", "other"], "look at the branches first", 2),
        (["1", "--prefer", "other"], "fork it first", 1),
        (["1", "--fork", "maybe"], "maybe", 2),
        (["1", "--fork", "on", "--engine", "ftp://x"], "is no engine", 2),
    ],
)
def test_bad_input_is_one_line(place, capsys, arguments, words, code):
    said = told(capsys, *arguments, code=code)
    assert words in said.err
    assert said.err.count("\n") == 1
    assert said.out == ""


def test_an_engine_that_is_gone_is_said_and_nothing_is_kept(place, capsys, tmp_path):
    said = told(capsys, "1", "--fork", "on", "--engine", "http://127.0.0.1:9", code=3)
    assert said.err.count("\n") == 1
    (path,) = (tmp_path / "state/sessions").glob("*.jsonl")
    assert not any(record["kind"] == "fork" for record in read(path))


def test_without_any_session_it_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("KAT_STATE", str(tmp_path / "state"))
    assert "there is no session yet" in told(capsys, "1", code=2).err


def test_a_sub_agents_session_is_told_as_it_was_and_belongs_to_the_one_that_asked(tmp_path, monkeypatch, capsys):
    root = make_repository(tmp_path / "repo", {"a.py": "x = 1\n"})
    monkeypatch.setenv("KAT_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("KAT_CONFIG", str(tmp_path / "config"))
    script = [
        {"reply": reply("I look.", READ), "match": "sub-agent of KAT"},
        {"reply": reply("x is 1."), "match": "sub-agent of KAT"},
        {"reply": reply("Somebody looks.", ("spawn", {"task": "what is x?"}))},
        {"reply": reply("It is 1.")},
    ]
    with ScriptedServer(script) as server:
        assert run(["ask", "x?", "--repo", str(root), "--engine", server.url]) == 0
    capsys.readouterr()
    folder = tmp_path / "state/sessions"
    (child,) = (path for path in folder.glob("*.jsonl") if next(read(path)).get("spawned_by"))
    (parent,) = (path for path in folder.glob("*.jsonl") if path != child)
    assert explain(child.stem, list(read(child)), 2).prompt.text == server.requests[2]["prompt"]
    assert run(["sessions", "list", "--json"]) == 0
    assert [row["id"] for row in json.loads(capsys.readouterr().out)] == [parent.stem]
    assert run(["sessions", "list", "--sub-agents", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 2
    child.touch()
    assert run(["stats", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["sessions"], found["total"]["steps"], found["sub_agents"]["steps"]) == ([parent.stem], 2, 2)
    assert run(["ask", "more", "--resume", child.stem, "--engine", server.url]) == 2
    assert f"go on with {parent.stem}" in capsys.readouterr().err
    assert run(["sessions", "rm", parent.stem, "--yes"]) == 0
    assert list(folder.glob("*.jsonl")) == []


def test_what_a_held_call_was_planned_to_change_is_no_change(tmp_path):
    def told(outcome):
        call = [
            {"kind": "intent", "id": "1.1", "tool": "delete_file", "arguments": {}, "diff": "-x = 1\n"},
            {"kind": "result", "id": "1.1", "outcome": outcome, "summary": "", "output": ""},
        ]
        return explain("s", [*records, *call], 1).patch

    journal = Journal.create(tmp_path, tmp_path, EngineInfo("test", "test", "kat"))
    journal.append("reply", step=1, cut=None, why="", judge="", mode="off", think="", answer="", calls=[])
    journal.step(StepRecord(1, ThinkRequest.AUTO, "model", "", Mode.OFF, forced=False))
    journal.close()
    records = list(read(journal.path))
    assert (told("held"), told("denied"), told("ok")) == ("", "", "-x = 1\n")
