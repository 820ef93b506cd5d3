"""The journal: nothing that is in it is lost."""

import json
import multiprocessing
import os
import signal

import pytest

from assistant.errors import UserError
from assistant.events import StepRecord
from assistant.sessions import Journal, find, read, summaries, unfinished
from model.engine import EngineInfo
from model.format import Mode, ThinkRequest

INFO = EngineInfo("embedded", "nano", "kat", 8192, "asked for")


@pytest.fixture
def journal(tmp_path):
    journal = Journal.create(tmp_path / "sessions", tmp_path, INFO)
    yield journal
    journal.close()


def test_records_come_back_in_order(journal):
    journal.append("user", text="grüße <|im_end|>")
    journal.step(StepRecord(0, ThinkRequest.AUTO, "model", "easy", Mode.OFF, forced=False))
    records = list(read(journal.path))
    assert [r["kind"] for r in records] == ["session", "user", "step"]
    assert records[1]["text"] == "grüße <|im_end|>"
    assert records[2]["record"]["mode"] == "off"
    assert records[0]["engine"]["model"] == "nano"


def test_only_the_user_may_read_it(journal):
    assert journal.path.stat().st_mode & 0o777 == 0o600
    assert journal.path.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("keep", range(1, 40, 3))
def test_a_torn_last_line_is_passed_over(journal, keep):
    journal.append("user", text="first")
    whole = journal.path.read_bytes()
    journal.append("user", text="second")
    torn = journal.path.read_bytes()[: len(whole) + keep]
    journal.path.write_bytes(torn)
    assert [r.get("text") for r in read(journal.path)] == [None, "first"]


def test_a_line_that_is_no_json_does_not_hide_the_rest(journal):
    journal.append("user", text="first")
    with journal.path.open("ab") as file:
        file.write(b"\xff\xfe garbage\n[1]\n")
    journal.append("user", text="second")
    assert [r["text"] for r in read(journal.path) if r["kind"] == "user"] == ["first", "second"]


def test_one_writer_at_a_time(journal):
    with pytest.raises(UserError, match="is open in another"):
        Journal(journal.path, journal.session)


def test_intents_without_a_result_are_unfinished(journal):
    journal.append("intent", id="0.1", tool="read_file", arguments={})
    journal.append("result", id="0.1", outcome="ok", summary="", output="")
    journal.append("intent", id="1.1", tool="run_command", arguments={})
    assert [r["id"] for r in unfinished(list(read(journal.path)))] == ["1.1"]


def test_sessions_are_found_by_the_beginning_of_their_id(journal, tmp_path):
    directory = tmp_path / "sessions"
    journal.append("user", text="fix\nthe test")
    assert find(directory, journal.session[:12]) == journal.path
    assert summaries(directory)[0].first_words == "fix the test"
    with pytest.raises(UserError, match="no session 'x'"):
        find(directory, "x")
    other = Journal.create(directory, tmp_path, INFO)
    other.close()
    with pytest.raises(UserError, match="2 sessions begin with"):
        find(directory, "2")


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        Journal.create(tmp_path / "file" / "sessions", tmp_path, INFO)


def _write_for_ever(directory, pipe):
    journal = Journal.create(directory, directory, INFO)
    for number in range(10**9):
        journal.append("user", sync=number % 7 == 0, text="x" * (number % 900), number=number)
        pipe.send(number)


def test_kill_9_loses_no_record_that_was_written(tmp_path):
    ours, theirs = multiprocessing.Pipe()
    context = multiprocessing.get_context("fork")
    writer = context.Process(target=_write_for_ever, args=(tmp_path / "s", theirs))
    writer.start()
    last = max(ours.recv() for _ in range(300))
    os.kill(writer.pid, signal.SIGKILL)
    writer.join()
    (path,) = (tmp_path / "s").glob("*.jsonl")
    numbers = [r["number"] for r in read(path) if r["kind"] == "user"]
    assert numbers == list(range(len(numbers)))
    assert numbers[-1] >= last
    assert json.loads(path.read_bytes().splitlines()[0])["kind"] == "session"
