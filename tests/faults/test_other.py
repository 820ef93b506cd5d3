"""A full disk, a lost engine, two processes on one session, clocks that jump."""

import json
import os
import shutil
import signal
import subprocess
import time

import pytest

from assistant.safety.sandbox import detect
from assistant.sessions import read
from assistant.workspace.snapshots import Snapshots, store_of
from tests.e2e.conftest import KAT, environment, make_repository, reply
from tests.faults.test_kill import files

EDIT = ("edit_file", {"path": "a.py", "old": "a = 1", "new": "a = 2"})
AGAIN = ("edit_file", {"path": "a.py", "old": "a = 2", "new": "a = 3"})
LARGE = ("write_file", {"path": "large.txt", "content": "new\n" * 2_000})
START = {"a.py": "a = 1\n", "large.txt": "old\n" * 2_000}


@pytest.fixture
def small_disk(tmp_path):
    """Runs `kat` where a folder is a disk of its own with so many bytes free; returns how it ended, and a copy."""
    bwrap = detect(tmp_path).bwrap
    if bwrap is None:
        pytest.skip("needs bubblewrap to make a small disk")

    def run(disk, free, arguments, url):
        place, out = tmp_path / "place", tmp_path / "out"
        for folder in (place, out):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
        template = make_repository(tmp_path / f"template{free}", START)
        full = (
            f"head -c $(($(df --output=avail -B1 {place / disk} | tail -1) - {free})) /dev/zero > {place / disk}/filler"
        )
        script = f'cp -r {template} {place}/repo/r && {full}; cd {place}/repo/r && "$@"; code=$?; '
        script += (
            f"rm -f {place / disk}/filler; cp -r {place}/repo/r {out}/repo; cp -r {place}/state {out}/state; exit $code"
        )
        size = ["--size", "8000000"]
        mounts = [*size, "--tmpfs", place / "repo", *size, "--tmpfs", place / "state"]
        command = [bwrap, "--dev-bind", "/", "/", *mounts, "--", "sh", "-c", script, "sh", *KAT, *arguments]
        environ = environment(place, KAT_ENGINE=url, KAT_STATE=str(place / "state"), PYTHONDONTWRITEBYTECODE="1")
        (place / "repo").mkdir()
        (place / "state").mkdir()
        done = subprocess.run([*map(str, command)], env=environ, capture_output=True, text=True, timeout=60)
        return done, out

    return run


@pytest.mark.parametrize("free", [0, 2_000, 20_000, 60_000, 200_000, 2_000_000])
def test_a_full_disk_under_the_sessions(small_disk, serve, free):
    server = serve({"reply": reply("One.", EDIT)}, {"reply": reply("Two.", AGAIN)}, {"reply": reply("Done.")})
    done, out = small_disk("state", free, ["ask", "go", "--allow", "all"], server.url)
    now = (out / "repo/a.py").read_text()
    assert now in ("a = 1\n", "a = 2\n", "a = 3\n")
    assert "Traceback" not in done.stderr
    if done.returncode:
        assert "No space left" in done.stderr or "disk is full" in done.stderr
    else:
        assert now == "a = 3\n"
    for journal in (out / "state").glob("sessions/*.jsonl"):
        kinds = [record["kind"] for record in read(journal)]
        assert kinds.count("intent") >= kinds.count("result") >= {"1": 0, "2": 1, "3": 2}[now[4]]


@pytest.mark.parametrize("free", [0, 5_000, 2_000_000])
def test_a_full_disk_under_the_repository(small_disk, serve, free):
    server = serve({"reply": reply("One.", LARGE)}, {"reply": reply("Done.")})
    done, out = small_disk("repo", free, ["ask", "go", "--allow", "all"], server.url)
    written = free == 2_000_000
    assert (out / "repo/large.txt").read_text() == ("new\n" if written else "old\n") * 2_000
    assert done.returncode == 0
    assert not list((out / "repo").glob(".*.kat"))


def test_a_lost_engine(kat, serve, tmp_path):
    root = make_repository(tmp_path / "repo", START)
    server = serve({"reply": reply("One.", EDIT)}, {"reply": reply("Two.", AGAIN), "cut_after": 30})
    done = kat("ask", "go", "--repo", root, "--allow", "edit", "--engine", server.url)
    assert done.code != 0
    assert (root / "a.py").read_text() == "a = 2\n"
    server.__exit__(None, None, None)
    gone = kat("ask", "go on", "--resume", "last", "--repo", root, "--allow", "edit", "--engine", server.url)
    assert gone.code == 3
    other = serve({"reply": reply("Two.", AGAIN)}, {"reply": reply("Done.")})
    assert kat("ask", "go on", "--resume", "last", "--repo", root, "--allow", "edit", "--engine", other.url).code == 0
    assert (root / "a.py").read_text() == "a = 3\n"
    assert "Undid step" in kat("undo", "--repo", root).out
    assert "Undid step 1: a.py." in kat("undo", "--repo", root).out
    assert files(root) == START
    nothing = kat("undo", "--repo", root)
    assert (nothing.code, nothing.err) == (1, "kat: there is nothing to undo\n")


def test_undo_takes_the_session_that_broke_off_last(kat, serve, tmp_path):
    """Although it has no record yet of what it changed, and an older session has."""
    root = make_repository(tmp_path / "repo", START)
    for call in (EDIT, AGAIN):
        server = serve({"reply": reply("One.", call)}, {"reply": reply("Done.")})
        assert kat("ask", "go", "--repo", root, "--allow", "edit", "--engine", server.url).code == 0
    last = max((kat.home / "state/sessions").glob("*.jsonl"), key=lambda path: path.stat().st_mtime_ns)
    lines = last.read_text().splitlines(keepends=True)
    intent = next(n for n, line in enumerate(lines) if '"kind": "intent"' in line)
    last.write_text("".join(lines[: intent + 1]))
    assert "Undid step 1: a.py." in kat("undo", "--yes", "--repo", root).out
    assert (root / "a.py").read_text() == "a = 2\n"


def test_two_processes_on_one_session(kat, serve, tmp_path):
    root = make_repository(tmp_path / "repo", START)
    server = serve({"reply": reply("One.", EDIT)}, {"reply": reply("Done."), "delay": 600})
    arguments = ["ask", "go", "--repo", str(root), "--allow", "edit", "--engine", server.url]
    first = subprocess.Popen(
        [*KAT, *arguments], env=environment(kat.home), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + 20
    while (root / "a.py").read_text() != "a = 2\n" and time.monotonic() < deadline:
        time.sleep(0.02)
    for command in (["undo"], ["ask", "me too", "--resume", "last", "--engine", server.url]):
        refused = kat(*command, "--repo", root)
        assert refused.code == 2
        assert "is open in another KAT Pilot" in refused.err
    first.send_signal(signal.SIGINT)
    assert first.wait(30) == 130, first.stderr.read()
    first.stdout.close()
    first.stderr.close()
    assert kat("undo", "--repo", root).code == 0
    assert files(root) == START


def test_clocks_that_jump(kat, serve, tmp_path):
    root = make_repository(tmp_path / "repo", START)
    server = serve({"reply": reply("One.", EDIT)}, {"reply": reply("Two.", AGAIN)}, {"reply": reply("Done.")})
    assert kat("ask", "go", "--repo", root, "--allow", "edit", "--engine", server.url).code == 0
    (journal,) = (kat.home / "state/sessions").glob("*.jsonl")
    records = [json.loads(line) for line in journal.read_text().splitlines()]
    for number, record in enumerate(records):
        record["time"] = f"{2040 - number}-01-01T00:00:00.000+00:00"
    journal.write_text("".join(json.dumps(record) + "\n" for record in records))
    for path in kat.home.rglob("*"):
        os.utime(path, (4e9, 4e9))
    before = (root / "a.py").stat()
    assert "Undid step 2: a.py." in kat("undo", "--repo", root).out
    os.utime(root / "a.py", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert "Undid step 1: a.py." in kat("undo", "--repo", root).out
    assert files(root) == START
    os.utime(root / "a.py", (1, 1))
    assert "Did step 1 again: a.py." in kat("redo", "--repo", root).out
    assert (root / "a.py").read_text() == "a = 2\n"


def test_a_change_that_keeps_size_and_time_is_seen(tmp_path):
    root = make_repository(tmp_path / "repo", START)
    snapshots = Snapshots(root, store_of(tmp_path, root))
    first = snapshots.take().tree
    info = (root / "a.py").stat()
    (root / "a.py").write_text("a = 9\n")
    os.utime(root / "a.py", ns=(info.st_atime_ns, info.st_mtime_ns))
    assert list(snapshots.changes(first, snapshots.take().tree)) == ["a.py"]
    snapshots.close()
