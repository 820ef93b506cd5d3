"""`kat sessions` and `--resume` as processes."""

import json
import os
import shutil
import signal
import subprocess
import time

import pytest

from tests.e2e.conftest import KAT, environment, git, make_repository, reply
from tests.e2e.test_terminal import Terminal

SLOW = ("run_command", {"command": "touch started; sleep 30; touch ended"})


def ids(kat, *arguments):
    return [row["id"] for row in json.loads(kat("sessions", "list", "--json", *arguments).out)]


def one_sentence(outcome, words):
    assert (outcome.code, outcome.out) == (2, "")
    (line,) = outcome.err.splitlines()
    assert line.startswith("kat: ")
    assert words in line


def killed_while(kat, repository, server, *arguments):
    """A `kat ask` that is killed while its command runs."""
    command = [*KAT, "ask", "go", "--repo", str(repository), "--engine", server.url, *arguments]
    process = subprocess.Popen(command, env=environment(kat.home), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    end = time.monotonic() + 60
    while not (repository / "started").exists():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < end
        time.sleep(0.02)
    yield process
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()


def test_after_kill_9_the_session_goes_on_and_nothing_runs_twice(kat, repository, serve):
    server = serve({"reply": reply("I run it.", SLOW)}, {"reply": reply("I looked first."), "times": 0})
    for _ in killed_while(kat, repository, server, "--allow", "all"):
        (session,) = ids(kat)
        for command in (["resume", session], ["rm", session, "--yes"]):
            one_sentence(kat("sessions", *command), "open in another KAT Pilot")
        one_sentence(kat("ask", "more", "--resume", session), "open in another KAT Pilot")
        assert kat("sessions", "prune", "--older-than", "0h", "--json").out == '{"removed": []}\n'
    (repository / "started").unlink()
    outcome = kat("ask", "and now?", "--resume", session, "--engine", server.url)
    assert outcome.code == 0
    assert outcome.out == "I looked first.\n"
    assert "The outcome of run_command in step 1 is unknown" in outcome.err
    assert "outcome of this call is unknown" in server.requests[-1]["prompt"]
    assert not (repository / "started").exists()
    assert not (repository / "ended").exists()
    shown = kat("sessions", "show", session).out
    assert "1.1 unknown: unknown outcome" in shown
    assert ids(kat) == [session]


def test_list_search_fork_export_prune(kat, repository, tmp_path, serve):
    server = serve({"reply": reply("It adds prices.", think="Adding is what it does.")}, {"reply": reply("Two.")})
    other = make_repository(tmp_path / "other", {"a.txt": "x"})
    kat("ask", "What does the parser do?", "--repo", repository, "--engine", server.url)
    kat("ask", "Write the docs", "--repo", other, "--engine", server.url)
    docs, parser = ids(kat)
    assert ids(kat, "pars") == [parser]
    assert ids(kat, "--repo", other) == [docs]
    assert ids(kat, "nothing", "like", "this") == []

    renamed = json.loads(kat("sessions", "rename", docs, "the docs", "--json").out)
    assert renamed == {"id": docs, "name": "the docs"}
    forked = json.loads(kat("sessions", "fork", parser, "--at", "1", "--json").out)["id"]
    assert len(ids(kat)) == 3
    one_sentence(kat("sessions", "fork", "the docs", "--at", "7"), "no step 7")

    target = tmp_path / "talk.md"
    assert kat("sessions", "export", forked, "--output", target).code == 0
    text = target.read_text()
    for part in (f"forked from {parser} behind step 1", "> What does the parser do?", "<details><summary>thinking"):
        assert part in text
    assert target.stat().st_mode & 0o777 == 0o600
    one_sentence(kat("sessions", "export", forked, "--output", target), "is there already")
    lines = kat("sessions", "export", forked, "--format", "jsonl").out.splitlines()
    assert [json.loads(line)["kind"] for line in lines][:3] == ["session", "prompt", "user"]

    one_sentence(kat("sessions", "rm", forked), "--yes")
    assert kat("sessions", "rm", forked, "--yes").out == f"{forked} removed\n"
    one_sentence(kat("sessions", "rm", forked, "--yes"), "there is no session")
    assert json.loads(kat("sessions", "prune", "--older-than", "0h", "--keep", "1", "--dry-run", "--json").out) == {
        "removed": [parser]
    }
    assert ids(kat) == [docs, parser]
    assert kat("sessions", "prune", "--older-than", "0h", "--keep", "1").out == f"{parser} removed\n"
    assert ids(kat) == [docs]
    one_sentence(kat("sessions", "prune", "--older-than", "soon"), "30d")


def test_a_repository_that_is_gone_or_another_is_one_sentence(kat, repository, tmp_path, serve):
    server = serve({"reply": reply("Yes.")})
    kat("ask", "hm?", "--repo", repository, "--engine", server.url)
    other = make_repository(tmp_path / "other", {"a.txt": "x"})
    one_sentence(kat("ask", "more", "--resume", "last", "--repo", other), "belongs to")
    one_sentence(kat("sessions", "resume", "nope"), "no session")
    one_sentence(kat("sessions", "resume", "last"), "needs a terminal")
    shutil.rmtree(repository)
    one_sentence(kat("ask", "more", "--resume", "last"), "is gone")
    one_sentence(kat("sessions", "resume", "last"), "is gone")


def test_show_json_is_the_journal(kat, repository, serve):
    server = serve({"reply": reply("Yes.")})
    kat("ask", "hm?", "--repo", repository, "--engine", server.url)
    records = [json.loads(line) for line in kat("sessions", "show", "last", "--json").out.splitlines()]
    assert [record["n"] for record in records] == list(range(1, len(records) + 1))
    assert records[-1]["kind"] == "finished"


@pytest.mark.terminal
def test_a_conversation_is_shown_again_and_goes_on(kat, repository, serve):
    read = ("read_file", {"path": "shop/price.py"})
    server = serve(
        {"reply": reply("I look.", read)},
        {"reply": reply("It adds the prices.")},
        {"reply": reply("I said so before.")},
    )
    kat("ask", "What does total do?", "--repo", repository, "--engine", server.url)
    arguments = [*KAT, "sessions", "resume", "last", "--engine", server.url]
    terminal = Terminal(arguments, environment(kat.home, TERM="xterm-256color"), 100, 40)
    terminal.until("It adds the prices.")
    assert "What does total do?" in terminal.text()
    terminal.type("sure?\r")
    terminal.until("I said so before.")
    terminal.type("\x11")
    assert terminal.ended() == 0
    assert server.requests[-1]["prompt"].count("What does total do?") == 1
    assert len(ids(kat)) == 1
    assert git(repository, "status", "--porcelain") == ""


def test_undo_is_of_the_session_that_changed_files_last(kat, serve, tmp_path):
    root = make_repository(tmp_path / "repo", {"a.py": "a = 1\n"})
    edit = ("edit_file", {"path": "a.py", "old": "a = 1", "new": "a = 2"})
    server = serve({"reply": reply("", edit)}, {"reply": reply("Done.")}, {"reply": reply("Only talk."), "times": 0})
    for _ in range(2):
        assert kat("ask", "go", "--repo", root, "--allow", "edit", "--engine", server.url).code == 0
    assert kat("undo", "--repo", root).out == "Undid step 1: a.py.\n"
