"""Attempts to reach files outside the repository, or git's own, through the tools that read and change files.

Every attack is judged by the world outside: a folder beside the repository must be exactly as it was.
"""

import asyncio
import os
import shutil
import socket
import stat
import threading
import time
from pathlib import Path

import pytest

from assistant.errors import UserError
from assistant.safety.sandbox import Sandbox
from assistant.tools.base import ToolContext, ToolError
from assistant.tools.registry import read_call
from assistant.workspace.files import Workspace
from model.format import ToolCall

SECRET = "the secret outside\n"
TOOLS = {
    "read_file": {},
    "edit_file": {"old": "secret", "new": "stolen"},
    "write_file": {"content": "stolen\n"},
    "delete_file": {},
    "move_file": {"new_path": "taken.txt"},
}


class World:
    """A repository and the folder beside it."""

    def __init__(self, folder):
        self.root, self.outside = folder / "repo", folder / "outside"
        self.outside.mkdir()
        (self.outside / "secret.txt").write_text(SECRET)
        (self.outside / "sub").mkdir()
        (self.root / "src").mkdir(parents=True)
        (self.root / ".git" / "hooks").mkdir(parents=True)
        (self.root / ".git" / "config").write_text("[core]\n")
        (self.root / "src" / "a.py").write_text("secret = 1\n")
        self.context = ToolContext(Workspace(self.root), Sandbox(self.root, "none", {"PATH": "/usr/bin:/bin"}))
        self.before = self.state()

    def state(self):
        """Everything outside, and git's own folder: names, kinds, modes and bytes."""
        folders = (self.outside, self.root / ".git")
        paths = sorted(path for folder in folders for path in (folder, *folder.rglob("*")))
        return [(str(path), path.lstat().st_mode, path.read_bytes() if path.is_file() else b"") for path in paths]

    def call(self, name, **arguments):
        """What a call of the model gives: the permission is asked for first, then it runs as if it were given."""
        tool = read_call(ToolCall(name, arguments))
        tool.permission(self.context)
        return asyncio.run(tool.run(self.context)).output

    def attack(self, path, names=tuple(TOOLS)):
        """Every tool on this path; gives what the tools said, and holds that nothing outside is seen or changed."""
        said = []
        for name in names:
            try:
                said.append(self.call(name, path=path, **TOOLS[name]))
            except (ToolError, UserError) as error:
                said.append(str(error))
        self.holds(*said)
        return said

    def holds(self, *said):
        """Nothing outside changed, and nothing of it was said."""
        assert self.state() == self.before
        assert not any(SECRET.strip() in text for text in said)


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


@pytest.mark.parametrize(
    "path",
    [
        "../outside/secret.txt",
        "src/../../outside/secret.txt",
        "./src/.././../outside/secret.txt",
        "src//..//..//outside/secret.txt",
        "nothing/../../outside/secret.txt",
        "../repo/../outside/secret.txt",
        "src/a.py/../../../outside/secret.txt",
    ],
    ids=["parent", "up-and-out", "dots", "slashes", "through-missing", "through-itself", "through-file"],
)
def test_traversal(world, path):
    assert all("outside the repository" in text for text in world.attack(path))


@pytest.mark.parametrize("prefix", ["", "/proc/self/root", "/proc/1/root", "/proc/self/cwd/..", "//"])
def test_absolute_paths(world, prefix):
    world.attack(f"{prefix}{world.outside}/secret.txt")


def test_moving_something_out(world):
    for target in ("../outside/a.py", str(world.outside / "a.py"), "link/a.py"):
        if not (world.root / "link").exists():
            (world.root / "link").symlink_to(world.outside)
        with pytest.raises(ToolError, match="outside the repository"):
            world.call("move_file", path="src/a.py", new_path=target)
    world.holds()
    assert (world.root / "src/a.py").exists()


@pytest.mark.parametrize("absolute", [True, False])
def test_link_to_a_file(world, absolute):
    (world.root / "link.txt").symlink_to(world.outside / "secret.txt" if absolute else "../outside/secret.txt")
    world.attack("link.txt")
    assert (world.root / "link.txt").is_symlink()


def test_link_to_a_directory(world):
    (world.root / "linked").symlink_to(world.outside)
    world.attack("linked/secret.txt")
    world.attack("linked/sub/new.txt", ["write_file"])
    world.attack("linked", ["write_file", "delete_file", "move_file"])


def test_chain_of_links(world):
    (world.root / "one").symlink_to("src/two")
    (world.root / "src/two").symlink_to("../three")
    (world.root / "three").symlink_to("src/../../outside")
    world.attack("one/secret.txt")


def test_link_that_leads_out_and_in_again(world):
    (world.root / "round").symlink_to("../outside/../repo/src/a.py")
    world.attack("round")
    assert (world.root / "src/a.py").read_text() == "secret = 1\n"


def test_loop_of_links_ends(world):
    (world.root / "a").symlink_to("b")
    (world.root / "b").symlink_to("a")
    assert any("too many links" in text for text in world.attack("a"))


def test_writing_through_a_link_to_etc(world, tmp_path):
    before = sorted(Path("/etc").iterdir())
    (world.root / "etc").symlink_to("/etc")
    world.attack("etc/kat-was-here", ["write_file"])
    world.attack("etc/hostname")
    assert sorted(Path("/etc").iterdir()) == before


def test_dangling_link_is_not_filled(world):
    (world.root / "later").symlink_to(world.outside / "made.txt")
    world.attack("later", ["write_file", "move_file", "delete_file"])
    with pytest.raises(ToolError):
        world.call("move_file", path="src/a.py", new_path="later")
    world.holds()


def test_links_inside_are_neither_deleted_nor_moved(world):
    (world.root / "alias.py").symlink_to("src/a.py")
    for name in ("delete_file", "move_file"):
        with pytest.raises(ToolError, match="is a link"):
            world.call(name, path="alias.py", **TOOLS[name])
    assert (world.root / "src/a.py").read_text() == "secret = 1\n"


def racing(change, work, seconds=0.7):
    """Run `work` again and again while a thread does `change` as fast as it can; both ways of a race are tried."""
    over = threading.Event()

    def thread():
        while not over.is_set():
            change()

    racer = threading.Thread(target=thread)
    racer.start()
    end, said, count = time.monotonic() + seconds, set(), 0
    try:
        while time.monotonic() < end:
            count += 1
            try:
                said.add(work())
            except (ToolError, UserError) as error:
                said.add(str(error))
    finally:
        over.set()
        racer.join()
    assert count > 10
    return said


def swapper(path, one, other):
    """Puts two things in the place of `path` in turn; each is made beside and renamed over it."""

    def change():
        for make in (one, other):
            spare = path.with_name("spare")
            make(spare)
            spare.replace(path)

    return change


def test_file_swapped_for_a_link_while_it_is_read(world):
    change = swapper(
        world.root / "x", lambda p: p.write_text("mine\n"), lambda p: p.symlink_to(world.outside / "secret.txt")
    )
    change()
    said = racing(change, lambda: world.call("read_file", path="x"))
    world.holds(*said)
    assert any("mine" in text for text in said)


def test_file_swapped_for_a_link_while_it_is_written(world):
    change = swapper(
        world.root / "x", lambda p: p.write_text("mine\n"), lambda p: p.symlink_to(world.outside / "secret.txt")
    )
    change()
    racing(change, lambda: world.call("write_file", path="x", content="stolen\n"))
    world.holds()


@pytest.mark.parametrize("name", ["read_file", "write_file", "edit_file", "delete_file", "move_file"])
def test_directory_swapped_for_a_link(world, name):
    real, link = world.root / "real", world.root / "dir"
    real.mkdir()
    (world.outside / "f.txt").write_text(SECRET)
    world.before = world.state()

    def change():
        link.symlink_to(real)
        link.unlink()
        link.symlink_to(world.outside)
        link.unlink()
        link.mkdir()
        (link / "f.txt").write_text("a secret here\n")
        shutil.rmtree(link, ignore_errors=True)

    def guarded():
        try:
            change()
        except OSError:
            link.unlink(missing_ok=True) if link.is_symlink() else shutil.rmtree(link, ignore_errors=True)

    arguments = TOOLS[name]
    said = racing(guarded, lambda: world.call(name, path="dir/f.txt", **arguments), 0.4)
    world.holds(*said)


def test_directory_replaced_by_a_link_just_before_the_rename(world):
    """The moment that counts, met exactly: the new file is written, the directory is then another."""
    folder, workspace = world.root / "src", world.context.workspace
    expect = workspace.read("src/a.py").digest

    class Moving(Workspace):
        def _unchanged(self, *arguments):
            if folder.is_dir() and not folder.is_symlink() and list(folder.glob(".*.kat")):
                folder.rename(world.root / "away")
                folder.symlink_to(world.outside)
            super()._unchanged(*arguments)

    with pytest.raises(UserError):
        Moving(world.root).write("src/a.py", "stolen\n", expect)
    assert (world.root / "away/a.py").read_text() == "secret = 1\n"
    world.holds()


def test_hard_link_to_a_file_outside(world):
    os.link(world.outside / "secret.txt", world.root / "hard.txt")
    assert all("hard link" in text for text in world.attack("hard.txt"))
    assert (world.root / "hard.txt").exists()


@pytest.mark.parametrize("folder", ["src", "node_modules/left-pad", ".venv/lib/python3.12/site-packages"])
def test_searching_and_reading_through_a_hard_link(world, folder):
    """One to a file that only its owner may read is refused even where package managers make hard links."""
    (world.outside / "secret.txt").chmod(0o600)
    world.before = world.state()
    (world.root / folder).mkdir(parents=True, exist_ok=True)
    os.link(world.outside / "secret.txt", world.root / folder / "hard.txt")
    world.attack(f"{folder}/hard.txt")
    world.holds(world.call("search", pattern="secret outside"), world.call("search", pattern="s", path=folder))


def test_hard_links_inside_and_those_of_installed_packages_are_read(world):
    package = world.root / "node_modules/left-pad/index.js"
    package.parent.mkdir(parents=True)
    (world.outside / "store.js").write_text("exports = 1\n")
    (world.outside / "store.js").chmod(0o644)
    os.link(world.outside / "store.js", package)
    os.link(world.root / "src/a.py", world.root / "src/same.py")
    world.before = world.state()
    assert world.call("read_file", path="node_modules/left-pad/index.js") == "1\texports = 1"
    assert world.call("read_file", path="src/same.py") == "1\tsecret = 1"
    assert "src/same.py:1: secret = 1" in world.call("search", pattern="secret")
    for name in ("edit_file", "write_file", "delete_file", "move_file"):
        for path in ("node_modules/left-pad/index.js", "src/same.py"):
            with pytest.raises(ToolError, match="hard link"):
                world.call(name, path=path, **TOOLS[name] | ({"old": "1", "new": "2"} if name == "edit_file" else {}))
    world.holds()


def test_hard_link_to_gits_configuration(world):
    os.link(world.root / ".git/config", world.root / "config.txt")
    world.attack("config.txt", ["edit_file", "write_file", "delete_file"])


def test_named_pipe_does_not_hang(world):
    os.mkfifo(world.root / "pipe")
    start = time.monotonic()
    said = world.attack("pipe")
    assert time.monotonic() - start < 2
    assert all("named pipe" in text for text in said)


def test_socket(world):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(world.root / "sock"))
        world.attack("sock")
        assert stat.S_ISSOCK((world.root / "sock").stat().st_mode)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make devices")
def test_device(world):
    try:
        os.mknod(world.root / "null", 0o600 | stat.S_IFCHR, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("devices cannot be made here")
    assert all("device" in text for text in world.attack("null"))


@pytest.mark.parametrize(
    "path",
    [
        ".git/config",
        ".GIT/config",
        ".Git/hooks/pre-commit",
        ".git./config",
        ".git /config",
        "git~1/config",
        "GIT~1/hooks/pre-commit",
        "src/../.git/config",
        "sub/.git/config",
        ".git",
        ".git/../.git/config",
        ".ｇｉｔ/config",
        ".g\u200cit/config",
        ".git\u200b/config",
        ".git::$INDEX_ALLOCATION/config",
        ".git\\config",
    ],
)
def test_git_is_out_of_reach(world, path):
    for name in ("edit_file", "write_file", "delete_file", "move_file"):
        world.attack(path, [name])
    with pytest.raises((ToolError, UserError)):
        world.call("move_file", path="src/a.py", new_path=path)
    world.holds()


def test_git_behind_a_link(world):
    (world.root / "alias").symlink_to(".git")
    world.attack("alias/config", ["edit_file", "write_file", "delete_file", "move_file"])
    world.attack("alias/hooks/pre-commit", ["write_file"])


@pytest.mark.parametrize(
    "name",
    [
        "a\n+++ b/other.py",
        "\x1b]0;owned\x07a.py",
        "a\x9b2Jb",
        "a\r.py",
        "a\x00b",
        "\ud800.py",
        "caf\udce9.py",
        "a\u2028b",
    ],
    ids=["newline", "osc", "csi-8bit", "return", "nul", "surrogate", "latin-1", "line-separator"],
)
def test_names_that_deceive_are_not_written(world, name):
    names = set(world.root.iterdir())
    said = world.attack(name, ["write_file", "edit_file"])
    with pytest.raises((ToolError, UserError)):
        world.call("move_file", path="src/a.py", new_path=name)
    assert set(world.root.iterdir()) == names
    assert not any(char in text for text in said for char in "\x1b\x9b\x07")


@pytest.mark.parametrize("name", ["-rf", "--help", "~root", "$HOME", "a;b", "..a", "...", "a b", "C:\\x", "src∕a.py"])
def test_names_that_only_look_strange_are_names(world, name):
    world.call("write_file", path=name, content="x\n")
    assert (world.root / name).read_text() == "x\n"
    world.call("delete_file", path=name)
    world.holds()


def test_slash_look_alikes_lead_nowhere(world):
    for path in (
        "..∕outside∕secret.txt",
        "..／outside／secret.txt",
        "..\\outside\\secret.txt",
        "%2e%2e/outside/secret.txt",
    ):
        world.attack(path)


@pytest.mark.parametrize(
    "path", ["x" * 300, "a/" * 3000 + "b", "../" * 2000 + "etc/passwd", "é" * 200], ids=["name", "deep", "up", "bytes"]
)
def test_very_long_paths(world, path):
    world.attack(path)


def test_a_name_that_just_fits_is_written(world):
    name = "\U0001f40d" * 63
    world.call("write_file", path=name, content="x\n")
    assert (world.root / name).read_text() == "x\n"


def test_other_case_of_a_name_is_another_file(world):
    world.attack("SRC/A.PY", ["edit_file", "delete_file"])
    assert (world.root / "src/a.py").read_text() == "secret = 1\n"


def test_a_preview_cannot_pretend_to_be_of_another_file(world):
    evil = "x\r--- a/other.py\r+++ b/other.py\rdiff --git a/z b/z"
    (world.root / "f.txt").write_bytes(f"{evil}\nkeep\n".encode())
    tool = read_call(ToolCall("edit_file", {"path": "f.txt", "old": "keep", "new": "kept"}))
    rows = tool.permission(world.context).preview.split("\n")
    assert [row for row in rows if row.startswith(("---", "+++", "diff"))] == [
        "diff --git a/f.txt b/f.txt",
        "--- a/f.txt",
        "+++ b/f.txt",
    ]


def test_an_approval_is_void_when_the_file_is_another(world):
    tool = read_call(ToolCall("write_file", {"path": "src/a.py", "content": "x\n"}))
    approved = tool.permission(world.context)
    (world.root / "src/a.py").write_text("secret = 2\n")
    assert tool.permission(world.context) != approved
    (world.root / "src/a.py").unlink()
    (world.root / "src/a.py").symlink_to("../src2.py")
    assert tool.permission(world.context) != approved


def test_moving_never_overwrites(world):
    (world.root / "b.py").write_text("precious\n")
    with pytest.raises(ToolError, match="exists already"):
        world.call("move_file", path="src/a.py", new_path="b.py")

    def change():
        (world.root / "c.py").write_text("precious\n")
        (world.root / "c.py").unlink(missing_ok=True)

    def work():
        (world.root / "d.py").write_text("moved\n")
        world.context.workspace.move("d.py", "c.py")
        (world.root / "c.py").unlink(missing_ok=True)
        return "moved"

    racing(change, work, 0.3)
    assert (world.root / "b.py").read_text() == "precious\n"
    world.holds()


def test_searching_and_listing_stay_inside(world):
    (world.root / "linked").symlink_to(world.outside)
    (world.root / "link.txt").symlink_to(world.outside / "secret.txt")
    said = [
        world.call("search", pattern="secret"),
        world.call("list_files"),
        world.call("list_files", path="linked"),
        world.call("search", pattern="the secret", path="linked/*"),
    ]
    world.holds(*said)
    assert "src/a.py:1: secret = 1" in said[0]
