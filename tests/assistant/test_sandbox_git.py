"""Git directories in all their shapes: protected, usable, and nothing left on the host."""

import subprocess
from pathlib import Path

import pytest

from assistant.safety.sandbox import Sandbox, detect

IDENTITY = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "protocol.file.allow=always")


def git(place: Path, *arguments: str) -> None:
    subprocess.run(["git", "-C", place, *IDENTITY, *arguments], check=True, capture_output=True)


@pytest.fixture
def main(tmp_path: Path) -> Path:
    path = tmp_path / "home" / "main"
    path.mkdir(parents=True)
    git(path, "init", "-q")
    (path / "a").write_text("a\n")
    git(path, "add", ".")
    git(path, "commit", "-qm", "first")
    return path


def contained(repository: Path, tmp_path: Path) -> Sandbox:
    environ = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(tmp_path / "home")}
    found = detect(repository, environ=environ, config_dirs=[tmp_path / "home" / "config"])
    if found.bwrap is None:
        pytest.skip("bubblewrap does not work here")
    return found


def everything(place: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() if path.is_file() else b"" for path in place.rglob("*")}


@pytest.mark.parametrize("missing", ["hooks", "info"])
async def test_a_missing_folder_in_git_cannot_be_made(main: Path, tmp_path: Path, missing: str) -> None:
    subprocess.run(["rm", "-r", main / ".git" / missing], check=True)
    before = everything(main)
    result = await contained(main, tmp_path).run(
        f"mkdir .git/{missing}; echo x > .git/{missing}/post-checkout", timeout=10
    )
    assert "Read-only" in result.output
    assert everything(main) == before


async def test_a_linked_work_tree(main: Path, tmp_path: Path) -> None:
    tree = tmp_path / "home" / "tree"
    git(main, "worktree", "add", "-q", str(tree))
    before = everything(main)
    sandbox = contained(tree, tmp_path)
    seen = await sandbox.run("git log --oneline | wc -l", timeout=10)
    await sandbox.run("echo x > .git; rm .git; mv .git g; echo x >> ../main/.git/config; echo x > a", timeout=10)
    assert seen.output.strip() == "1"
    assert everything(main) == before
    assert (tree / ".git").read_text().startswith("gitdir: ")
    assert (tree / "a").read_text() == "x\n"


async def test_a_submodule_by_itself_and_in_its_parent(main: Path, tmp_path: Path) -> None:
    outer = tmp_path / "home" / "outer"
    outer.mkdir()
    git(outer, "init", "-q")
    git(outer, "submodule", "add", "-q", str(main), "sub")
    before = everything(outer / ".git")
    inner = await contained(outer / "sub", tmp_path).run("git log --oneline | wc -l; echo x > .git", timeout=10)
    await contained(outer, tmp_path).run(
        "echo x > sub/.git; rm -rf sub/.git; echo x > .git/modules/sub/config", timeout=10
    )
    assert inner.output.splitlines()[0].strip() == "1"
    assert everything(outer / ".git") == before
    assert (outer / "sub" / ".git").read_text().startswith("gitdir: ")


async def test_a_git_file_opens_no_other_folder(main: Path, tmp_path: Path) -> None:
    """A repository's own `.git` file is data: it must not show what is hidden."""
    keys = tmp_path / "home" / ".ssh"
    keys.mkdir()
    (keys / "id_rsa").write_text("sesame")
    plain = tmp_path / "home" / "plain"
    plain.mkdir()
    (plain / ".git").write_text(f"gitdir: {keys}\n")
    result = await contained(plain, tmp_path).run(f"cat {keys}/id_rsa", timeout=10)
    assert "sesame" not in result.output


async def test_a_git_link_asks(main: Path, tmp_path: Path) -> None:
    plain = tmp_path / "home" / "plain"
    plain.mkdir()
    (plain / ".git").symlink_to(main / ".git")
    sandbox = contained(plain, tmp_path)
    assert not sandbox.contains
    assert ".git is a link, which commands can replace" in sandbox.lacks
    assert (await sandbox.run("echo fine", timeout=10)).output == "fine\n"


async def test_two_runs_at_once_leave_nothing_where_git_is_missing(tmp_path: Path) -> None:
    import asyncio

    plain = tmp_path / "home" / "plain"
    plain.mkdir(parents=True)
    sandbox = contained(plain, tmp_path)
    longer = asyncio.create_task(sandbox.run("sleep 0.8; mkdir -p .git/hooks; echo x > .git/config", timeout=10))
    await asyncio.sleep(0.2)
    await sandbox.run("true", timeout=10)
    await longer
    assert list(plain.iterdir()) == []
