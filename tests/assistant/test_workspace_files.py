import os
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.safety.confinement.toolchains import command_path
from assistant.workspace.errors import WorkspaceError
from assistant.workspace.files import Workspace, glob_expression
from assistant.workspace.text import decode, digest


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    root = tmp_path / "repo"
    (root / "src").mkdir(parents=True)
    (root / ".git").mkdir()
    (root / "src" / "a.py").write_text("one\ntwo\n")
    (tmp_path / "outside.txt").write_text("secret")
    return Workspace(root)


def test_paths_inside_are_resolved(workspace: Workspace) -> None:
    root = workspace.root
    assert workspace.resolve("src/../src/./a.py") == root / "src" / "a.py"
    assert workspace.resolve(str(root / "src" / "a.py")) == root / "src" / "a.py"
    assert workspace.resolve("new/deep.py") == root / "new" / "deep.py"
    (root / "link").symlink_to("src")
    (root / "absolute").symlink_to(root / "src" / "a.py")
    assert workspace.read("link/a.py").text == workspace.read("absolute").text == "one\ntwo\n"


def test_the_path_that_the_user_gave_may_hold_links(tmp_path: Path, workspace: Workspace) -> None:
    (tmp_path / "alias").symlink_to(workspace.root)
    alias = Workspace(tmp_path / "alias")
    assert alias.relative(tmp_path / "alias" / "src" / "a.py") == "src/a.py"


@pytest.mark.parametrize(
    "path", ["../outside.txt", "src/../../outside.txt", "/etc/passwd", "out", "outdir/x", "chain", "loop", "", "a\0b"]
)
def test_paths_outside_are_refused(workspace: Workspace, path: str) -> None:
    root = workspace.root
    (root / "out").symlink_to("../outside.txt")
    (root / "outdir").symlink_to("/etc")
    (root / "chain").symlink_to("src/second")
    (root / "src" / "second").symlink_to("../../outside.txt")
    (root / "loop").symlink_to("loop")
    for use in (workspace.resolve, workspace.read, lambda p: workspace.write(p, "x", None)):
        with pytest.raises(WorkspaceError, match=r"outside|too many links|A path is needed"):
            use(path)


@pytest.mark.parametrize(
    "path", [".git/config", ".GIT/hooks/x", "src/.git", "sub/.git/config", ".git./x", "git~1/config", "alias/config"]
)
def test_git_is_never_written(workspace: Workspace, path: str) -> None:
    (workspace.root / "alias").symlink_to(".git")
    with pytest.raises(WorkspaceError, match="never written"):
        workspace.write(path, "x", None)
    assert list((workspace.root / ".git").iterdir()) == []


def test_only_regular_files_are_read_or_written(workspace: Workspace) -> None:
    os.mkfifo(workspace.root / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(workspace.root / "sock"))
        for name, what in (("pipe", "named pipe"), ("src", "directory")):
            with pytest.raises(WorkspaceError, match=what):
                workspace.read(name)
        for name in ("pipe", "sock", "src"):
            with pytest.raises(WorkspaceError):
                workspace.write(name, "x", None)
        with pytest.raises(WorkspaceError, match="sock cannot be used"):
            workspace.read("sock")


def test_a_hard_link_is_not_written(workspace: Workspace, tmp_path: Path) -> None:
    os.link(tmp_path / "outside.txt", workspace.root / "hard.txt")
    with pytest.raises(WorkspaceError, match="hard link"):
        workspace.read("hard.txt")
    with pytest.raises(WorkspaceError, match="hard link"):
        workspace.write("hard.txt", "x", digest(b"secret"))
    assert (tmp_path / "outside.txt").read_text() == "secret"


@pytest.mark.parametrize(
    ("data", "encoding", "newline", "text"),
    [
        ("ä\n".encode(), "utf-8", "\n", "ä\n"),
        (b"\xef\xbb\xbfa\r\nb\r\n", "utf-8", "\r\n", "a\nb\n"),
        ("ä\r\n".encode("utf-16"), "utf-16-le", "\r\n", "ä\n"),
        (b"\xfe\xff\x00a\x00\n", "utf-16-be", "\n", "a\n"),
        (b"caf\xe9\n", "latin-1", "\n", "café\n"),
        (b"a\r\nb\nc\r\n", "utf-8", "\n", "a\r\nb\nc\r\n"),
        (b"", "utf-8", "\n", ""),
        (b"no end", "utf-8", "\n", "no end"),
    ],
)
def test_a_file_keeps_its_form(workspace: Workspace, data: bytes, encoding: str, newline: str, text: str) -> None:
    path = workspace.root / "f"
    path.write_bytes(data)
    path.chmod(0o750)
    file = workspace.read("f")
    assert (file.encoding, file.newline, file.text) == (encoding, newline, text)
    workspace.write("f", file.text, file.digest)
    assert path.read_bytes() == data
    workspace.write("f", file.text + "x\n", file.digest)
    assert path.read_bytes() == file.encode(text + "x\n")
    assert path.read_bytes().startswith(data)
    assert path.stat().st_mode & 0o7777 == 0o750


@given(st.binary(max_size=60))
def test_any_bytes_come_back_or_are_refused(data: bytes) -> None:
    try:
        file = decode(data, 0o644, "f")
    except WorkspaceError:
        return
    assert file.encode(file.text) == data


ENDINGS = st.lists(st.tuples(st.text("aé“ \t", max_size=5), st.sampled_from(["\n", "\r\n", "\r"])), max_size=6)
FORMS = [("utf-8", b""), ("utf-8", b"\xef\xbb\xbf"), ("utf-16-le", b"\xff\xfe"), ("utf-16-be", b"\xfe\xff")]


@given(lines=ENDINGS, last=st.sampled_from(["", "x"]), form=st.sampled_from([*FORMS, ("latin-1", b"")]))
def test_every_mixture_of_endings_and_encodings_comes_back(
    lines: list[tuple[str, str]], last: str, form: tuple[str, bytes]
) -> None:
    text = "".join(line + ending for line, ending in lines) + last
    data = form[1] + text.replace("“", "ß").encode(form[0])
    assert decode(data, 0o644, "f").encode(decode(data, 0o644, "f").text) == data


def test_binary_and_large_files_are_refused(workspace: Workspace) -> None:
    (workspace.root / "b").write_bytes(b"\x7fELF\0\0")
    (workspace.root / "big").write_bytes(b"x" * 2_000_001)
    with pytest.raises(WorkspaceError, match="not a text file"):
        workspace.read("b")
    with pytest.raises(WorkspaceError, match="larger than 2 MB"):
        workspace.read("big")


def test_a_character_that_the_encoding_lacks(workspace: Workspace) -> None:
    path = workspace.root / "l"
    path.write_bytes(b"caf\xe9\n")
    with pytest.raises(WorkspaceError, match=r"latin-1, which cannot hold U\+2192"):
        workspace.write("l", "café →\n", workspace.read("l").digest)
    with pytest.raises(WorkspaceError, match=r"U\+D800"):
        workspace.write("made/new", "\ud800", None)
    assert path.read_bytes() == b"caf\xe9\n"
    assert not (workspace.root / "made").exists()


def test_a_new_file_makes_its_directories(workspace: Workspace) -> None:
    workspace.write("new/deep/x.py", "x\n", None)
    assert (workspace.root / "new/deep/x.py").read_text() == "x\n"
    with pytest.raises(WorkspaceError, match="exists already"):
        workspace.write("new/deep/x.py", "y\n", None)


def test_a_file_that_changed_is_not_overwritten(workspace: Workspace) -> None:
    file = workspace.read("src/a.py")
    (workspace.root / "src/a.py").write_text("someone else\n")
    with pytest.raises(WorkspaceError, match="changed since"):
        workspace.write("src/a.py", "mine\n", file.digest)
    (workspace.root / "src/a.py").unlink()
    with pytest.raises(WorkspaceError, match="is gone"):
        workspace.write("src/a.py", "mine\n", file.digest)
    assert names(workspace.root / "src") == []


def test_a_full_disk_leaves_the_old_file(workspace: Workspace) -> None:
    program = f"""
        import pathlib, resource, signal
        from assistant.workspace.files import Workspace
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        workspace = Workspace(pathlib.Path({str(workspace.root)!r}))
        try:
            workspace.write("src/a.py", "x" * 5000, workspace.read("src/a.py").digest)
        except Exception as error:
            print(error)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True)
    assert "disk is full" in done.stdout
    assert names(workspace.root / "src") == ["a.py"]
    assert (workspace.root / "src/a.py").read_text() == "one\ntwo\n"


def test_listing_honours_gitignore_and_works_without_git(tmp_path: Path) -> None:
    for name in ("a.py", "src/b.py", "src/deep/c.py", "src/d.txt", "built/x.py", "node_modules/y.js"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    workspace = Workspace(tmp_path)
    assert workspace.list().paths == ("a.py", "built/x.py", "src/b.py", "src/d.txt", "src/deep/c.py")
    (tmp_path / ".gitignore").write_text("built/\nnode_modules/\n")
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    assert workspace.list("*.py").paths == ("a.py", "src/b.py", "src/deep/c.py")
    assert workspace.list("src/*.py").paths == ("src/b.py",)
    assert workspace.list("src/**/*.py").paths == ("src/b.py", "src/deep/c.py")
    assert workspace.list("src").paths == ("src/b.py", "src/d.txt", "src/deep/c.py")
    limited = workspace.list(limit=2)
    assert (limited.paths, limited.left_out) == ((".gitignore", "a.py"), 3)


@pytest.mark.parametrize(
    ("glob", "path", "matches"),
    [
        ("*.py", "a/b.py", True),
        ("a/*.py", "a/b/c.py", False),
        ("**/test_?.py", "test_a.py", True),
        ("[!a].py", "b.py", True),
        ("[!a].py", "a.py", False),
        ("./src/", "src/a", True),
        ("src", "src2/a", False),
        ("a[", "a[", True),
        (".", "any/thing", True),
    ],
)
def test_globs(glob: str, path: str, matches: bool) -> None:
    assert bool(glob_expression(glob).match(path)) is matches


def test_searching(workspace: Workspace) -> None:
    (workspace.root / "src/b.txt").write_bytes(b"zwei two\r\nTWO\r\n")
    (workspace.root / "bin").write_bytes(b"two\0")
    found = workspace.search("tw(o)", context=1)
    assert [(m.path, m.line, m.text, m.before, m.after) for m in found.matches] == [
        ("src/a.py", 2, "two", ("one",), ("",)),
        ("src/b.txt", 1, "zwei two", (), ("TWO",)),
    ]
    assert [m.path for m in workspace.search("(?i)two", "*.txt").matches] == ["src/b.txt", "src/b.txt"]
    assert workspace.search("two", limit=1).truncated
    assert workspace.search("two(").literal
    with pytest.raises(WorkspaceError, match="pattern is needed"):
        workspace.search("")


def test_a_hostile_expression_is_stopped_and_what_was_found_stays(workspace: Workspace) -> None:
    (workspace.root / "src/z.py").write_text("a" * 40 + "b")
    found = workspace.search("one|(a+)+$", seconds=1)
    assert found.timed_out
    assert [match.path for match in found.matches] == ["src/a.py"]


def test_a_search_does_not_follow_a_directory_that_became_a_link(workspace: Workspace, tmp_path: Path) -> None:
    away = tmp_path / "away"
    away.mkdir()
    (away / "a.py").write_text("secret")
    subprocess.run(["git", "init", "-q", workspace.root], check=True)
    subprocess.run(["git", "add", "."], cwd=workspace.root, check=True)
    (workspace.root / "src" / "a.py").unlink()
    (workspace.root / "src").rmdir()
    (workspace.root / "src").symlink_to(away)
    assert workspace.search("secret").matches == ()


@pytest.mark.parametrize("versioned", [True, False])
def test_links_to_what_no_system_can_have_are_no_files(tmp_path: Path, versioned: bool) -> None:
    (tmp_path / "a.py").write_text("one\n")
    for name in ("odd.py", ".venv", ".gitmodules"):
        (tmp_path / name).symlink_to("a" * 300)
    if versioned:
        subprocess.run(["git", "init", "-q", tmp_path], check=True)
    assert Workspace(tmp_path).list().paths == ("a.py",)
    assert Workspace(tmp_path).search("one").matches
    assert f"{tmp_path}/.venv" not in command_path({}, tmp_path, sandboxed=True)
