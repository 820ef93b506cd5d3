"""Undo, redo and restore: exactly the recorded states come back, and what the user wrote survives."""

import os
import shutil
import stat
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from assistant.errors import UserError
from assistant.sessions import Journal, read
from assistant.undo import Undo
from assistant.workspace.errors import WorkspaceError
from assistant.workspace.snapshots import Snapshots
from model.engine import EngineInfo
from tests.e2e.conftest import git, make_repository

ENGINE = EngineInfo("scripted", "kat", "kat", 8192, "a test")


class Bench:
    """A repository with undo, its journal, and steps taken by hand."""

    def __init__(self, folder: Path, files: dict[str, str]):
        self.root = make_repository(folder / "repo", files)
        self.state = folder / "state"
        self.journal = Journal.create(folder / "sessions", self.root, ENGINE)
        self.step_number = 0
        self.open()

    def open(self, **limits):
        self.undo = Undo(Snapshots(self.root, self.state, **limits), self.journal, read(self.journal.path))

    def step(self, act, paths=None):
        """Run `act` as a step of the agent's."""
        self.begin(paths)
        act(self.root)
        return self.end()

    def begin(self, paths=None):
        self.step_number += 1
        before = self.undo.begin(self.step_number, paths)
        self.journal.append("intent", id=f"{self.step_number}.1", tree=before.tree, paths=paths)
        return before

    def end(self):
        after = self.undo.end(self.step_number)
        record = {"index": self.step_number, "tree_before": None, "tree_after": None}
        if after:
            before = self.undo._before.get(self.step_number, after.tree)
            record |= {"tree_before": before, "tree_after": after.tree}
        self.journal.append("step", record=record)
        return after

    def go(self, action, step=0):
        return self.undo.carry_out(self.undo.plan(action, step))

    def close(self):
        self.undo.close()
        self.journal.close()


def files(root: Path) -> dict[str, tuple[str, bytes]]:
    """Every file but git's: kind and content."""
    found = {}
    for path in root.rglob("*"):
        name = path.relative_to(root).as_posix()
        if name.split("/")[0] == ".git" or (path.is_dir() and not path.is_symlink()):
            continue
        if path.is_symlink():
            found[name] = ("link", os.fsencode(path.readlink()))
        else:
            found[name] = ("run" if path.stat().st_mode & stat.S_IXUSR else "file", path.read_bytes())
    return found


@pytest.fixture
def bench(tmp_path):
    made = Bench(
        tmp_path, {"a.py": "a = 1\n", "b.py": "b = 1\n", "src/c.py": "c = 1\n", ".gitignore": "build/\n*.log\n"}
    )
    yield made
    made.close()


NAMES = ("a.py", "b.txt", "src/c.py", "src/deep/d.md", "x y\n", "-rf", "é.py", "lib/e", "lib/f.sh")
CONTENTS = (
    b"",
    b"one\n",
    b"two\r\nlines\r\n",
    b"\x00\xff binary",
    b"\xef\xbb\xbfmark\n",
    "späte\n".encode("latin-1"),
    b"x" * 50,
)


def write(root, name, data):
    path = root / name
    for parent in reversed(path.parents):
        if parent.is_relative_to(root) and (parent.is_symlink() or parent.is_file()):
            parent.unlink()
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_symlink():
        path.unlink()
    path.write_bytes(data)


def change(root, kind, name, other, data):
    """One change by a tool or a command."""
    path = root / name
    match kind:
        case "write":
            write(root, name, data)
        case "delete" if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        case "delete" if os.path.lexists(path):
            path.unlink()
        case "rename" if (path.is_file() or path.is_symlink()) and not path.is_dir() and name != other:
            held = (path.is_symlink(), path.readlink() if path.is_symlink() else path.read_bytes())
            path.unlink()
            write(root, other, b"")
            (root / other).unlink()
            (root / other).symlink_to(held[1]) if held[0] else (root / other).write_bytes(held[1])
        case "chmod" if path.is_file() and not path.is_symlink():
            path.chmod(path.stat().st_mode ^ 0o111)
        case "link":
            write(root, name, b"")
            path.unlink()
            path.symlink_to("/etc/hostname" if data else "a.py")
        case "folder":
            write(root, f"{name}/inside", data)
        case "command":
            command = (
                f"printf %s {len(data)} >> made.txt; mkdir -p out && cp made.txt out/copy{len(data) % 3}; rm -rf lib/e"
            )
            subprocess.run(["/bin/sh", "-c", command], cwd=root, check=True)


change_args = st.tuples(
    st.sampled_from(["write", "write", "delete", "rename", "chmod", "link", "folder", "command"]),
    st.sampled_from(NAMES),
    st.sampled_from(NAMES),
    st.sampled_from(CONTENTS),
)


class Timeline(RuleBasedStateMachine):
    """Random steps, undos, redos and restores, while the user works on files of his own."""

    @initialize()
    def start(self):
        self.folder = Path(tempfile.mkdtemp())
        self.bench = Bench(self.folder, {"a.py": "a = 1\n", "src/c.py": "c = 1\n", "lib/e": "e\n"})
        self.theirs = {}
        self.states = {0: files(self.bench.root)}
        self.at = 0
        self.parent = {}
        self.left = {}

    @rule(changes=st.lists(change_args, min_size=1, max_size=3))
    def step(self, changes):
        def act(root):
            for one in changes:
                change(root, *one)

        self.bench.step(act)
        number, now = self.bench.step_number, self.agents()
        self.states[number] = now
        if now != self.states[self.at]:
            self.parent[number] = self.at
            self.left.pop(self.at, None)
            self.at = number
        self.position = {**getattr(self, "position", {}), number: self.at}

    @rule(name=st.sampled_from(["mine/1.txt", "mine/2.txt"]), data=st.binary(max_size=9))
    def user(self, name, data):
        write(self.bench.root, name, data)
        self.theirs[name] = ("file", data)

    @precondition(lambda self: self.at)
    @rule()
    def undo(self):
        self.bench.go("undo")
        self.left[self.parent[self.at]] = self.at
        self.at = self.parent[self.at]

    @precondition(lambda self: self.at in self.left)
    @rule()
    def redo(self):
        self.bench.go("redo")
        self.at = self.left.pop(self.at)

    @precondition(lambda self: self.bench.step_number)
    @rule(data=st.data())
    def restore(self, data):
        step = data.draw(st.integers(0, self.bench.step_number))
        plan = self.bench.undo.plan("restore", step)
        assert not plan.disputed
        self.bench.undo.carry_out(plan)
        self.walk(self.position.get(step, 0))

    @rule()
    def reopen(self):
        self.bench.undo.close()
        self.bench.open()

    @invariant()
    def the_files_are_those_recorded(self):
        if hasattr(self, "bench"):
            assert self.agents() == self.states[self.at]
            assert {name: files(self.bench.root).get(name) for name in self.theirs} == self.theirs

    def walk(self, target):
        line = [target]
        while line[-1]:
            line.append(self.parent[line[-1]])
        while self.at not in line:
            self.left[self.parent[self.at]] = self.at
            self.at = self.parent[self.at]
        for state in reversed(line[: line.index(self.at)]):
            self.left.pop(self.parent[state], None)
            self.at = state

    def agents(self):
        return {name: value for name, value in files(self.bench.root).items() if not name.startswith("mine/")}

    def teardown(self):
        if hasattr(self, "bench"):
            assert git_is_untouched(self.bench.root)
            self.bench.close()
            shutil.rmtree(self.folder)


def git_is_untouched(root: Path) -> bool:
    """The user's index, refs and history are as `make_repository` left them."""
    log = subprocess.run(["git", "log", "--oneline", "--all"], cwd=root, capture_output=True, text=True).stdout
    index = subprocess.run(["git", "diff", "--cached", "--name-only"], cwd=root, capture_output=True, text=True).stdout
    return len(log.splitlines()) == 1 and index == ""


TestTimeline = Timeline.TestCase
TestTimeline.settings = settings(
    max_examples=4,
    stateful_step_count=100,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


def test_nothing_to_undo(bench):
    with pytest.raises(UserError, match="nothing to undo"):
        bench.undo.plan("undo")
    bench.step(lambda root: None)
    with pytest.raises(UserError, match="nothing to undo"):
        bench.undo.plan("undo")
    with pytest.raises(UserError, match="nothing to redo"):
        bench.undo.plan("redo")
    with pytest.raises(UserError, match=r"no step 9; this session has 0 .* to 1"):
        bench.undo.plan("restore", 9)


def test_what_the_user_changed_since_is_named_and_redo_brings_it_back(bench):
    bench.step(lambda root: (root / "a.py").write_text("a = 2\n"))
    (bench.root / "a.py").write_text("a = 2\nmine = True\n")
    plan = bench.undo.plan("undo")
    assert plan.disputed == ("a.py",)
    assert "-mine = True" in bench.undo.lost(plan)
    bench.undo.carry_out(plan)
    assert (bench.root / "a.py").read_text() == "a = 1\n"
    bench.go("redo")
    assert (bench.root / "a.py").read_text() == "a = 2\n"
    bench.open()
    bench.go("redo")
    assert (bench.root / "a.py").read_text() == "a = 2\nmine = True\n"


def test_only_files_of_the_agent_are_touched(bench):
    bench.step(lambda root: (root / "a.py").write_text("a = 2\n"))
    (bench.root / "b.py").unlink()
    (bench.root / "new.py").write_text("n\n")
    before = (bench.root / "new.py").stat()
    assert bench.go("undo") == ("a.py",)
    assert not (bench.root / "b.py").exists()
    assert (bench.root / "new.py").stat() == before


def test_a_step_that_was_cut_short_can_be_undone(bench):
    bench.begin(paths=["a.py"])
    (bench.root / "a.py").write_text("a = 'half'\n")
    (bench.root / "b.py").write_text("b = 'mine'\n")
    bench.open()
    plan = bench.undo.plan("undo")
    assert (plan.files, plan.disputed) == (("a.py",), ("a.py",)), "who knows what was done to it since"
    bench.undo.carry_out(plan)
    assert (bench.root / "a.py").read_text() == "a = 1\n"
    assert (bench.root / "b.py").read_text() == "b = 'mine'\n"


def test_a_command_that_was_cut_short_may_not_have_made_all_changes(bench):
    bench.begin()
    (bench.root / "a.py").write_text("a = 'half'\n")
    bench.open()
    assert bench.undo.plan("undo").disputed == ("a.py",)


def test_a_restore_that_was_cut_short_is_finished_by_doing_it_again(bench):
    bench.step(lambda root: [(root / name).write_text("changed\n") for name in ("a.py", "b.py")])
    bench.journal.append("restore", action="undo", target=0, files=["a.py", "b.py"], tree="?")
    (bench.root / "a.py").write_text("a = 1\n")
    bench.open()
    plan = bench.undo.plan("undo")
    assert (plan.files, plan.disputed) == (("b.py",), ())
    bench.undo.carry_out(plan)
    assert (bench.root / "b.py").read_text() == "b = 1\n"


def test_an_ignored_file_that_a_tool_changes_comes_back(bench):
    (bench.root / "run.log").write_text("before\n")
    bench.step(lambda root: (root / "run.log").write_text("after\n"), paths=["run.log"])
    bench.go("undo")
    assert (bench.root / "run.log").read_text() == "before\n"


def test_what_is_in_no_snapshot_is_named_and_never_overwritten(bench):
    bench.open(file_limit=1000)
    after = bench.step(lambda root: (root / "big.bin").write_bytes(b"x" * 2000))
    assert list(after.left_out) == ["big.bin"]
    bench.step(lambda root: (root / "a.py").write_text("a = 2\n"))
    (bench.root / "a.py").write_bytes(b"y" * 2000)
    with pytest.raises(UserError, match=r"a\.py is in no snapshot"):
        bench.go("undo")
    assert (bench.root / "a.py").read_bytes() == b"y" * 2000


def test_permission_bits_come_back(bench):
    (bench.root / "key").write_text("secret\n")
    (bench.root / "key").chmod(0o600)
    bench.step(lambda root: (root / "key").unlink())
    bench.go("undo")
    assert (bench.root / "key").stat().st_mode & 0o777 == 0o600


def test_what_stands_in_the_way_stops_a_restore_before_it_begins(bench):
    bench.step(lambda root: (shutil.rmtree(root / "src"), (root / "a.py").unlink()))
    (bench.root / "src").symlink_to("/tmp")
    with pytest.raises(UserError, match="src is in the way"):
        bench.go("undo")
    assert not (bench.root / "a.py").exists()


def test_a_diff_of_the_session_shows_what_became_executable(bench):
    bench.step(lambda root: (root / "a.py").chmod(0o755))
    assert "old mode 100644\nnew mode 100755\n" in bench.undo.diff()


def test_what_was_undone_is_done_again_without_a_question(bench):
    bench.begin()
    (bench.root / "half.txt").write_text("half")
    bench.open()
    assert bench.undo.plan("undo").disputed == ("half.txt",)
    bench.go("undo")
    assert bench.undo.plan("redo").disputed == ()
    bench.go("redo")
    assert (bench.root / "half.txt").read_text() == "half"


def test_diffs_of_steps(bench):
    bench.step(lambda root: (root / "a.py").write_text("a = 2\n"))
    bench.step(lambda root: None)
    bench.step(lambda root: (root / "b.py").write_text("b = 2\n"))
    assert "+a = 2" in bench.undo.diff(1)
    assert bench.undo.diff(2) == ""
    assert "+b = 2" in bench.undo.diff(2, 3)
    assert "a.py" not in bench.undo.diff(2, 3)
    assert "+a = 2" in bench.undo.diff()
    assert "+b = 2" in bench.undo.diff(0, 3)
    with pytest.raises(UserError, match="no step 7"):
        bench.undo.diff(7)


def test_files_that_were_ignored_before_are_not_the_steps_and_stay(bench):
    """Only the rules changed: the user's files show up in the second snapshot for the first time."""
    for name in (".env", "build/data.bin", "src/run.log"):
        (bench.root / name).parent.mkdir(exist_ok=True)
        (bench.root / name).write_text("precious\n")
    (bench.root / ".gitignore").write_text("build/\n*.log\n.env\n")

    def act(root):
        (root / ".gitignore").write_text("")
        (root / "made.py").write_text("made\n")

    bench.step(act)
    assert bench.go("undo") == (".gitignore", "made.py")
    assert all((bench.root / name).read_text() == "precious\n" for name in (".env", "build/data.bin", "src/run.log"))
    bench.open()
    assert bench.go("redo") == (".gitignore", "made.py")
    assert (bench.root / ".env").read_text() == "precious\n"


def test_what_no_snapshot_held_before_is_not_taken_away(bench):
    bench.open(file_limit=1000)
    (bench.root / "data").write_bytes(b"x" * 2000)
    git(bench.root, "init", "-q", "nested")
    (bench.root / "nested/mine").write_text("mine\n")

    def act(root):
        (root / "data").write_bytes(b"x" * 10)
        shutil.rmtree(root / "nested/.git")
        (root / "new").write_text("new\n")

    bench.step(act)
    assert bench.go("undo") == ("new",)
    assert (bench.root / "data").read_bytes() == b"x" * 10
    assert (bench.root / "nested/mine").read_text() == "mine\n"


def test_an_ignored_file_that_a_tool_changes_behind_a_command_comes_back(bench):
    (bench.root / "run.log").write_text("before\n")
    bench.begin()
    (bench.root / "a.py").write_text("a = 2\n")
    bench.undo.begin(1, ["run.log"])
    (bench.root / "run.log").write_text("after\n")
    bench.end()
    assert bench.go("undo") == ("a.py", "run.log")
    assert (bench.root / "run.log").read_text() == "before\n"


@pytest.mark.parametrize("paths", [None, ["a.py"]])
def test_what_the_user_does_while_a_step_waits_is_not_the_steps(bench, paths):
    bench.begin(paths)
    (bench.root / "a.py").write_text("a = 2\n")
    bench.undo.pause(1)
    (bench.root / "b.py").write_text("mine\n")
    bench.undo.begin(1, None)
    (bench.root / "src/c.py").write_text("c = 2\n")
    bench.end()
    assert bench.go("undo") == ("a.py", "src/c.py")
    assert (bench.root / "b.py").read_text() == "mine\n"


def test_a_file_that_the_user_and_the_step_changed_by_turns_is_asked_about(bench):
    bench.begin()
    (bench.root / "a.py").write_text("a = 2\n")
    bench.undo.pause(1)
    (bench.root / "a.py").write_text("a = 2\nmine\n")
    bench.undo.begin(1, None)
    (bench.root / "a.py").write_text("a = 3\nmine\n")
    bench.end()
    bench.open()
    assert bench.undo.plan("undo").disputed == ("a.py",)


def test_another_session_in_the_repository_is_not_taken_for_this_one(bench, tmp_path):
    """Both share the store: what the other one did is neither overlooked nor counted as done here."""
    bench.step(lambda root: (root / "a.py").write_text("a = 2\n"))
    other = Snapshots(bench.root, bench.state)
    (bench.root / "b.py").write_text("other\n")
    other.take()
    bench.step(lambda root: (root / "src/c.py").write_text("c = 2\n"))
    (bench.root / "a.py").write_text("other\n")
    other.take()
    assert bench.undo.plan("restore", 0).files == ("a.py", "src/c.py")
    assert bench.undo.plan("restore", 0).disputed == ("a.py",)
    other.close()


def test_snapshots_that_are_gone_shorten_the_past(bench):
    for number in range(1, 4):
        bench.step(lambda root, number=number: (root / "a.py").write_text(f"a = {number + 1}\n"))
    bench.go("undo")
    bench.go("redo")
    records = [record for record in read(bench.journal.path) if record["kind"] == "changed"]
    (bench.state / "git/refs/trees" / records[0]["tree_before"]).unlink()
    bench.open()
    with pytest.raises(UserError, match="there is no step 0; of this session are still kept 1 to 3"):
        bench.undo.plan("restore", 0)
    assert bench.go("undo") == ("a.py",)
    assert bench.go("undo") == ("a.py",)
    assert (bench.root / "a.py").read_text() == "a = 2\n"
    with pytest.raises(UserError, match="nothing to undo"):
        bench.undo.plan("undo")
    for tree in (bench.state / "git/refs/trees").iterdir():
        tree.unlink()
    bench.open()
    with pytest.raises(UserError, match="nothing to redo"):
        bench.undo.plan("redo")
    bench.step(lambda root: (root / "a.py").write_text("a = 9\n"))
    assert bench.go("undo") == ("a.py",)
    bench.open()
    assert bench.go("redo") == ("a.py",)


def test_a_store_that_is_removed_while_a_step_is_open_is_made_anew(bench):
    bench.begin()
    shutil.rmtree(bench.state)
    (bench.root / "a.py").write_text("a = 2\n")
    with pytest.raises(WorkspaceError):
        bench.end()
    bench.step(lambda root: (root / "b.py").write_text("b = 2\n"))
    assert bench.go("undo") == ("b.py",)
    assert (bench.root / "a.py").read_text() == "a = 2\n"


def test_contents_that_are_gone_stop_a_restore_before_it_begins(bench):
    bench.step(lambda root: (shutil.rmtree(root / "src"), (root / "new").write_text("new\n")))
    blob = subprocess.run(["git", "hash-object", "--stdin"], input=b"c = 1\n", capture_output=True).stdout.decode()
    (bench.state / "git/objects" / blob[:2] / blob[2:].strip()).unlink()
    with pytest.raises(UserError, match=r"src/c\.py held is no longer kept"):
        bench.go("undo")
    assert (bench.root / "new").exists()


def test_an_index_that_was_lost_loses_no_ignored_file(bench):
    (bench.root / "run.log").write_text("before\n")
    bench.step(lambda root: (root / "run.log").write_text("after\n"), paths=["run.log"])
    (bench.state / "git/index").unlink()
    bench.open()
    assert bench.undo.plan("undo").disputed == ()
    bench.go("undo")
    assert (bench.root / "run.log").read_text() == "before\n"


def test_an_empty_folder_where_a_file_was_gives_way(bench):
    bench.step(lambda root: ((root / "a.py").unlink(), (root / "a.py/empty").mkdir(parents=True)))
    bench.go("undo")
    assert (bench.root / "a.py").read_text() == "a = 1\n"


def test_a_link_with_a_long_name_comes_back(bench):
    name = "ö" * 120
    (bench.root / name).symlink_to("a.py")
    bench.step(lambda root: (root / name).unlink())
    bench.go("undo")
    assert (bench.root / name).readlink() == Path("a.py")
