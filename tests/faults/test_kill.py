"""`kat` killed at random moments: files are whole and as some step left them, no record is lost, undo goes back."""

import json
import os
import queue
import random
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from assistant.sessions import Journal, read
from assistant.undo import Undo
from assistant.workspace.snapshots import Snapshots, store_of
from model.engines.scripted import ScriptedServer
from tests.e2e.conftest import ROOT, environment, make_repository, reply

ROUNDS = 200
AT_ONCE = 2
LARGE = "".join(f"line {number}\n" for number in range(20_000))
FILES = {"a.py": "a = 1\n", "b.py": "b = 1\n", "large.txt": LARGE, "log.txt": "", ".gitignore": "build/\n"}
CALLS = (
    ("edit_file", {"path": "a.py", "old": "a = 1", "new": "a = 2"}),
    ("write_file", {"path": "src/new.py", "content": "new = True\n"}),
    ("run_command", {"command": "echo ran >> log.txt"}),
    ("edit_file", {"path": "large.txt", "old": "line 19999\n", "new": "the last line\n"}),
    ("run_command", {"command": "mv b.py c.py"}),
    ("edit_file", {"path": "a.py", "old": "a = 2", "new": "a = 3"}),
    ("run_command", {"command": "echo again >> log.txt"}),
)


def files(root: Path) -> dict[str, str]:
    """The text of every file but git's and the temporary ones of a write that was cut."""
    paths = (path for path in root.rglob("*") if path.is_file() and ".git" not in path.relative_to(root).parts)
    return {path.relative_to(root).as_posix(): path.read_text() for path in paths if path.suffix != ".kat"}


def states() -> list[dict[str, str]]:
    """The files before the first call and behind each one."""
    found = [dict(FILES)]

    def then(**changes):
        found.append({**found[-1], **changes})

    then(**{"a.py": "a = 2\n"})
    then(**{"src/new.py": "new = True\n"})
    then(**{"log.txt": "ran\n"})
    then(**{"large.txt": LARGE.replace("line 19999\n", "the last line\n")})
    found.append({("c.py" if name == "b.py" else name): text for name, text in found[-1].items()})
    then(**{"a.py": "a = 3\n"})
    then(**{"log.txt": "ran\nagain\n"})
    return found


class Lane:
    """Forks of `kat`, one at a time."""

    def __init__(self):
        self._theirs, asking = os.pipe()
        telling, self._their_end = os.pipe()
        self._asking, self._telling = os.fdopen(asking, "w"), os.fdopen(telling)

    @property
    def theirs(self):
        """The driver's file descriptors."""
        return self._theirs, self._their_end

    def run(self, arguments, place, delay=None):
        asked = {"arguments": [str(a) for a in arguments], "environ": place.environ, "delay": delay}
        asked |= {"log": str(place.log)}
        self._asking.write(json.dumps(asked) + "\n")
        self._asking.flush()
        return json.loads(self._telling.readline())

    def close(self):
        self._asking.close()
        self._telling.close()


class Place:
    """A repository and a home of its own for one round."""

    def __init__(self, folder: Path, template: Path, url: str):
        self.root = folder / "repo"
        shutil.copytree(template, self.root)
        self.home = folder / "home"
        self.log = folder / "log"
        self.environ = environment(self.home, KAT_ENGINE=url)
        self.state = self.home / "state"

    @property
    def journal(self) -> Path | None:
        return next((self.state / "sessions").glob("*.jsonl"), None)


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    return make_repository(tmp_path_factory.mktemp("template") / "repo", FILES)


@pytest.fixture(scope="session")
def lanes():
    """One for each of two rounds that run at a time, of one process that has imported everything."""
    made = [Lane() for _ in range(AT_ONCE)]
    theirs = [end for each in made for end in each.theirs]
    command = [sys.executable, "-m", "tests.faults.driver", *(",".join(map(str, each.theirs)) for each in made)]
    with subprocess.Popen(command, cwd=ROOT, pass_fds=theirs):
        for end in theirs:
            os.close(end)
        free = queue.SimpleQueue()
        for each in made:
            free.put(each)
        yield free
        for each in made:
            each.close()


def ask(place):
    return ["ask", "Do all of it.", "--repo", place.root, "--allow", "all"]


@pytest.mark.parametrize("part", range(4))
def test_kill_9_at_random_moments(part, template, lanes):
    moments, known = random.Random(part), states()

    def one(delay):
        lane = lanes.get()
        try:
            with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:  # git may outlive kat for a moment
                return one_round(Path(name), template, lane, delay, known)
        finally:
            lanes.put(lane)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        whole = max(ended["seconds"] for ended in pool.map(one, [None] * AT_ONCE))
        ended = list(pool.map(one, [moments.uniform(0, whole) for _ in range(ROUNDS // 4)]))
    assert len({each["state"] for each in ended}) > 3, "the kills did not hit different moments"


def one_round(folder, template, lane, delay, known):
    with ScriptedServer([*({"reply": reply("Next.", call)} for call in CALLS), {"reply": reply("Done.")}]) as server:
        place = Place(folder, template, server.url)
        ended = lane.run(ask(place), place, delay)
    assert delay is not None or ended["code"] == 0, place.log.read_text()
    now = files(place.root)
    assert now in known, "no step left these files"
    ended["state"] = known.index(now)
    if place.journal:
        check_journal(place, ended["state"])
        check_undo(place, now)
    else:
        assert ended["state"] == 0
    return ended


def check_journal(place, state):
    """Every whole line is a record; what was done is in it, as an intent at least."""
    *lines, _torn = place.journal.read_bytes().split(b"\n")
    records = [json.loads(line) for line in lines]
    results = [record for record in records if record["kind"] == "result"]
    intents = [record for record in records if record["kind"] == "intent"]
    assert len(results) <= state <= len(intents) <= len(results) + 1
    assert place.journal.stat().st_mode & 0o777 == 0o600


def check_undo(place, now):
    """Back to the beginning, and forth again."""
    journal = Journal.reopen(place.journal)
    undo = Undo(Snapshots(place.root, store_of(place.state, place.root)), journal, read(place.journal))
    try:
        undo.carry_out(undo.plan("restore", 0))
        assert files(place.root) == FILES
        undo.carry_out(undo.plan("restore", undo.steps))
        assert files(place.root) == now
    finally:
        undo.close()
        journal.close()
