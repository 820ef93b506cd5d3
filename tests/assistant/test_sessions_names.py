"""Names of sessions, and how the records of this and that are told again."""

from dataclasses import asdict

import pytest

from assistant.errors import UserError
from assistant.events import (
    Compacted,
    Forked,
    Intervened,
    Notice,
    PlanChanged,
    QuestionAnswered,
    QuestionAsked,
    StepFinished,
    UserSaid,
)
from assistant.records import Branch, Intervention, PlanItem, StepRecord
from assistant.sessions import Journal, find, fork, read, rename, summaries
from assistant.sessions.export import as_markdown
from assistant.sessions.index import listed
from assistant.sessions.replay import events, transcript, whole_output
from model.engine import EngineInfo
from model.format import Mode, ThinkRequest

INFO = EngineInfo("test", "test-model", "kat")


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "sessions"


@pytest.fixture
def made(folder, tmp_path):
    """Makes a session that is closed again."""

    def make(*records):
        journal = Journal.create(folder, tmp_path, INFO)
        for kind, fields in records:
            journal.append(kind, **fields)
        journal.close()
        return journal.path

    return make


def test_a_session_is_found_by_its_name_until_it_has_another(folder, made):
    path, other = made(("user", {"text": "go"})), made()
    assert rename(path, "  the  parser ") == "the parser"
    assert find(folder, "the parser") == path
    assert [row.name for row in listed(folder)] == [row.name for row in summaries(folder)]
    assert {row.id: row.name for row in listed(folder)} == {path.stem: "the parser", other.stem: ""}
    assert [row.id for row in listed(folder, "parser")] == [path.stem]
    rename(path, "42")
    assert find(folder, "42") == path
    with pytest.raises(UserError, match="no session 'the parser'"):
        find(folder, "the parser")
    rename(path, "")
    assert [row.name for row in listed(folder)] == ["", ""]
    assert find(folder, path.stem) == path


def test_two_of_one_name_are_told_apart_by_id(folder, made):
    paths = [made(), made()]
    for path in paths:
        rename(path, "twin")
    with pytest.raises(UserError, match="2 sessions are named 'twin'; give the id of one, like 20"):
        find(folder, "twin")


def test_a_name_cannot_hide_an_id(folder, made):
    path, other = made(), made()
    for name in ("last", other.stem, other.stem[:8], "2026", "x" * 81, "a\x1b[2J", "a\u202eb"):
        with pytest.raises(UserError):
            rename(path, name)
    assert [row.name for row in listed(folder)] == ["", ""]


def test_an_open_session_is_not_renamed_by_another_process(folder, tmp_path):
    journal = Journal.create(folder, tmp_path, INFO)
    with pytest.raises(UserError, match="is open in another"):
        rename(journal.path, "mine")
    journal.close()


def test_a_fork_has_no_name(folder, made):
    path = made(("user", {"text": "go"}))
    rename(path, "first")
    assert {row.id: row.name for row in listed(folder)} | {fork(folder, path, None).stem: ""} == {
        row.id: row.name for row in listed(folder)
    }


def record_of(index, **fields):
    return StepRecord(index, ThinkRequest.OFF, "pinned", "", Mode.OFF, forced=True, sent=ThinkRequest.OFF, **fields)


def reply(step):
    fields = {"judge": "", "mode": "off", "think": "", "answer": "So.", "calls": [], "cut": None}
    return "reply", {"step": step, **fields}


def test_what_happened_besides_is_told_again(made):
    stepped = Intervention("think_budget", 12)
    original, other = (Branch(record_of(1), "thought", "answer", ("out",), "patch") for _ in range(2))
    told = Compacted(900, 400, exact=True, summary="All of it.")
    path = made(
        ("user", {"text": "go", "think": "on"}),
        reply(1),
        ("step", {"record": asdict(record_of(1, interventions=(stepped,)))}),
        ("steer", {"text": "faster"}),
        ("plan", {"items": [{"text": "a", "state": "doing"}]}),
        ("question", {"id": "2.1", "question": "Which?", "answer": "That."}),
        ("note", {"text": "[a note]"}),
        ("fork", {"step": 1, "original": asdict(original), "other": asdict(other)}),
        ("preference", {"step": 1, "choice": "other"}),
        ("compacted", {"before": 900, "after": 400, "exact": True, "summary": "All of it.", "turns": []}),
        reply(2),
    )
    found = list(events(read(path)))
    for event in (
        UserSaid("go", ThinkRequest.ON),
        Intervened(1, stepped),
        UserSaid("faster", ThinkRequest.ON),
        PlanChanged((PlanItem("a", "doing"),)),
        QuestionAsked(2, "2.1", "Which?"),
        QuestionAnswered(2, "2.1", "That."),
        Forked(1, original, other),
        Notice("info", "You liked the other branch of step 1 better."),
        told,
    ):
        assert event in found
    assert next(e for e in found if isinstance(e, StepFinished)).record.obeyed
    markdown = as_markdown(list(read(path)))
    for words in ("> faster", "- [ ] a", "**Which?**", "> That.", "900 to 400 tokens", "All of it."):
        assert words in markdown


def test_the_model_sees_what_was_steered_and_noted_where_it_was(made):
    result = {"id": "1.1", "outcome": "ok", "summary": "", "output": "head … tail", "whole": "head and tail"}
    kind, fields = reply(1)
    fields = fields | {"calls": [{"name": "search", "arguments": {"pattern": "x"}, "raw": "", "error": None}]}
    path = made(("user", {"text": "go"}), (kind, fields), ("result", result), ("note", {"text": "[n]"}),
                ("steer", {"text": "faster"}), reply(2))  # fmt: skip
    found = transcript(read(path), "s", "Look: {message}")
    assert [(turn.kind, turn.message.content) for turn in found.turns] == [
        ("user", "Look: go"), ("reply", "So."), ("result", "head … tail"), ("note", "[n]"), ("steer", "faster"),
        ("reply", "So."),
    ]  # fmt: skip
    assert found.turns[2].call == "1.1"
    assert whole_output(path, "1.1") == "head and tail"
    assert whole_output(path, "1.2") is None
