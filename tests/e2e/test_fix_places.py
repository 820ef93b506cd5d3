"""`kat fix` in repositories and with tests as people have them, and interrupted at every stage."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time

import pytest

from tests.e2e.conftest import KAT, environment, git, make_repository, reply, snapshot

PYTEST = f"{shlex.quote(sys.executable)} -m pytest -q --disable-plugin-autoload"
pytestmark = pytest.mark.usefixtures("plain_runner")
EDIT = ("edit_file", {"path": "shop/price.py", "old": " + 1", "new": ""})
MENDED = {"reply": reply("", EDIT, ("finish", {"message": "Done."}), think="The tax is not due.")}
DONE = {"reply": reply("Done."), "times": 0}


def report(outcome):
    return json.loads(outcome.out.splitlines()[-1])


def fix(kat, root, server, *more):
    outcome = kat("fix", "--repo", root, "--engine", server.url, "--candidates", "1", "--json", *more)
    return outcome, report(outcome)


def test_flaky_tests_are_set_apart(kat, repository, serve):
    coins = "".join(
        f"    def test_coin_{n}(self):\n        self.assertLess(os.urandom(1)[0], 128)\n\n" for n in range(6)
    )
    text = f"import os, unittest\n\n\nclass F(unittest.TestCase):\n{coins}"
    (repository / "tests/test_flaky.py").write_text(text)
    for _ in range(4):  # once in a while all coins fall the same way again
        _, found = fix(kat, repository, serve(MENDED, DONE))
        if found["flaky"]:
            break
    assert found["flaky"]
    assert all("test_coin" in name for name in found["flaky"])
    assert any("test_total" in name for name in found["failed_before"])
    assert not set(found["flaky"]) & set(found["failed_before"])


def test_a_command_with_a_pipe_is_judged_by_its_tests(kat, repository, serve):
    outcome, found = fix(kat, repository, serve(MENDED, DONE), "--test", f"{PYTEST} 2>&1 | tee log.txt")
    assert found["status"] == "fixed", found["message"]
    assert found["failed_before"] == ["tests/test_price.py::T::test_total"]
    assert found["receipt"]["exit_code"] == 0
    assert not (repository / "log.txt").exists()
    assert outcome.code == 0


def test_unfinished_work_takes_part_and_stays(kat, repository, serve, tmp_path):
    (repository / "shop/rate.py").write_text("RATE = 0\n")
    path = repository / "shop/price.py"
    path.write_text("from shop.rate import RATE\n\n\n" + path.read_text().replace("+ 1", "+ RATE + 1"))
    (repository / "staged.txt").write_text("mine\n")
    git(repository, "add", "staged.txt")
    status, before = git(repository, "status", "--porcelain"), snapshot(repository)
    outcome, found = fix(kat, repository, serve(MENDED, DONE))
    assert (outcome.code, found["files"]) == (0, ["shop/price.py"])
    assert git(repository, "status", "--porcelain") == status
    assert snapshot(repository) == before
    subprocess.run(["git", "apply", "--check", "-"], cwd=repository, input=found["patch"], text=True, check=True)


def test_submodules_and_a_path_with_spaces_and_chinese(kat, serve, tmp_path):
    library = make_repository(tmp_path / "库 lib", {"tax.py": "def tax(total):\n    return 1\n"})
    root = make_repository(
        tmp_path / "我的 商店 (shop), v1:2",
        {
            "shop/__init__.py": "",
            "shop/总价 a.py": "",
            "shop/price.py": "from vendor.tax import tax\n\n\ndef total(prices):\n    return sum(prices) + 1\n",
            "tests/__init__.py": "",
            "tests/test_price.py": (
                "import unittest\nfrom shop.price import total\n\n\nclass T(unittest.TestCase):\n"
                "    def test_total(self):\n        self.assertEqual(total([1, 2]), 3)\n"
            ),
        },
    )
    git(root, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(library), "vendor")
    git(root, "commit", "-qm", "vendor")
    before = snapshot(root)
    outcome, found = fix(kat, root, serve(MENDED, DONE))
    assert outcome.code == 0, (outcome.err, found["message"])
    assert found["files"] == ["shop/price.py"]
    assert snapshot(root) == before


def test_a_repository_that_nobody_finished_setting_up(kat, serve, tmp_path):
    (kat.home / "config/config.toml").unlink()
    root = make_repository(tmp_path / "empty", {"readme.txt": "nothing\n"})
    outcome, found = fix(kat, root, serve())
    assert (outcome.code, found["status"]) == (2, "error")
    assert "--test COMMAND" in found["message"]
    assert outcome.err.count("\n") == 1


SLOW = (
    "import time\n\nfrom shop.price import total\n\n\ndef test_all():\n    {before}assert total([1, 2]) == 3\n{after}"
)


@pytest.mark.parametrize("stage", ["reproduce", "attempt", "verify"])
def test_interrupted_it_leaves_nothing_behind(repository, serve, tmp_path, stage):
    (repository / "tests/test_price.py").unlink()
    before = "time.sleep(120)\n    " if stage == "reproduce" else ""
    after = "    time.sleep(120)\n" if stage == "verify" else ""
    (repository / "tests/test_slow.py").write_text(SLOW.format(before=before, after=after))
    server = serve({**MENDED, "delay": 60} if stage == "attempt" else MENDED, DONE)
    status, files, scratch = git(repository, "status", "--porcelain"), snapshot(repository), tmp_path / "scratch"
    scratch.mkdir()
    command = [*KAT, "fix", "--repo", str(repository), "--engine", server.url, "--candidates", "1", "--test", PYTEST]
    running = subprocess.Popen(
        [*command, "--json"],
        env=environment(tmp_path / "home", TMPDIR=str(scratch)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    _wait_for(stage, server, scratch)
    os.killpg(running.pid, signal.SIGINT)
    out, err = running.communicate(timeout=60)
    found = json.loads(out.splitlines()[-1])
    assert running.returncode == 130, (found, err)
    assert found["status"] in ("error", "not_fixed")
    assert "Traceback" not in err
    assert git(repository, "status", "--porcelain") == status
    assert snapshot(repository) == files
    assert not [*scratch.glob("kat-*")]


def _wait_for(stage, server, scratch):
    """Until the stage is under way: a run was begun, or the model was asked, or it answered."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if stage == "reproduce" and [*scratch.glob("kat-*")]:
            break
        if stage != "reproduce" and server.requests:
            break
        time.sleep(0.1)
    time.sleep(2.5)
