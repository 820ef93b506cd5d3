"""A branch with exactly the patch and nothing else touched; a message as the repository words its own."""

import os
import subprocess
from dataclasses import replace
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assistant.errors import UserError
from assistant.fix.changes import Change, Changes, FileState
from assistant.fix.deliver import check_branch, commit_on_branch, history, write_patch
from assistant.fix.message import Occasion, commit_message
from assistant.fix.report import FixReport
from assistant.fix.wording import Mood, in_mood, style_of
from assistant.safety.sanitize import sanitize
from tests.e2e.conftest import git, make_repository

OLD = "class Stock:\n    def reserve(self, n):\n        self.n -= n + 1\n        return self\n"
NEW = OLD.replace("n + 1", "n")
FAILED = ("tests/test_stock.py::TestStock::test_reserve[fixes #12 @someone]",)


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    (tmp_path / "gitconfig").write_text("[user]\nname = A User\nemail = a@example.org\n[commit]\ngpgSign = true\n")
    return make_repository(tmp_path / "repo", {"src/stock.py": OLD, "b.py": "b = 1\n"})


def report(*changes: Change, failed=FAILED, command="pytest -q", **more) -> FixReport:
    made = Changes.of(changes or [Change("src/stock.py", FileState(OLD.encode()), FileState(NEW.encode()))])
    return FixReport("fixed", "ok", command, failed, patch=made.patch(), files=made.files, **more)


@cache
def plain_report() -> FixReport:
    return report()


def state(root):
    """All that must stay as it is."""
    index = (root / ".git/index").read_bytes()
    files = {path: path.read_bytes() for path in root.rglob("*") if path.is_file() and ".git" not in path.parts}
    return index, files, git(root, "symbolic-ref", "HEAD"), git(root, "rev-parse", "HEAD")


def test_a_branch_with_exactly_the_patch(root):
    (root / "b.py").write_text("b = 2\n")
    git(root, "add", "b.py")
    (root / "new.txt").write_text("mine\n")
    before = state(root)
    done = commit_on_branch(report(), root, "fix/stock")
    assert state(root) == before
    unsaved, unsigned = done.note.split(". ")
    assert unsaved == "It was tested together with changes that are not committed"
    assert unsigned == "It is not signed, though your settings ask for that."
    assert git(root, "rev-parse", "fix/stock").strip() == done.commit
    assert git(root, "rev-parse", "fix/stock~1") == git(root, "rev-parse", "HEAD")
    assert git(root, "show", "fix/stock:src/stock.py") == NEW
    assert git(root, "diff", "--name-only", "HEAD", "fix/stock").split() == ["src/stock.py"]
    shown = git(root, "show", "-s", "--format=%an <%ae>|%G?|%s", "fix/stock").strip()
    assert shown == "A User <a@example.org>|N|Fix reserve so that test_reserve passes"


def test_files_come_go_and_change_their_mode(root):
    text = FileState("价格\n".encode("gb18030"))
    made = report(
        Change("名 字/价.txt", None, text),
        Change("b.py", FileState(b"b = 1\n"), None),
        Change("src/stock.py", FileState(OLD.encode()), FileState(OLD.encode(), "100755")),
        Change("to", None, FileState(b"b.py", "120000")),
        Change("b.bin", None, FileState(bytes(range(256)))),
    )
    git(root, "config", "commit.gpgSign", "false")
    assert commit_on_branch(made, root, "all").note == ""
    listing = git(root, "-c", "core.quotePath=false", "ls-tree", "-r", "all").splitlines()
    assert [(row[:6], row.partition("\t")[2]) for row in listing] == [
        ("100644", "b.bin"),
        ("100755", "src/stock.py"),
        ("120000", "to"),
        ("100644", "名 字/价.txt"),
    ]
    raw = subprocess.run(["git", "show", "all:名 字/价.txt"], cwd=root, capture_output=True, check=True).stdout
    assert raw == text.content


def test_what_git_keeps_with_other_line_endings(root):
    (root / ".gitattributes").write_text("*.py text eol=crlf\n")
    git(root, "add", ".gitattributes")
    git(root, "commit", "-qm", "attributes")
    crlf = [FileState(text.replace("\n", "\r\n").encode()) for text in (OLD, NEW)]
    commit_on_branch(report(Change("src/stock.py", *crlf)), root, "crlf")
    assert git(root, "show", "crlf:src/stock.py") == NEW


def test_a_patch_on_work_that_is_not_committed(root):
    mine = OLD.replace("return self", "return None")
    (root / "src/stock.py").write_text(mine)
    made = report(Change("src/stock.py", FileState(mine.encode()), FileState(b"gone\n")))
    before = state(root)
    with pytest.raises(UserError, match=r"changes to src/stock\.py that are not committed.* --apply or --patch"):
        commit_on_branch(made, root, "fix")
    assert state(root) == before
    assert git(root, "branch", "--list", "fix") == ""


@pytest.mark.parametrize("name", ["--force", "a b", "", "x.lock", "main", "main/below", "a\nb"])
def test_names_that_are_none(root, name):
    with pytest.raises(UserError, match=r"no name for a branch|exists already|cannot be made") as caught:
        commit_on_branch(report(), root, name)
    assert "\n" not in str(caught.value)


def test_no_commit_nobody_and_filters(root, tmp_path):
    (tmp_path / "empty").mkdir()
    git(tmp_path / "empty", "init", "-q")
    with pytest.raises(UserError, match="no commit yet"):
        check_branch(tmp_path / "empty", "x")
    (tmp_path / "gitconfig").write_text("[user]\nuseConfigOnly = true\n")
    with pytest.raises(UserError, match=r"set user\.name"):
        check_branch(root, "x")
    (tmp_path / "gitconfig").write_text("[user]\nname = A\nemail = a@b.c\n")
    (root / ".git/info/attributes").write_text("*.py filter=lfs\n")
    with pytest.raises(UserError, match="filter lfs"):
        commit_on_branch(report(), root, "x")


def test_nothing_of_the_repository_runs(root, tmp_path):
    marker = tmp_path / "ran"
    hooks = ("reference-transaction", "post-commit", "commit-msg", "pre-commit", "applypatch-msg", "post-index-change")
    for hook in hooks:
        path = root / ".git/hooks" / hook
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\ntouch {marker}\n")
        path.chmod(0o755)
    for key in ("core.fsmonitor", "filter.x.clean", "gpg.program", "core.editor", "gpg.ssh.program"):
        git(root, "config", key, f"touch {marker} #")
    git(root, "config", "log.showSignature", "true")
    before = os.environ.copy()
    commit_on_branch(report(), root, "fix")
    assert not marker.exists()
    assert os.environ == before


def test_history_is_whole_messages_without_merges(root):
    git(root, "commit", "-q", "--allow-empty", "-m", "修复\n\nbody\n\n- a list")
    assert history(root)[0] == "修复\n\nbody\n\n- a list"
    assert len(history(root)) == 2


def test_a_patch_file_is_exact(tmp_path):
    write_patch(tmp_path / "a.patch", "a\r\nb\udcff\n")
    assert (tmp_path / "a.patch").read_bytes() == b"a\r\nb\xff\n"
    with pytest.raises(UserError, match=r"cannot be written to .*No such file"):
        write_patch(tmp_path / "no/a.patch", "")


SIGNED = "\n\nSigned-off-by: A <a@b>"
AUTHOR = Occasion("A User <a@example.org>", ("fix/abc-77-stock", "see ABC-7"))
BODY = "Failed before and passes now:\ntests/test_stock.py::TestStock::test_reserve.\nTested with: pytest -q"
SAMPLES = {
    "no style yet": (["wip"], f"Fix reserve so that test_reserve passes\n\n{BODY}"),
    "conventional with scopes": (
        ["fix(stock): handle none\n\nWhy.", "feat(prices): add vat\n\nWhy.", "chore: bump"],
        f"fix(stock): correct reserve so that test_reserve passes\n\n{BODY}",
    ),
    "conventional, capital, stop": (
        ["Fix: Handle none.", "Feat: Add vat.", "Docs: Added much."],
        "Fix: Correct reserve so that test_reserve passes.",
    ),
    "scopes of others": (
        ["fix(db): a", "fix(ui): b", "feat(db): c"],
        "fix: correct reserve so that test_reserve passes",
    ),
    "gitmoji": (["✨ Add a", "🐛 Fix b", "📝 Document c"], "🐛 Fix reserve so that test_reserve passes"),
    "codes": ([":sparkles: add a", ":bug: fix b", ":memo: c"], ":bug: fix reserve so that test_reserve passes"),
    "tickets": (
        ["ABC-12: Fixed a", "ABC-3: Added b", "Removed c"],
        "ABC-77: Fixed reserve so that test_reserve passes",
    ),
    "tickets in brackets": (["[XY-1] add a", "[XY-2] fix b", "[XY-3] c"], "fix reserve so that test_reserve passes"),
    "areas": (["stock: fixes a", "prices: adds b", "src: c"], "stock: fixes reserve so that test_reserve passes"),
    "Chinese": (["修复 库存计算。", "新增 价格。", "bump"], "修复 reserve，使 test_reserve 通过。"),
    "Chinese, conventional": (["fix：修复库存", "feat：新增", "docs：文档"], "fix：修复 reserve，使 test_reserve 通过"),
    "Japanese": (["在庫のバグを直す", "価格を足す", "文書を直す"], "Fix reserve so that test_reserve passes"),
    "signed": (
        [f"Add a{SIGNED}", f"Fix b{SIGNED}", f"Drop c{SIGNED}"],
        "Fix reserve so that test_reserve passes\n\nSigned-off-by: A User <a@example.org>",
    ),
}


@pytest.mark.parametrize(("messages", "wanted"), SAMPLES.values(), ids=SAMPLES)
def test_a_message_as_they_are_here(messages, wanted):
    assert commit_message(plain_report(), messages, AUTHOR) == f"{wanted}\n"


def test_what_is_named_is_what_was_changed():
    def subject(old: str, new: str, **more) -> str:
        made = report(Change("src/stock.py", FileState(old.encode()), FileState(new.encode())), **more)
        return commit_message(made, []).splitlines()[0]

    below = f"{OLD}\n\n\n\nLIMIT = 3\n"
    assert subject(below, below.replace("3", "4")) == "Fix stock.py so that test_reserve passes"
    assert subject(OLD, OLD.replace("reserve", "take")) == "Fix reserve so that test_reserve passes"
    assert subject(OLD, NEW, failed=()) == "Fix reserve so that the tests pass"
    assert subject(OLD, NEW, failed=("a::b", "c::d")) == "Fix reserve so that 2 tests pass"
    assert subject(OLD, NEW, failed=(f"a::{'long_' * 20}",)) == "Fix reserve"
    two = report(Change("b.py", None, FileState(b"")), Change("c.py", None, FileState(b"")))
    assert commit_message(two, []).startswith("Fix b.py and 1 more so that")


_hostile = st.text(max_size=40) | st.sampled_from(
    ["x\n\nSigned-off-by: M <m@m>", "closes #1", "@all", "\x1b[31m", "a\u202eb"]
)


@settings(deadline=None, max_examples=60)
@given(st.lists(_hostile, max_size=8), _hostile, st.lists(_hostile, max_size=6), st.lists(_hostile, max_size=2))
def test_nothing_in_a_message_is_of_others_making(failed, command, messages, texts):
    made = replace(plain_report(), failed_before=tuple(failed), test_command=command)
    said = commit_message(made, messages, Occasion("A <a@b>", tuple(texts)))
    rows = said.splitlines()
    assert len(rows[0]) <= 72
    assert len(rows) < 3 or rows[1] == ""
    assert sanitize(said) == said
    assert sum(row.startswith("Signed-off-by:") for row in rows) == style_of(messages).signed
    ours = said.removesuffix("Signed-off-by: A <a@b>\n").partition("Tested with:")[0]
    assert not {"#", "@"} & {*ours} - {*"".join(texts)}


@given(st.sampled_from(["fix", "correct", "allow", "use", "make"]), st.sampled_from(Mood))
def test_forms_are_read_as_they_are_written(verb, mood):
    messages = [f"{in_mood(verb, mood)} a", f"{in_mood('remove', mood)} b", f"{in_mood('change', mood)} c"]
    assert style_of(messages).mood is mood
