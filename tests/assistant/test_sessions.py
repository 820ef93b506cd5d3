"""The journal and what is kept of sessions: nothing that is in it is lost."""

import errno
import json
import multiprocessing
import os
import resource
import signal
import sqlite3
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assistant.errors import UserError
from assistant.records import StepRecord
from assistant.sessions import Journal, age, find, fork, prunable, read, remove, summaries, unfinished
from assistant.sessions.index import listed
from assistant.sessions.journal import is_open
from model.engine import EngineInfo
from model.format import Mode, ThinkRequest

INFO = EngineInfo("embedded", "nano", "kat", 8192, "asked for")
FORK = multiprocessing.get_context("fork")


@pytest.fixture
def journal(tmp_path):
    journal = Journal.create(tmp_path / "sessions", tmp_path, INFO)
    yield journal
    journal.close()


def make(directory, *texts, steps=0, repository="/r"):
    """A session that is closed, and its path."""
    journal = Journal.create(directory, repository, INFO)
    for text in texts:
        journal.append("user", text=text)
    for index in range(1, steps + 1):
        journal.append("reply", step=index, cut=None, judge="", mode="off", think="", answer=f"a{index}", calls=[])
        journal.step(StepRecord(index, ThinkRequest.AUTO, "model", "", Mode.OFF, forced=False))
    journal.close()
    return journal.path


def test_records_come_back_in_order_and_numbered(journal):
    journal.append("user", text="grüße <|im_end|>")
    journal.step(StepRecord(0, ThinkRequest.AUTO, "model", "easy", Mode.OFF, forced=False))
    records = list(read(journal.path))
    assert [r["kind"] for r in records] == ["session", "user", "step"]
    assert [r["n"] for r in records] == [1, 2, 3]
    assert records[1]["text"] == "grüße <|im_end|>"
    assert records[2]["record"]["mode"] == "off"
    assert records[0]["engine"]["model"] == "nano"


def test_sessions_of_one_second_are_listed_the_latest_first(tmp_path):
    begun = []
    for _ in range(40):
        journal = Journal.create(tmp_path, tmp_path, INFO)
        journal.close()
        begun.append(journal.session)
    assert [session.id for session in summaries(tmp_path)] == begun[::-1]


def test_only_the_user_may_read_it(tmp_path):
    (tmp_path / "sessions").mkdir(mode=0o755)
    path = make(tmp_path / "sessions", "hi")
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    path.chmod(0o644)
    Journal.reopen(path).close()
    assert path.stat().st_mode & 0o777 == 0o600


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data(), junk=st.binary(max_size=12))
def test_a_journal_torn_anywhere_goes_on_behind_its_last_record(tmp_path, data, junk):
    path = make(tmp_path / "sessions", "first", "zweite Zeile: äöü", "third")
    whole = path.read_bytes()
    cut = data.draw(st.integers(len(whole.splitlines(keepends=True)[0]), len(whole)))
    kept = [json.loads(line) for line in whole[:cut].split(b"\n")[:-1]]
    path.write_bytes(whole[:cut] + junk.replace(b"\n", b""))
    journal = Journal.reopen(path)
    journal.append("user", text="after")
    journal.close()
    records = list(read(path))
    assert records[:-1] == kept
    assert records[-1]["text"] == "after"
    assert records[-1]["n"] == kept[-1]["n"] + 1
    path.unlink()


def test_a_last_line_that_is_no_json_is_cut(tmp_path):
    path = make(tmp_path / "s", "first")
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"kind": "user", "te\x00\x00\n')
    Journal.reopen(path).close()
    assert path.read_bytes() == whole


def test_a_line_that_is_no_json_does_not_hide_the_rest(journal):
    journal.append("user", text="first")
    with journal.path.open("ab") as file:
        file.write(b"\xff\xfe garbage\n[1]\n")
    journal.append("user", text="second")
    assert [r["text"] for r in read(journal.path) if r["kind"] == "user"] == ["first", "second"]


def test_journals_from_before_numbers_go_on(tmp_path):
    path = make(tmp_path / "s", "a", "b")
    old = [{name: value for name, value in record.items() if name != "n"} for record in read(path)]
    path.write_text("".join(json.dumps(record) + "\n" for record in old))
    journal = Journal.reopen(path)
    journal.append("user", text="c")
    journal.close()
    assert [record.get("n") for record in read(path)] == [None, None, None, 4]


def test_a_file_that_somebody_cuts_meanwhile_loses_nothing_that_comes_later(journal):
    journal.append("user", text="first")
    journal.append("user", text="second")
    os.truncate(journal.path, journal.path.stat().st_size - 9)
    journal.append("user", text="third")
    assert [r["text"] for r in read(journal.path) if r["kind"] == "user"] == ["first", "third"]


def test_a_journal_that_somebody_removes_is_said(journal):
    journal.path.unlink()
    with pytest.raises(OSError, match="removed"):
        journal.append("user", text="lost?")


def test_the_order_does_not_depend_on_the_clock(tmp_path):
    path = make(tmp_path / "s", "a", "b")
    records = list(read(path))
    records[1]["time"], records[2]["time"] = "2031-01-01T00:00:00.000+00:00", "1999-01-01T00:00:00.000+00:00"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    journal = Journal.reopen(path)
    journal.append("user", text="c")
    journal.close()
    assert [record["n"] for record in read(path)] == [1, 2, 3, 4]
    assert [record["text"] for record in read(path) if record["kind"] == "user"] == ["a", "b", "c"]


def _fill(path, limit, pipe):
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    journal = Journal.reopen(path)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    written = 0
    try:
        for number in range(10_000):
            journal.append("user", sync=True, text="x" * 500, number=number)
            written += 1
    except OSError as error:
        pipe.send((written, error.errno, error.filename))
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        journal.append("user", text="small")  # fits where the large one did not
        pipe.send("fits")
    except OSError:
        pipe.send("full")


@pytest.mark.parametrize("room", [1500, 5001, 7777])
def test_a_full_disk_tears_no_record(tmp_path, room):
    path = make(tmp_path / "s", "first")
    ours, theirs = FORK.Pipe()
    process = FORK.Process(target=_fill, args=(path, path.stat().st_size + room, theirs))
    process.start()
    written, number, name = ours.recv()
    fits = ours.recv()
    process.join()
    assert number == errno.EFBIG
    assert name == str(path)
    assert path.read_bytes().endswith(b"\n")
    records = list(read(path))
    assert [record["n"] for record in records] == list(range(1, len(records) + 1))
    assert len(records) == 2 + written + (fits == "fits")


def test_one_writer_at_a_time(journal):
    with pytest.raises(UserError, match="is open in another"):
        Journal.reopen(journal.path)


def _hold(path, pipe):
    journal = Journal.reopen(path)
    pipe.send("open")
    pipe.recv()
    journal.append("user", text="mine")
    journal.close()


def test_two_processes_on_one_session(tmp_path):
    path = make(tmp_path / "s", "first")
    ours, theirs = FORK.Pipe()
    other = FORK.Process(target=_hold, args=(path, theirs))
    other.start()
    assert ours.recv() == "open"
    assert is_open(path)
    with pytest.raises(UserError, match="open in another KAT Pilot"):
        Journal.reopen(path)
    with pytest.raises(UserError, match="open in another KAT Pilot"):
        remove(path)
    assert prunable(path.parent, None, 0) == []
    ours.send("go")
    other.join()
    journal = Journal.reopen(path)
    journal.append("user", text="yours")
    journal.close()
    assert [record["n"] for record in read(path)] == [1, 2, 3, 4]


def test_intents_without_a_result_are_unfinished(journal):
    journal.append("intent", id="0.1", tool="read_file", arguments={})
    journal.append("result", id="0.1", outcome="ok", summary="", output="")
    journal.append("intent", id="1.1", tool="run_command", arguments={})
    assert [r["id"] for r in unfinished(read(journal.path))] == ["1.1"]


def test_sessions_are_found_by_the_beginning_of_their_id_and_as_the_last(tmp_path):
    directory = tmp_path / "sessions"
    first = make(directory, "fix\nthe test")
    assert find(directory, first.stem[:12]) == first
    assert summaries(directory)[0].first_words == "fix the test"
    with pytest.raises(UserError, match="no session 'x'"):
        find(directory, "x")
    second = make(directory, "other")
    os.utime(first, ns=(2**62, 2**62))
    assert find(directory, "last") == first
    os.utime(first, ns=(1, 1))
    assert find(directory, "last") == second
    with pytest.raises(UserError, match="2 sessions begin with"):
        find(directory, "2")
    with pytest.raises(UserError, match="no session"):
        find(tmp_path / "none", "last")


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        Journal.create(tmp_path / "file" / "sessions", tmp_path, INFO)


def test_a_fork_has_the_past_up_to_a_step_and_leaves_its_parent_alone(tmp_path):
    path = make(tmp_path, "go", steps=3)
    whole = path.read_bytes()
    forked = fork(tmp_path, path, 2)
    records = list(read(forked))
    assert records[0]["parent"] == path.stem
    assert [r["record"]["index"] for r in records if r["kind"] == "step"] == [1, 2]
    assert [r["n"] for r in records] == list(range(1, len(records) + 1))
    assert len([r for r in read(fork(tmp_path, path, None)) if r["kind"] == "step"]) == 3
    assert path.read_bytes() == whole
    with pytest.raises(UserError, match="no step 9; the session has 1 to 3"):
        fork(tmp_path, path, 9)


def test_pruning_goes_by_age_and_keeps_the_latest(tmp_path):
    now = datetime.now(UTC)
    paths = [make(tmp_path, f"s{n}") for n in range(5)]
    for days, path in zip((1, 20, 40, 60, 80), paths, strict=True):
        stamp = (now - timedelta(days=days)).timestamp()
        os.utime(path, (stamp, stamp))
    assert set(prunable(tmp_path, age("30d"), 0, now)) == set(paths[2:])
    assert set(prunable(tmp_path, age("30d"), 3, now)) == set(paths[3:])
    assert set(prunable(tmp_path, age("3w"), 0, now)) == set(paths[2:])
    with pytest.raises(UserError, match="12h, 30d or 8w"):
        age("soon")


def test_the_index_follows_the_journals(tmp_path):
    first, second = make(tmp_path, "mend the parser", steps=2), make(tmp_path, "write docs", repository="/other")
    assert [row.id for row in listed(tmp_path)] == sorted([first.stem, second.stem], reverse=True)
    assert listed(tmp_path) == summaries(tmp_path)
    assert [row.id for row in listed(tmp_path, "pars mend")] == [first.stem]
    assert listed(tmp_path, "parser docs") == []
    assert [row.id for row in listed(tmp_path, repository="/other")] == [second.stem]
    journal = Journal.reopen(second)
    journal.append("user", text="und die Prüfung 测试")
    journal.close()
    assert [row.id for row in listed(tmp_path, "prüf")] == [second.stem]
    assert [row.id for row in listed(tmp_path, "测试")] == [second.stem]
    remove(first)
    assert [row.id for row in listed(tmp_path)] == [second.stem]


def test_words_of_a_search_are_words_and_no_language(tmp_path):
    make(tmp_path, 'a "quoted" NEAR text')
    for hostile in ('"', "AND", "text*", "a OR b", "words:text", "x' OR 1=1 --", "NEAR(", "%"):
        assert isinstance(listed(tmp_path, hostile), list)
    assert len(listed(tmp_path, "near")) == 1


@pytest.mark.parametrize("damage", [b"", b"no database at all" * 100, None, "torn", "old"])
def test_an_index_that_is_damaged_or_gone_is_made_again(tmp_path, damage):
    make(tmp_path, "mend the parser")
    rows = listed(tmp_path)
    index = tmp_path / "index.sqlite"
    assert index.stat().st_mode & 0o777 == 0o600
    match damage:
        case None:
            index.unlink()
        case "torn":
            data = bytearray(index.read_bytes())
            data[100 : len(data) // 2] = os.urandom(len(data) // 2 - 100)
            index.write_bytes(data)
        case "old":
            with sqlite3.connect(index) as base:
                base.execute("DROP TABLE sessions")
        case _:
            index.write_bytes(damage)
    assert listed(tmp_path) == rows
    assert listed(tmp_path, "parser") == rows


def test_an_index_that_cannot_be_written_is_done_without(tmp_path):
    make(tmp_path, "mend the parser")
    (tmp_path / "index.sqlite").mkdir()
    assert len(listed(tmp_path, "parser")) == 1
    assert listed(tmp_path / "none") == []


def test_only_changed_journals_are_read(tmp_path):
    first, second = make(tmp_path, "one"), make(tmp_path, "two")
    listed(tmp_path)
    stamp = first.stat().st_mtime_ns
    first.write_bytes(first.read_bytes().replace(b"one", b"uno"))
    os.utime(first, ns=(stamp, stamp))
    make(tmp_path, "three")
    assert sorted(row.first_words for row in listed(tmp_path)) == ["one", "three", "two"]
    os.utime(first, ns=(stamp + 1, stamp + 1))
    assert sorted(row.first_words for row in listed(tmp_path)) == ["three", "two", "uno"]
    assert second.exists()


def _list_often(directory, pipe):
    pipe.send([len(listed(directory)) for _ in range(20)])


def test_two_processes_may_list_while_a_third_writes(tmp_path):
    make(tmp_path, "one")
    pipes = [FORK.Pipe() for _ in range(2)]
    readers = [FORK.Process(target=_list_often, args=(tmp_path, theirs)) for _, theirs in pipes]
    for reader in readers:
        reader.start()
    for number in range(10):
        make(tmp_path, str(number))
    counts = [ours.recv() for ours, _ in pipes]
    for reader in readers:
        reader.join()
    assert all(found == sorted(found) for found in counts)
    assert len(listed(tmp_path)) == 11


def _write_for_ever(directory, pipe):
    journal = Journal.create(directory, directory, INFO)
    for number in range(10**9):
        journal.append("user", sync=number % 7 == 0, text="x" * (number % 900), number=number)
        pipe.send(number)


def test_kill_9_loses_no_record_that_was_written(tmp_path):
    ours, theirs = FORK.Pipe()
    writer = FORK.Process(target=_write_for_ever, args=(tmp_path / "s", theirs))
    writer.start()
    last = max(ours.recv() for _ in range(300))
    os.kill(writer.pid, signal.SIGKILL)
    writer.join()
    (path,) = (tmp_path / "s").glob("*.jsonl")
    numbers = [r["number"] for r in read(path) if r["kind"] == "user"]
    assert numbers == list(range(len(numbers)))
    assert numbers[-1] >= last
    assert json.loads(path.read_bytes().splitlines()[0])["kind"] == "session"
