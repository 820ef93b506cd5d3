"""A repository that attacks whoever maps it: files that take grammars minutes or gigabytes, links to everywhere."""

import time
from itertools import count

import pytest

from assistant.apart import Apart
from assistant.workspace.files import Workspace
from assistant.workspace.repomap import first_map
from assistant.workspace.watching import Watch

SLOW = "(\n" * 50_000
"""Takes a query several seconds, and twice as much text four times as long."""
LARGE = "a<\n" * 25_000
"""Of this a grammar makes more than 8 GB."""


@pytest.fixture
def root(tmp_path):
    path = tmp_path / "repo"
    path.mkdir()
    return path


def test_a_first_map_is_there_in_time_whatever_the_files_are(root):
    for number in range(4):
        (root / f"slow{number}.py").write_text(f"# {number}\n{SLOW}")
    began = time.monotonic()
    assert first_map(Workspace(root), None, 500, len, 0.5) == ""
    assert time.monotonic() - began < 4


def test_a_text_that_takes_all_memory_ends_only_the_process_that_reads_it():
    apart = Apart()
    try:
        assert apart.call("tags", [["c_sharp", LARGE]], seconds=60) is None
        assert apart.call("tags", [["python", "def f(): pass"]]) is not None
    finally:
        apart.close()


def test_no_link_leads_the_watch_out_of_the_repository(root, tmp_path):
    (tmp_path / "outside/deep").mkdir(parents=True)
    (root / "link").symlink_to(tmp_path / "outside")
    watch, number = Watch(root), count()
    heard = set()
    try:
        while not watch.ready:
            time.sleep(0.05)
        while "new/inside.py" not in heard:
            (tmp_path / f"outside/deep/{next(number)}.py").write_text("x = 1\n")
            (root / "new").mkdir(exist_ok=True)
            (root / "new/inside.py").write_text(f"x = {next(number)}\n")
            time.sleep(0.1)
            heard |= watch.taken() or set()
            assert next(number) < 300, "nothing is heard of a new folder"
        assert not any(path.startswith("link/") for path in heard)
    finally:
        watch.close()
