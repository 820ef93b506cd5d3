import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from assistant.safety.sandbox import detect
from assistant.workspace.errors import WorkspaceError
from assistant.workspace.git import GitReader, StatusEntry, environment, repository, safe_options

AUTHOR = ["-c", "user.name=a", "-c", "user.email=a@b"]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", *AUTHOR, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    root = tmp_path / "repo"
    root.mkdir()
    git(root, "init", "-q", "-b", "main")
    (root / "a.txt").write_text("one\n")
    git(root, "add", ".")
    git(root, "commit", "-q", "-m", "first")
    return root


def test_a_repository_is_found_from_below(repo: Path) -> None:
    (repo / "deep" / "er").mkdir(parents=True)
    info = repository(repo / "deep" / "er")
    assert (info.root, info.branch, info.empty) == (repo, "main", False)
    git(repo, "checkout", "-q", "--detach")
    assert repository(repo).branch is None


def test_an_empty_repository_is_fine(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "-b", "trunk")
    (tmp_path / "new").write_text("x")
    info = repository(tmp_path)
    assert (info.branch, info.empty) == ("trunk", True)
    reader = GitReader(tmp_path)
    assert reader.head() is None
    assert reader.status() == (StatusEntry("??", "new"),)
    assert reader.diff() == ""


def test_what_is_no_repository_gets_one_sentence(tmp_path: Path, repo: Path) -> None:
    bare = tmp_path / "bare.git"
    git(tmp_path, "init", "-q", "--bare", str(bare))
    broken = tmp_path / "broken"
    (broken / ".git").mkdir(parents=True)
    linked = tmp_path / "linked"
    linked.mkdir()
    (linked / ".git").symlink_to(repo / ".git")
    (tmp_path / "plain").mkdir()
    for path, said in {
        tmp_path / "missing": "does not exist",
        repo / "a.txt": "is a file",
        tmp_path / "plain": "git init",
        bare: "bare repository",
        bare / "refs": "bare repository",
        broken: "not a usable git repository",
        linked: "is a link",
    }.items():
        with pytest.raises(WorkspaceError, match=said) as error:
            repository(path)
        assert "\n" not in str(error.value)


async def test_a_directory_that_may_not_be_read(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0)
    sandbox = detect(tmp_path)
    if os.geteuid() == 0 and not sandbox.contains:
        pytest.skip("root reads everything")
    program = f"""
import pathlib
from assistant.workspace.git import repository
try:
    repository(pathlib.Path({str(tmp_path / "closed")!r}))
except Exception as error:
    print(error)
"""
    source = tmp_path / "source"  # where the sandbox shows it, wherever this checkout lies
    for package in ("assistant", "model"):
        shutil.copytree(Path(__file__).parents[2] / package, source / package)
    result = await sandbox.run([sys.executable, "-c", program], timeout=20, env={"PYTHONPATH": str(source)})
    assert result.output == f"{tmp_path / 'closed'} cannot be read; check its permissions.\n"


def test_status_diff_and_files(repo: Path) -> None:
    (repo / "a.txt").write_text("two\n")
    (repo / "ünï x").write_text("new\n")
    reader = GitReader(repo)
    assert reader.status() == (StatusEntry(" M", "a.txt"), StatusEntry("??", "ünï x"))
    assert reader.tracked_files() == ("a.txt",)
    assert reader.files() == ("a.txt", "ünï x")
    assert reader.untracked() == ("ünï x",)
    assert "-one\n+two\n" in reader.diff()
    assert reader.diff(["nothing"]) == ""
    assert reader.diff(["*.txt"]) == ""
    head = reader.head()
    assert head is not None
    assert len(head) == 40


def test_without_git_it_is_said(repo: Path) -> None:
    code = "import sys; from pathlib import Path; from assistant.workspace.git import repository\n"
    code += "try: repository(Path(sys.argv[1]))\nexcept Exception as error: print(type(error).__name__, error)"
    told = subprocess.run(
        [sys.executable, "-c", code, str(repo)], env={"PATH": "", "PYTHONPATH": str(Path.cwd())}, capture_output=True
    )
    assert told.stdout.decode() == "WorkspaceError git was not found; install it and put it on the PATH.\n"


def test_a_path_is_never_an_option(repo: Path) -> None:
    assert GitReader(repo).diff(["--output=escaped"]) == ""
    assert not (repo / "escaped").exists()


def test_a_hostile_repository_runs_nothing(repo: Path, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    ran.mkdir()
    nested = repo / "sub"
    nested.mkdir()
    git(nested, "init", "-q")
    git(nested, "commit", "-q", "--allow-empty", "-m", "x")
    (repo / ".gitattributes").write_text("*.txt filter=a=b diff=d\n")
    git(repo, "add", ".")
    git(repo, "commit", "-q", "-m", "all")
    config = repo / ".git" / "config"
    hostile = f"""
[core]
  fsmonitor = "touch {ran}/fsmonitor;"
  hooksPath = {repo}/hooks
  pager = touch {ran}/pager
[filter "a=b"]
  clean = "touch {ran}/clean; cat"
  smudge = "touch {ran}/smudge; cat"
  process = "touch {ran}/process"
  required = true
[diff]
  external = touch {ran}/external
[diff "d"]
  textconv = "touch {ran}/textconv; cat"
  command = "touch {ran}/command; true"
"""
    config.write_text(config.read_text() + hostile)
    (nested / ".git" / "config").write_text(f'[core]\n  fsmonitor = "touch {ran}/nested;"\n')
    hooks = repo / "hooks"
    hooks.mkdir()
    (hooks / "post-index-change").write_text(f"#!/bin/sh\ntouch {ran}/hook\n")
    (hooks / "post-index-change").chmod(0o755)
    (repo / "a.txt").write_text("two\n")
    os.utime(repo / "a.txt", (1, 1))
    reader = GitReader(repo)
    repository(repo), reader.status(), reader.diff(), reader.files(), reader.untracked(), reader.head()
    patch = b"--- a/a.txt\n+++ b/a.txt\n@@ -1 +1 @@\n-two\n+three\n"
    apply = ["git", *safe_options(repo), "apply", "-"]
    subprocess.run(apply, cwd=repo, env=environment(), input=patch, check=True)
    assert (repo / "a.txt").read_text() == "three\n"
    assert names(ran) == []
    subprocess.run(["git", "status"], cwd=repo, capture_output=True, check=False)
    assert "fsmonitor" in names(ran)


def test_reading_leaves_the_index_alone(repo: Path) -> None:
    os.utime(repo / "a.txt", (1, 1))
    before = (repo / ".git" / "index").read_bytes()
    reader = GitReader(repo)
    reader.status(), reader.diff()
    assert (repo / ".git" / "index").read_bytes() == before
