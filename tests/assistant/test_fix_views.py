"""Views of a repository, by what they say was changed in them; those that are mounts in a process of their own."""

import asyncio
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assistant.fix.changes import Change, Changes, FileState
from assistant.fix.cloning import shown
from assistant.fix.counting import counted
from assistant.fix.namespace import enter
from assistant.fix.trees import fingerprint, tree_of
from assistant.fix.views import Kind, Views, views
from assistant.safety.sandbox import detect
from assistant.workspace.files import Workspace

ODD = "re po,:中 \\ x"
IN_A_NAMESPACE = """
import os
import sys
from pathlib import Path
from assistant.fix.namespace import enter
from tests.assistant.test_fix_views import all_is_told, commands_find_their_way
repository = Path(sys.argv[1])
if os.geteuid() == 0:
    os.chown(repository / "d/x", 12345, 12345)
    assert not enter(repository, repository)
    os.chown(repository / "d/x", 0, 0)
if not enter(repository, repository):
    sys.exit(77)
all_is_told("overlay", repository)
commands_find_their_way("overlay", repository)
"""


def git(root: Path, *arguments: str, stdin: str = "") -> str:
    command = ["git", "-c", "user.name=t", "-c", "user.email=t@localhost", "-c", "protocol.file.allow=always"]
    given = stdin.encode(errors="surrogateescape")
    return subprocess.run(
        [*command, *arguments], cwd=root, input=given, check=True, capture_output=True
    ).stdout.decode()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Committed files of all kinds, and work on top of them that is not committed."""
    root = tmp_path / ODD
    (root / "d").mkdir(parents=True)
    (root / "gone").mkdir()
    for name in ("a", "d/x", "d/y", "gone/f", "tracked.log"):
        (root / name).write_text(f"{name}\n")
    (root / "link").symlink_to("d")
    git(root, "init", "-q")
    git(root, "add", "-A")
    git(root, "commit", "-qm", "start")
    (root / ".gitignore").write_text("*.log\nbuild/\n.venv\n")
    (root / "a").write_text("not committed\n")
    (root / "untracked").write_text("mine\n")
    (root / "ignored.log").write_text("mine\n")
    (root / ".venv").mkdir()
    (root / ".venv/installed").write_text("a package\n")
    return root


def state(root: Path) -> dict[str, tuple[object, ...]]:
    """Everything below a folder, its times too."""
    found = {str(path.relative_to(root)): path for path in root.rglob("*")}
    infos = {name: path.lstat() for name, path in found.items()}
    return {name: (info.st_mode, info.st_size, info.st_mtime_ns, info.st_ino) for name, info in infos.items()}


def change_much(root: Path) -> None:
    (root / "a").write_text("changed\n")
    (root / "a").chmod(0o755)
    (root / "link").unlink()
    (root / "link").mkdir()
    (root / "link/z").write_text("behind what was a link\n")
    shutil.rmtree(root / "d")
    (root / "d").write_text("a file now\n")
    shutil.move(root / "gone", root / "moved")
    (root / "to").symlink_to("/etc/passwd")
    (root / "tracked.log").write_text("ignored, but in the index\n")
    (root / ".gitignore").write_text("*.log\nbuild/\n.venv\nconftest.py\n")
    (root / "conftest.py").write_text("hidden = True\n")
    for name in ("new.log", "build/made", "__pycache__/a.pyc", ".pytest_cache/x", "moved/.git/config"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text("no part of it\n")
    os.mkfifo(root / "pipe")
    (root / "untracked").chmod(0o600)


CHANGED = {
    ".gitignore": "100644",
    "a": "100755",
    "conftest.py": "100644",
    "d": "100644",
    "d/x": None,
    "d/y": None,
    "gone/f": None,
    "link": None,
    "link/z": "100644",
    "moved/f": "100644",
    "to": "120000",
    "tracked.log": "100644",
}


def all_is_told(kind: Kind, repository: Path) -> None:
    before, index = state(repository), (repository / ".git/index").read_bytes()
    first = Change("a", FileState(b"not committed\n"), FileState(b"begun\n"))
    with views(repository) as made:
        assert kind in ("copy", made.kind)
        chosen = Views(repository, made.folder, kind)
        with chosen.view(Changes.of([first])) as view:
            assert (view.root / "a").read_text() == "begun\n"
            assert view.changes() == Changes((first,))
            change_much(view.root)
            found = view.changes()
    assert {change.path: change.new and change.new.mode for change in found.changes} == CHANGED
    by_path = {change.path: change for change in found.changes}
    assert by_path["a"].old == FileState(b"not committed\n")
    assert by_path["d/x"].old == FileState(b"d/x\n")
    assert by_path["to"].new == FileState(b"/etc/passwd", "120000")
    assert state(repository) == before
    assert (repository / ".git/index").read_bytes() == index
    assert not list(made.folder.parent.glob(made.folder.name))


def commands_find_their_way(kind: Kind, repository: Path) -> None:
    sandbox = detect(repository, environ={"PATH": os.environ["PATH"], "HOME": str(repository.parent)})
    if not sandbox.contains:
        return
    command = "pwd; cat .venv/installed; git status --short; echo new > new; touch .git/x || echo closed"
    with views(repository) as made, Views(repository, made.folder, kind).view(Changes()) as view:
        ran = asyncio.run(view.confined(sandbox).run(command, timeout=20))
        files = view.changes().files
    expected = [str(repository), "a package", " M a", "?? .gitignore", "?? untracked", "closed"]
    assert [line for line in ran.output.splitlines() if "touch" not in line] == expected
    assert files == ("new",)


def test_a_copy_tells_all_that_changed_and_nothing_that_does_not_count(repository: Path) -> None:
    all_is_told("copy", repository)


def test_commands_in_a_copy_see_it_where_the_repository_lies(repository: Path) -> None:
    commands_find_their_way("copy", repository)


def test_mounts_in_a_process_of_its_own_do_all_that_copies_do(repository: Path) -> None:
    command = [sys.executable, "-c", IN_A_NAMESPACE, repository]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=Path(__file__).parents[2])
    assert done.returncode in (0, 77), done.stderr


PATHS = st.sampled_from(["a", "d/x", "d/y", "d", "link", "link/z", "new", "d/x/deep", "tracked.log", "untracked"])
NEW = st.one_of(
    st.none(),
    st.builds(FileState, st.binary(max_size=5), st.sampled_from(["100644", "100755"])),
    st.just(FileState(b"a", "120000")),
)


def put(root: Path, path: str, new: FileState | None) -> None:
    """Make a file whatever is in its way."""
    place = root / path
    for above in reversed(place.relative_to(root).parents[:-1]):
        if (root / above).is_symlink() or (root / above).is_file():
            (root / above).unlink()
        (root / above).mkdir(exist_ok=True)
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    place.unlink(missing_ok=True)
    if new is not None and new.mode == "120000":
        place.symlink_to(os.fsdecode(new.content))
    elif new is not None:
        place.write_bytes(new.content)
        place.chmod(0o755 if new.mode == "100755" else 0o644)


@given(edits=st.lists(st.tuples(PATHS, NEW), max_size=8))
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_changes_lead_to_the_same_files_by_patch_by_layers_and_as_a_tree(
    repository: Path, edits: list[tuple[str, FileState | None]]
) -> None:
    with views(repository) as made:
        chosen = Views(repository, made.folder, "copy")
        with chosen.view(Changes()) as view:
            for path, new in edits:
                put(view.root, path, new)
            found = view.changes()
            with chosen.view(found) as again:
                assert again.changes() == found
        patched = made.folder / "patched"
        shutil.copytree(repository, patched, symlinks=True)
        if found:
            git(patched, "apply", "-", stdin=found.patch())
        git(patched, "add", "-A")
        assert git(patched, "write-tree").strip() == tree_of(repository, found)


def test_a_tree_knows_submodules_attributes_and_what_is_not_committed(repository: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "f").write_text("1\n")
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "1"]):
        git(other, *command)
    git(repository, "submodule", "--quiet", "add", str(other), "sub")
    git(repository / "sub", "commit", "--allow-empty", "-qm", "2")
    (repository / ".gitattributes").write_text("*.txt text\n")
    change = Change("crlf.txt", None, FileState(b"one\r\ntwo\r\n"))
    index = (repository / ".git/index").read_bytes()
    objects = sorted((repository / ".git/objects").rglob("*"))
    tree = tree_of(repository, Changes((change,)))
    assert (repository / ".git/index").read_bytes() == index
    assert sorted((repository / ".git/objects").rglob("*")) == objects
    (repository / "crlf.txt").write_bytes(b"one\r\ntwo\r\n")
    git(repository, "add", "-A")
    assert git(repository, "write-tree").strip() == tree


def test_files_without_git_have_a_tree_and_views_too(tmp_path: Path) -> None:
    root = tmp_path / "plain"
    root.mkdir()
    (root / "f").write_text("1\n")
    tree = tree_of(root, Changes((Change("g", None, FileState(b"2\n")),)))
    with views(root) as made, Views(root, made.folder, "copy").view(Changes()) as view:
        (view.root / "g").write_text("2\n")
        assert view.changes().files == ("g",)
    assert [path.name for path in root.iterdir()] == ["f"]
    git(root, "init", "-q")
    (root / "g").write_text("2\n")
    git(root, "add", "-A")
    assert git(root, "write-tree").strip() == tree


def test_a_fingerprint_is_another_when_a_file_is(repository: Path) -> None:
    first = fingerprint(repository)
    (repository / "ignored.log").write_text("more\n")
    assert fingerprint(repository) == first
    (repository / "d/x").write_text("d/X\n")
    second = fingerprint(repository)
    (repository / "untracked").unlink()
    assert len({first, second, fingerprint(repository)}) == 3


def test_paths_of_the_repository_name_the_files_of_its_view(repository: Path, tmp_path: Path) -> None:
    view = tmp_path / "view"
    (view / "d").mkdir(parents=True)
    (view / "d/x").write_text("of the view")
    workspace = Workspace(view, known_as=repository)
    assert workspace.read(f"{repository}/d/x").text == "of the view"
    assert workspace.relative(f"{view}/d/x") == "d/x"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_root_keeps_its_power_over_the_files_of_others(repository: Path, tmp_path: Path) -> None:
    os.chown(repository, 12345, 12345)
    assert not enter(repository, tmp_path)
    assert not enter(tmp_path, repository / "not" / "there")


def test_a_process_with_threads_is_left_where_it_is(repository: Path) -> None:
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    try:
        assert not enter(repository, repository)
    finally:
        done.set()
        thread.join()


def test_a_file_that_a_view_cannot_hold_is_no_way_out(repository: Path) -> None:
    """What lies behind a link that took the place of a folder is not read."""
    with views(repository) as made, Views(repository, made.folder, "copy").view(Changes()) as view:
        shutil.rmtree(view.root / "d")
        (view.root / "d").symlink_to("/etc")
        changes = {change.path: change.new for change in view.changes().changes}
    assert changes == {"d": FileState(b"/etc", "120000"), "d/x": None, "d/y": None}


def test_git_works_in_a_copy_of_a_linked_work_tree(repository: Path, tmp_path: Path) -> None:
    git(repository, "worktree", "add", "-q", str(tmp_path / "linked"))
    sandbox = detect(tmp_path / "linked", environ={"PATH": os.environ["PATH"], "HOME": str(tmp_path)})
    if not sandbox.moves:
        pytest.skip("bubblewrap does not work here")
    with views(sandbox.repository) as made, Views(made.repository, made.folder, "copy").view(Changes()) as view:
        ran = asyncio.run(view.confined(sandbox).run("git log --format=%s", timeout=20))
    assert ran.output == "start\n"


def test_a_file_that_no_patch_can_hold_is_not_taken_for_deleted(repository: Path) -> None:
    os.truncate(repository / "d/y", 60_000_000)
    with views(repository) as made, Views(repository, made.folder, "copy").view(Changes()) as view:
        os.truncate(view.root / "a", 60_000_000)
        os.truncate(view.root / "d/y", 1)
        assert not view.changes()


def test_a_link_in_the_place_of_a_folder_leads_no_file_out(repository: Path, tmp_path: Path) -> None:
    """One attempt made a link of a folder, and what is laid over it brings the folder's files back."""
    (tmp_path / "outside").mkdir()
    link = Change("d", None, FileState(os.fsencode(tmp_path / "outside"), "120000"))
    inside = Change("d/new", None, FileState(b"laid over it"))
    with views(repository) as made, made.layers(Changes.of([inside]).over(Changes.of([link]))) as (layer,):
        assert (layer / "d/new").read_bytes() == b"laid over it"
        assert not (layer / "d").is_symlink()
    assert not list((tmp_path / "outside").iterdir())


def test_what_lies_in_a_submodule_that_was_never_fetched_does_not_count(repository: Path) -> None:
    git(repository, "update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},sub")
    (repository / ".gitmodules").write_text('[submodule "sub"]\n\tpath = sub\n\turl = /nowhere\n')
    (repository / "sub").mkdir()
    assert counted(repository, ["sub/x", "sub", "made.log", "new"]) == ["new"]
    assert (repository / "sub", Path("/copy/sub")) in shown(repository, Path("/copy"))


def test_a_tree_of_long_names_without_the_repositories_that_git_cannot_add(tmp_path: Path) -> None:
    root = tmp_path / "root"
    for folder in (root, root / "begun"):
        folder.mkdir()
        git(folder, "init", "-q", "--object-format=sha256")
    (root / "new").mkdir()
    (root / "new/file").write_text("untracked\n")
    (root / "gone").write_text("1\n")
    git(root, "add", "gone")
    tree = tree_of(root, Changes((Change("gone", FileState(b"1\n"), None),)))
    shutil.rmtree(root / "begun")
    (root / "gone").unlink()
    git(root, "add", "-A")
    assert git(root, "write-tree").strip() == tree
