"""A repository whose own git directory is hostile: whatever we do with git there, nothing of it runs."""

import contextlib
import os
import subprocess
from pathlib import Path

import pytest

from assistant.errors import UserError
from assistant.fix.copy import working_copy
from assistant.workspace.files import Workspace
from assistant.workspace.git import GitReader, repository
from assistant.workspace.repository import Repository
from assistant.workspace.snapshots import Snapshots
from tests.e2e.conftest import git, make_repository

RUNS = "touch {marker}; cat"
SETTINGS = {
    "fsmonitor": {"core.fsmonitor": RUNS},
    "hooks path": {"core.hooksPath": "{evil}/hooks"},
    "clean filter": {"filter.x.clean": RUNS, "filter.x.required": "true"},
    "smudge filter": {"filter.x.smudge": RUNS},
    "process filter": {"filter.x.process": RUNS},
    "filter with = in its name": {"filter.a=b.clean": RUNS, "filter.a=b.smudge": RUNS},
    "external diff": {"diff.external": RUNS},
    "textconv": {"diff.x.textconv": RUNS},
    "diff command": {"diff.x.command": RUNS},
    "merge driver": {"merge.x.driver": RUNS},
    "pager": {"core.pager": RUNS, "pager.diff": RUNS, "pager.status": RUNS, "pager.log": RUNS},
    "editor": {"core.editor": RUNS, "sequence.editor": RUNS},
    "ask pass": {"core.askPass": RUNS, "credential.helper": "!touch {marker}"},
    "signing": {
        "commit.gpgSign": "true",
        "gpg.program": "{evil}/run",
        "tag.gpgSign": "true",
        "log.showSignature": "true",
    },
    "signing by ssh": {
        "gpg.format": "ssh",
        "gpg.ssh.program": "{evil}/run",
        "commit.gpgSign": "true",
        "user.signingKey": "x",
    },
    "alias of a command": {"alias.status": "!touch {marker}", "alias.ls-files": "!touch {marker}"},
    "included file": {"include.path": "{evil}/config"},
    "included if": {"includeIf.gitdir:/.path": "{evil}/config"},
    "alternate refs": {"core.alternateRefsCommand": RUNS},
    "ssh": {"core.sshCommand": RUNS, "remote.origin.url": "ssh://host/x", "remote.origin.promisor": "true"},
    "ext transport": {
        "remote.origin.url": "ext::touch {marker}",
        "extensions.partialClone": "origin",
        "protocol.allow": "always",
    },
    "url instead": {"url.ext::touch {marker}.insteadOf": "https://", "protocol.ext.allow": "always"},
    "trailers": {"trailer.x.command": "touch {marker}", "trailer.x.ifmissing": "add"},
    "submodule update": {"submodule.s.update": "!touch {marker}", "submodule.recurse": "true"},
    "template": {"init.templateDir": "{evil}"},
    "work tree elsewhere": {"core.worktree": "{evil}"},
    "attributes elsewhere": {"core.attributesFile": "{evil}/attributes", "filter.x.clean": RUNS},
}
ATTRIBUTES = "* filter=x diff=x merge=x\n*.py filter=a=b ident text eol=crlf working-tree-encoding=UTF-16\n"
HOOKS = (
    "pre-commit",
    "post-commit",
    "post-checkout",
    "post-index-change",
    "reference-transaction",
    "prepare-commit-msg",
)


class Evil:
    """A hostile repository, a folder of its owner's, and the marker that shows that something ran."""

    def __init__(self, folder: Path):
        self.root = make_repository(folder / "repo", {"a.py": "a = 1\n", "b.txt": "b\n"})
        self.evil = folder / "evil"
        self.marker = folder / "ran"
        (self.evil / "hooks").mkdir(parents=True)
        for name in HOOKS:
            self.program(self.evil / "hooks" / name)
            self.program(self.root / ".git/hooks" / name)
        self.program(self.evil / "run")
        (self.evil / "config").write_text(f'[core]\nfsmonitor = "touch {self.marker}; cat"\n')
        (self.evil / "attributes").write_text("* filter=x\n")
        (self.root / ".gitattributes").write_text(ATTRIBUTES)

    def program(self, path: Path):
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\ntouch {self.marker}\ncat\n")
        path.chmod(0o755)

    def set(self, key: str, value: str):
        """Write a setting as git itself would."""
        values = [text.format(marker=self.marker, evil=self.evil) for text in (key, value)]
        subprocess.run(["git", "config", "--file", self.root / ".git/config", *values], check=True)


@pytest.fixture
def evil(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    (tmp_path / "gitconfig").write_text("[user]\nname = A User\nemail = a@example.org\n")
    return Evil(tmp_path)


def everything(root: Path):
    """All that we ever do with git in a user's repository."""
    (root / "a.py").write_text("a = 2\n")
    (root / "new.py").write_text("new\n")
    reader = GitReader(root)
    reader.status()
    reader.files()
    reader.diff()
    reader.diff(["a.py"])
    reader.untracked()
    reader.tracked_though_ignored()
    reader.exclude_patterns()
    reader.branch()
    reader.head()
    repository(root)
    snapshots = Snapshots(root, root.parent / "store")
    before = snapshots.take().tree
    (root / "a.py").write_text("a = 3\n")
    after = snapshots.take(["b.txt"]).tree
    assert "+a = 3" in snapshots.diff(before, after)
    snapshots.close()
    with working_copy(Workspace(root)) as copy:
        (copy.root / "a.py").write_text("a = 4\n")
        copy.patch()
        copy.tree()
    own = Repository(root)
    for path in ("a.py", "b.txt"):
        with pytest.raises(UserError, match="goes through the filter"):
            own.commit("Change", [path])
    (root / ".gitattributes").write_text("*.py text -filter\n")
    own.commit("Change", ["a.py"])
    own.branch("other")
    own.worktree(root.parent / "tree", "third")


@pytest.mark.parametrize("name", SETTINGS)
def test_a_hostile_setting(evil, name):
    for key, value in SETTINGS[name].items():
        evil.set(key, value)
    before = {path: path.read_bytes() for path in evil.evil.rglob("*") if path.is_file()}
    everything(evil.root)
    assert not evil.marker.exists(), f"{name} ran a program"
    assert {path: path.read_bytes() for path in evil.evil.rglob("*") if path.is_file()} == before


def test_the_settings_are_dangerous_without_us(evil):
    """The control: plain git runs them."""
    evil.set("core.fsmonitor", RUNS)
    subprocess.run(["git", "status"], cwd=evil.root, capture_output=True, check=False)
    assert evil.marker.exists()


def test_a_common_directory_elsewhere(evil):
    """`.git/commondir` makes git read another directory's configuration."""
    other = make_repository(evil.evil / "other", {"x": "x"})
    subprocess.run(
        ["git", "config", "--file", other / ".git/config", "core.fsmonitor", f"touch {evil.marker}; cat"], check=True
    )
    subprocess.run(
        ["git", "config", "--file", other / ".git/config", "filter.x.clean", f"touch {evil.marker}; cat"], check=True
    )
    (evil.root / ".git/commondir").write_text(f"{other}/.git\n")
    with contextlib.suppress(UserError):  # a refusal is as good
        everything(evil.root)
    assert not evil.marker.exists()


def test_an_alternate_object_store_is_not_followed_into_snapshots(evil):
    other = make_repository(evil.evil / "other", {"secret": "SECRET"})
    (evil.root / ".git/objects/info/alternates").write_text(f"{other}/.git/objects\n")
    snapshots = Snapshots(evil.root, evil.root.parent / "store")
    taken = snapshots.take()
    blob = git(other, "rev-parse", "HEAD:secret").strip()
    with pytest.raises((UserError, ValueError)):
        snapshots.content(next(iter(snapshots.files(taken.tree).values()))._replace(blob=blob))
    snapshots.close()


@pytest.mark.parametrize("place", [".git", "link to .git"])
def test_a_git_file_that_leads_elsewhere(evil, place):
    """`.git` as a file, or a link, that names a hostile git directory outside."""
    elsewhere = evil.evil / "git"
    (evil.root / ".git").rename(elsewhere)
    subprocess.run(
        ["git", "config", "--file", elsewhere / "config", "core.fsmonitor", f"touch {evil.marker}; cat"], check=True
    )
    if place == ".git":
        (evil.root / ".git").write_text(f"gitdir: {elsewhere}\n")
    else:
        (evil.root / ".git").symlink_to(elsewhere)
    with contextlib.suppress(UserError):
        repository(evil.root)
        everything(evil.root)
    assert not evil.marker.exists()


@pytest.mark.parametrize(
    "name", ["-x", "--output=pwned", "--upload-pack=touch pwned", "HEAD --", "x;touch pwned", "$(touch pwned)"]
)
def test_names_are_never_options(evil, name):
    """A branch, a path and a snapshot called like an option."""
    own = Repository(evil.root)
    for attempt in (lambda: own.branch(name), lambda: own.worktree(evil.root.parent / "t", name)):
        with pytest.raises(UserError):
            attempt()
    (evil.root / name).write_text("text\n")
    (evil.root / ".gitattributes").unlink()
    Workspace(evil.root).git.diff([name])
    own.commit(name, [name])
    assert git(evil.root, "show", "--format=%s", "--name-only", "-z").split("\0")[0].strip().startswith(name.strip())
    found = [path for path in (*evil.root.rglob("*pwned*"), *Path.cwd().glob("*pwned*")) if ".git" not in path.parts]
    assert found in ([], [evil.root / name])


def test_variables_of_git_in_our_environment(evil, monkeypatch):
    for name in ("GIT_EXTERNAL_DIFF", "GIT_PAGER", "GIT_EDITOR", "GIT_SSH_COMMAND", "GIT_ASKPASS", "GIT_PROXY_COMMAND"):
        monkeypatch.setenv(name, f"touch {evil.marker}; cat")
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "core.fsmonitor")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", f"touch {evil.marker}; cat")
    everything(evil.root)
    assert not evil.marker.exists()
    assert os.environ["GIT_CONFIG_COUNT"] == "1"
