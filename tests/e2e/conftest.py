"""The `kat` command as a process, with settings, sessions and repositories of its own."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from model.engines.scripted import ScriptedServer

ROOT = Path(__file__).parents[2]
KAT = [sys.executable, "-c", "from assistant.cli import main; main()"]


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str

    @property
    def events(self):
        return [json.loads(line) for line in self.out.splitlines()]

    def records(self):
        return [event["record"] for event in self.events if event["kind"] == "step_finished"]


def environment(home: Path, **extra):
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "KAT_CACHE") if name in os.environ}
    folders = {"KAT_STATE": str(home / "state"), "KAT_CONFIG": str(home / "config")}
    return {
        **kept,
        "HOME": os.environ.get("HOME", str(home)),
        "PYTHONPATH": str(ROOT),
        "TERM": "dumb",
        **folders,
        **extra,
    }


@pytest.fixture
def kat(tmp_path, forks):
    """Runs `kat` and returns what came of it."""
    home = tmp_path / "home"
    home.mkdir()

    def run(*arguments, timeout=120, text=None, one_core=False, **extra):
        environ = environment(home, **extra)
        return Outcome(*forks.run([*map(str, arguments)], environ, text or "", timeout, one_core=one_core))

    run.home = home
    return run


@pytest.fixture
def plain_runner(kat):
    """unittest, unless a test names another command: pytest takes a second to begin, and each fix runs it often."""
    (kat.home / "config").mkdir()
    (kat.home / "config/config.toml").write_text('test_command = "python3 -m unittest -v"\n')


def git(root, *arguments):
    command = ["git", "-c", "user.name=t", "-c", "user.email=t@localhost", "-c", "commit.gpgsign=false", *arguments]
    return subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout


def make_repository(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    root.mkdir(exist_ok=True)
    git(root, "init", "-q", "-b", "main")
    git(root, "add", "-A")
    git(root, "commit", "-q", "--allow-empty", "-m", "start")
    return root


@pytest.fixture
def repository(tmp_path):
    """A small repository with one failing test."""
    return make_repository(
        tmp_path / "shop",
        {
            "shop/__init__.py": "",
            "shop/price.py": "def total(prices):\n    return sum(prices) + 1\n",
            "tests/__init__.py": "",
            "tests/test_price.py": (
                "import unittest\nfrom shop.price import total\n\n\nclass T(unittest.TestCase):\n"
                "    def test_total(self):\n        self.assertEqual(total([1, 2]), 3)\n\n"
                "    def test_type(self):\n        self.assertIsInstance(total([]), int)\n"
            ),
        },
    )


@pytest.fixture
def serve():
    """Starts scripted servers, and stops them."""
    servers = []

    def start(*lines):
        server = ScriptedServer([*lines])
        server.__enter__()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.__exit__(None, None, None)


def reply(answer, *calls, think=None, judge="It is clear."):
    """A reply in KAT's format, beginning inside the judge."""
    if think is None:
        text = f"{judge}\n</judge>\n\n<think_off>\n<answer>\n{answer}\n</answer>"
    else:
        text = f"{judge}\n</judge>\n\n<think_on>\n<think>\n{think}\n</think>\n\n<answer>\n{answer}\n</answer>"
    for name, arguments in calls:
        text += f"\n<tool_call>\n{json.dumps({'name': name, 'arguments': arguments})}\n</tool_call>"
    return text


def snapshot(root: Path):
    """Everything in a repository, its git directory included."""
    return {
        str(path.relative_to(root)): path.read_bytes() if path.is_file() else None
        for path in sorted(root.rglob("*"))
        if not path.is_symlink()
    }


@pytest.fixture(scope="session")
def served(forks):
    """The small model on a real vLLM, for all tests of the group `served`; started when the first of them asks."""
    from tests.e2e.served import served_nano

    with served_nano(forks) as server:
        yield server
