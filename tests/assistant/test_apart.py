"""Native code runs in a process that may die without harm."""

import os
import signal
import time

import pytest

from assistant.apart import Apart


@pytest.fixture
def apart():
    made = Apart()
    yield made
    made.close()


def test_a_call_and_its_answer(apart):
    assert apart.call("shell", "ls | wc") == [[[["ls"], [], []], [["wc"], [], []]], ""]
    assert apart.call("syntax", "a.py", "def f(:\n") == 1
    assert apart.call("shell", "a \ud800")[1]


def test_a_call_that_kills_the_process_has_no_answer(apart):
    assert apart.call("no such call") is None
    assert apart.call("shell", "ls")[0]


def test_a_process_that_died_meanwhile_is_started_again(apart):
    apart.call("shell", "ls")
    os.kill(apart._process.pid, signal.SIGSEGV)
    time.sleep(0.1)
    assert apart.call("shell", "ls")[0]


def test_the_process_ends_with_its_owner(apart):
    apart.call("shell", "ls")
    process = apart._process
    process.stdin.close()
    assert process.wait(5) == 0


def test_no_file_of_the_current_folder_is_imported(apart, tmp_path, monkeypatch):
    for name in ("json", "selectors", "sitecustomize", "tree_sitter_bash"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend("")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert apart.call("shell", "ls")[0]
    assert not (tmp_path / "ran").exists()
