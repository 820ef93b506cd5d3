"""Commits, branches and work trees in the user's repository: exactly what was asked, and nothing runs."""

import pytest

from assistant.errors import UserError
from assistant.workspace.repository import Repository
from tests.e2e.conftest import git, make_repository


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    (tmp_path / "gitconfig").write_text("[user]\nname = A User\nemail = a@example.org\n[commit]\ngpgSign = true\n")
    return make_repository(tmp_path / "repo", {"a.py": "a = 1\n", "b.py": "b = 1\n"})


def test_commit_takes_these_files_only(root):
    for name in ("a.py", "b.py", "new.py", "-rf"):
        (root / name).write_text("changed\n")
    git(root, "add", "b.py")
    Repository(root).commit("Change a\n\n# not a comment", ["a.py", "new.py", "-rf"])
    assert git(root, "show", "--name-only", "--format=%an|%B").split("\n")[:3] == [
        "A User|Change a",
        "",
        "# not a comment",
    ]
    assert set(git(root, "diff", "--name-only", "HEAD~1", "HEAD").split()) == {"a.py", "new.py", "-rf"}
    assert git(root, "diff", "--cached", "--name-only").split() == ["b.py"]


def test_commit_of_a_deletion(root):
    (root / "a.py").unlink()
    Repository(root).commit("Remove a", ["a.py"])
    assert git(root, "ls-files").split() == ["b.py"]


def test_branch_and_worktree_begin_here(root, tmp_path):
    (root / "a.py").write_text("unsaved\n")
    Repository(root).branch("fix/one")
    assert git(root, "branch", "--show-current").strip() == "fix/one"
    assert git(root, "status", "--porcelain").strip() == "M a.py"
    Repository(root).worktree(tmp_path / "tree", "fix/two")
    assert (tmp_path / "tree/a.py").read_text() == "a = 1\n"
    with pytest.raises(UserError, match="exists already"):
        Repository(root).worktree(tmp_path / "tree", "fix/three")


@pytest.mark.parametrize("name", ["--upload-pack=x", "-d", "a b", "", "..", "x.lock", "@{1}", "a\nb", "main"])
def test_no_name_for_a_branch(root, name):
    with pytest.raises(UserError, match=r"is no name for a branch|exists already"):
        Repository(root).branch(name)


def test_nothing_of_the_repository_runs(root):
    marker = root.parent / "ran"
    for hook in (
        "pre-commit",
        "commit-msg",
        "post-commit",
        "post-checkout",
        "reference-transaction",
        "prepare-commit-msg",
    ):
        path = root / ".git/hooks" / hook
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\ntouch {marker}\n")
        path.chmod(0o755)
    hostile = f"touch {marker} #"
    for key in (
        "core.fsmonitor",
        "filter.x.clean",
        "filter.x.smudge",
        "filter.x.process",
        "gpg.program",
        "core.editor",
    ):
        git(root, "config", key, hostile)
    git(root, "config", "commit.gpgSign", "true")
    (root / "a.py").write_text("a = 2\n")
    repository = Repository(root)
    repository.commit("Change", ["a.py"])
    repository.branch("other")
    repository.worktree(root.parent / "tree", "third")
    assert not marker.exists()
    (root / ".gitattributes").write_text("*.py filter=x\n")
    with pytest.raises(UserError, match=r"a\.py goes through the filter x"):
        repository.commit("Again", ["a.py"])
    assert not marker.exists()


def test_not_in_the_middle_of_a_merge(root):
    (root / ".git/MERGE_HEAD").write_text(git(root, "rev-parse", "HEAD"))
    with pytest.raises(UserError, match="under way"):
        Repository(root).commit("x", ["a.py"])


def test_no_message_or_files(root):
    with pytest.raises(UserError, match="needs a message"):
        Repository(root).commit(" \n", ["a.py"])
    with pytest.raises(UserError, match="nothing to commit"):
        Repository(root).commit("x", [])
