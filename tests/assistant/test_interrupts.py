"""Ctrl-C at every moment: always heard, and nothing left behind."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from assistant.commands.guard import guarded
from assistant.errors import Exit
from assistant.safety.confinement.process import run_process
from tests.e2e.conftest import ROOT, environment, make_repository

TURNS = 30
"""More turns of the event loop than the start of a program takes."""
MARKED = "KAT_TEST_INTERRUPTS"


def left(mark: str) -> list[bytes]:
    """The marks in the environments of processes that still run."""
    found = []
    for place in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            found += [word for word in place.read_bytes().split(b"\0") if mark.encode() in word]
    return found


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks into /proc")
@pytest.mark.parametrize(("launcher", "twice"), [(False, False), (True, False), (False, True)])
async def test_a_program_cancelled_at_any_turn_of_its_start_ends_with_all_it_began(tmp_path, launcher, twice):
    mark = f"{tmp_path}-{launcher}-{twice}"
    for turn in range(TURNS):
        environ = {"PATH": os.environ["PATH"], MARKED: f"{mark} {turn}"}
        running = asyncio.ensure_future(
            run_process(
                ["/bin/sh", "-c", "sleep 1000 & sleep 1000"],
                cwd=tmp_path, env=environ, timeout=1000, output_limit=100, launcher=launcher,
            )
        )  # fmt: skip
        for _ in range(turn):
            await asyncio.sleep(0)
        running.cancel()
        if twice:
            await asyncio.sleep(0)
            running.cancel()
        done, _ = await asyncio.wait([running], timeout=10)
        assert done, f"cancelled at turn {turn} it hangs"
        assert running.cancelled()
    until = time.monotonic() + 5  # what is killed goes when it gets a core
    while left(mark) and time.monotonic() < until:
        await asyncio.sleep(0.02)
    assert not left(mark)


async def test_a_cancel_while_a_program_ends_is_never_lost_and_nobody_wonders_how_it_ended(tmp_path, caplog):
    for wait in range(20):
        running = asyncio.ensure_future(
            run_process(["true"], cwd=tmp_path, env=os.environ, timeout=100, output_limit=100)
        )
        await asyncio.sleep(wait / 4_000)
        asked = running.cancel()
        await asyncio.wait([running], timeout=10)
        assert running.cancelled() == asked
    assert not [record for record in caplog.records if record.name == "asyncio"]


@pytest.mark.skipif(shutil.which("setsid") is None, reason="needs setsid")
@pytest.mark.parametrize("cancelled", [False, True])
async def test_a_daemon_that_keeps_the_pipe_holds_nobody(tmp_path, cancelled):
    line = "(setsid sleep 9 &); sleep 0.2; touch there" + ("; sleep 9" if cancelled else "")
    running = asyncio.ensure_future(
        run_process(["/bin/sh", "-c", line], cwd=tmp_path, env=os.environ, timeout=8, output_limit=100)
    )
    while not (tmp_path / "there").exists():
        await asyncio.sleep(0.02)
    if cancelled:
        running.cancel()
    assert (await asyncio.wait([running], timeout=5))[0]
    assert running.cancelled() == cancelled


def said(code: str, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """What became of a program that begins as `kat` does."""
    begin = "import asyncio, os, signal, sys\nfrom assistant import interrupts\ninterrupts.listen()\n"
    place = {"env": environ or {**os.environ, "PYTHONPATH": str(ROOT)}, "start_new_session": True}
    command = [sys.executable, "-c", begin + code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=20, **place)


DROPPED = """
class Late:
    def __del__(self):
        signal.raise_signal(signal.SIGINT)
Late()
print("goes on", flush=True)
"""
CHILD_SPOKE_FIRST = """
async def main():
    signal.raise_signal(signal.SIGINT)
    raise ValueError("git died of Ctrl-C")
"""
WAITS = """
async def main():
    await asyncio.sleep(30)
"""
SWALLOWED = """
async def main():
    signal.raise_signal(signal.SIGINT)
    try:
        await asyncio.sleep(30)
    except asyncio.CancelledError:
        print("goes on", flush=True)
"""
RUN = "try:\n    interrupts.run(main())\nexcept KeyboardInterrupt:\n    print('heard')"
HELD = """
try:
    with interrupts.held():
        signal.raise_signal(signal.SIGINT)
        print("goes on", flush=True)
except KeyboardInterrupt:
    print("heard")
"""


@pytest.mark.parametrize(
    ("code", "out"),
    [
        (DROPPED + WAITS + RUN, "goes on\nheard\n"),
        (CHILD_SPOKE_FIRST + RUN, "heard\n"),
        (SWALLOWED + RUN, "goes on\nheard\n"),
        (HELD, "goes on\nheard\n"),
    ],
    ids=["dropped in a finaliser", "an error on the way out", "swallowed", "held"],
)
def test_what_python_drops_is_heard_all_the_same(code, out):
    done = said(code)
    assert (done.returncode, done.stdout, done.stderr) == (0, out, "")


def test_an_interrupt_that_python_wrapped_in_an_error_is_one():
    class Named:
        def __set_name__(self, owner, name):
            raise KeyboardInterrupt

    def broken():
        type("Made", (), {"name": Named()})

    def wrong():
        raise ValueError

    assert guarded(broken, debug=False) == Exit.INTERRUPTED
    assert guarded(wrong, debug=False) == Exit.NOT_ACHIEVED


BEHIND_A_FORK = """
os.register_at_fork(after_in_parent=lambda: signal.raise_signal(signal.SIGINT))
from assistant.cli import main
main()
"""


def test_an_interrupt_while_fix_forks_ends_it(tmp_path):
    root, scratch = (
        make_repository(tmp_path / "repo", {"test_slow.py": "import time\ntime.sleep(1000)\n"}),
        tmp_path / "s",
    )
    scratch.mkdir()
    command = ("fix", "--repo", str(root), "--engine", "http://127.0.0.1:9", "--test", "python3 test_slow.py", "--json")
    done = said(BEHIND_A_FORK, *command, **environment(tmp_path / "home", TMPDIR=str(scratch)))
    assert done.returncode == Exit.INTERRUPTED, done.stderr
    assert json.loads(done.stdout)["message"] == "Interrupted."
    assert done.stderr == ""
    assert not [*scratch.iterdir()]
