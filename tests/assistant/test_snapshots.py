"""Snapshots hold the bytes that are there, whatever the repository's own git would do to them, and touch nothing."""

import fcntl
import os
import subprocess
import threading
import time
from pathlib import Path

import pytest

from assistant.errors import UserError
from assistant.workspace.shadow import ShadowGit
from assistant.workspace.snapshots import Snapshots, drop_orphans, store_of
from tests.e2e.conftest import ROOT, git, make_repository, snapshot


@pytest.fixture
def root(tmp_path):
    return make_repository(tmp_path / "repo", {"a.py": "a = 1\n", "src/b.py": "b = 1\n", ".gitignore": "out/\n*.log\n"})


@pytest.fixture
def snapshots(root, tmp_path):
    made = Snapshots(root, tmp_path / "store")
    yield made
    made.close()


def names(snapshots):
    return set(snapshots.files(snapshots.take().tree))


def test_bytes_stay_whatever_attributes_say(root, snapshots):
    (root / ".gitattributes").write_text("* text eol=lf ident working-tree-encoding=UTF-16 filter=lfs -diff\n")
    contents = {"crlf": b"a\r\nb\r\n", "ident": b"$Id$ x\n", "latin": "ä".encode("latin-1"), "nul": b"\0\1"}
    for name, data in contents.items():
        (root / name).write_bytes(data)
    found = snapshots.files(snapshots.take().tree)
    assert {name: snapshots.content(found[name]) for name in contents} == contents


def test_the_users_git_directory_is_not_touched(root, snapshots):
    before = snapshot(root)
    snapshots.take()
    (root / "a.py").write_text("a = 2\n")
    assert snapshots.changes(snapshots.take().tree, snapshots.take(["a.py"]).tree) == {}
    (root / "a.py").write_text("a = 1\n")
    assert snapshot(root) == before


def test_what_is_ignored_is_listed_unless_it_is_tracked_or_asked_for(root, snapshots):
    for name in ("out/1", "out/2", "x.log", "kept.log"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text("x")
    git(root, "add", "-f", "kept.log")
    (root / ".git/info/exclude").write_text("private\n")
    (root / "private").write_text("x")
    assert {"kept.log", "a.py"} <= names(snapshots)
    assert not {"x.log", "out/1", "private"} & names(snapshots)
    assert snapshots.ignored() == ["out/", "private", "x.log"]
    assert "x.log" in snapshots.files(snapshots.take(["x.log"]).tree)


def test_odd_names(root, snapshots):
    odd = [
        "-rf",
        "--upload-pack=x",
        "a\nb",
        "tab\there",
        ":(exclude)a.py",
        "*.py",
        "é",
        "\udcff",
        " ",
        "git~1",
    ]
    for name in odd:
        Path(os.fsdecode(os.fsencode(root / name))).write_text("x")
    (root / "src/.GIT").write_text("what git itself refuses")
    taken = snapshots.take()
    assert set(odd) <= set(snapshots.files(taken.tree))
    assert taken.left_out == {"src/.GIT": "could not be read"}


def test_nested_repositories_and_large_files_are_named(root, tmp_path):
    snapshots = Snapshots(root, tmp_path / "store", file_limit=100)
    git(root, "init", "-q", "nested")
    (root / "nested/f").write_text("x")
    (root / "large").write_bytes(b"x" * 101)
    taken = snapshots.take()
    assert taken.left_out == {"large": "over 0.0001 MB", "nested/": "a repository of its own"}
    assert not {"large", "nested/f"} & set(snapshots.files(taken.tree))
    snapshots.close()


def test_only_names_of_trees_are_taken_for_trees(snapshots):
    tree = snapshots.take().tree
    for name in ("HEAD", "--output=/tmp/x", tree[:39], f"{tree}:a.py", ""):
        with pytest.raises(UserError, match="is not the name of a snapshot"):
            snapshots.diff(tree, name)


def test_a_lock_or_a_broken_index_left_by_a_kill_is_no_trouble(root, snapshots, tmp_path):
    tree = snapshots.take().tree
    (tmp_path / "store/git/index.lock").write_text("")
    (tmp_path / "store/git/index").write_bytes(b"broken")
    (root / "a.py").write_text("a = 2\n")
    assert list(snapshots.changes(tree, snapshots.take().tree)) == ["a.py"]


def test_variables_of_the_users_git_do_not_lead_elsewhere(root, tmp_path):
    code = (
        "import sys; from pathlib import Path; from assistant.cli import forget_git_places; forget_git_places();"
        "from assistant.workspace.snapshots import Snapshots;"
        "s = Snapshots(Path(sys.argv[1]), Path(sys.argv[2])); print(sorted(s.files(s.take().tree)))"
    )
    hostile = {
        "GIT_DIR": str(root / ".git"),
        "GIT_INDEX_FILE": str(tmp_path / "elsewhere"),
        "GIT_OBJECT_DIRECTORY": str(tmp_path / "objects"),
        "GIT_CONFIG_PARAMETERS": "'core.fsmonitor=touch pwned'",
        "GIT_EXTERNAL_DIFF": "touch pwned",
        "GIT_LITERAL_PATHSPECS": "1",
    }
    done = subprocess.run(
        [os.sys.executable, "-c", code, root, tmp_path / "store"],
        env=os.environ | hostile,
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == "['.gitignore', 'a.py', 'src/b.py']", done.stderr
    assert not (tmp_path / "elsewhere").exists()
    assert not (tmp_path / "objects").exists()


def test_old_snapshots_are_let_go(root, snapshots):
    old = snapshots.take().tree
    (root / "a.py").write_text("a = 2\n")
    new = snapshots.take().tree
    refs = snapshots._git.directory / "refs/trees"
    os.utime(refs / old, (1, 1))
    snapshots.tidy(days=30)
    assert snapshots.keeps(old), "not on the first day"
    snapshots.tidy(days=30, now=time.time() + 90_000)
    assert [ref.name for ref in refs.iterdir()] == [new]
    assert not snapshots.keeps(old)
    assert snapshots.content(snapshots.files(new)["a.py"]) == b"a = 2\n"


def test_too_much_room_lets_the_oldest_go(root, snapshots):
    (root / "a.py").write_bytes(os.urandom(200_000))
    first = snapshots.take().tree
    (root / "a.py").write_bytes(os.urandom(200_000))
    os.utime(snapshots._git.directory / "refs/trees" / first, (1, 1))
    last = snapshots.take().tree
    snapshots.tidy(days=1e6)
    snapshots.tidy(days=1e6, size=300_000, now=time.time() + 90_000)
    assert [ref.name for ref in (snapshots._git.directory / "refs/trees").iterdir()] == [last]


def test_the_snapshots_of_a_repository_that_is_gone_go_too(tmp_path):
    root = make_repository(tmp_path / "gone", {"a": "1"})
    store = store_of(tmp_path, root)
    Snapshots(root, store).take()
    drop_orphans(tmp_path / "snapshots", days=-1)
    assert store.exists()
    subprocess.run(["rm", "-rf", root], check=True)
    drop_orphans(tmp_path / "snapshots", days=1)
    assert store.exists()
    drop_orphans(tmp_path / "snapshots", days=-1)
    assert not store.exists()


def test_files_that_come_and_go_while_a_snapshot_is_taken(root, snapshots):
    over = threading.Event()

    def busy():
        while not over.is_set():
            for number in range(30):
                (root / f"busy{number}").write_text("x" * number)
            for number in range(30):
                (root / f"busy{number}").unlink()

    thread = threading.Thread(target=busy)
    thread.start()
    try:
        trees = [snapshots.take().tree for _ in range(30)]
    finally:
        over.set()
        thread.join()
    assert all("a.py" in snapshots.files(tree) for tree in trees)


def test_making_room_is_waited_for_by_nobody_and_takes_nothing_that_is_kept(root, snapshots):
    snapshots.tidy()
    old = snapshots.take()
    for number in range(200):
        (root / f"{number}.txt").write_text(f"{number}\n")
    taken = snapshots.take()
    start = time.monotonic()
    snapshots.tidy(now=time.time() + 90_000)
    assert time.monotonic() - start < 0.5
    deadline = time.monotonic() + 20
    while not list(snapshots._git.directory.glob("objects/pack/*.pack")) and time.monotonic() < deadline:
        time.sleep(0.02)
        assert snapshots.take().tree == taken.tree
    assert len(snapshots.changes(old.tree, taken.tree)) == 200


def test_a_git_process_that_outlives_its_parent_still_holds_the_lock(root, tmp_path):
    script = "import sys, pathlib, tests.assistant.test_snapshots as t; t.linger(*map(pathlib.Path, sys.argv[1:]))"
    with subprocess.Popen([os.sys.executable, "-c", script, root, tmp_path / "store"], stdout=-1, cwd=ROOT) as child:
        assert child.stdout.readline() == b"locked\n"
        fifo = os.open(tmp_path / "fifo", os.O_WRONLY)
        child.kill()
    with (tmp_path / "store/lock").open("w") as file:
        with pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(fifo)
        fcntl.flock(file, fcntl.LOCK_EX)


def linger(root, store):
    """Runs, under the lock, a git process that ends when somebody has opened `fifo`."""
    fifo = store.parent / "fifo"
    os.mkfifo(fifo)
    shadow = ShadowGit(root, store)
    with shadow.locked():
        os.write(1, b"locked\n")
        shadow.run("hash-object", "--", str(fifo))
