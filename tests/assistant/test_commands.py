"""The command line: what is imported for it, and that its lists agree."""

import os
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import get_args

import pytest

from assistant.cli import COMMANDS, with_default
from assistant.commands.opening import resumed_session
from assistant.commands.registry import app, run
from assistant.errors import UserError
from assistant.events import Event
from assistant.sessions import Journal, sessions_dir
from model.engine import EngineInfo
from tests.e2e.conftest import make_repository

INFO = EngineInfo("test", "test-model", "kat")


def imported(code):
    script = f"import sys\n{code}\nprint(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_every_command_is_known_by_its_first_word():
    groups = {group.name for group in app.registered_groups}
    assert {command.name for command in app.registered_commands} | groups == COMMANDS


def test_a_group_of_commands_says_what_it_needs(capsys):
    for name in ("sessions", "models"):
        assert run([name]) == 2
        said = capsys.readouterr().err
        assert said.startswith(f"kat: kat {name} needs one of list, ")
        assert said.count("\n") == 1


@pytest.mark.parametrize("arguments", [["--debug", "ask", "hi"], ["ask", "--debug", "hi"]])
def test_debugging_may_be_asked_for_anywhere(arguments):
    assert [one for one in with_default(arguments) if one != "--debug"] == ["ask", "hi"]


def test_the_last_session_to_resume_is_of_the_repository_at_hand(tmp_path, monkeypatch):
    monkeypatch.setenv("KAT_STATE", str(tmp_path / "state"))
    roots = [make_repository(tmp_path / name, {}) for name in ("shop", "docs", "new")]
    journals = [Journal.create(sessions_dir(tmp_path / "state"), root, INFO) for root in roots[:2]]
    for journal in journals:
        journal.append("user", text="hm?", think="auto", notes=[])
        journal.close()
    os.utime(journals[0].path, ns=(1, 1))
    assert [resumed_session("last", root)[1] for root in roots[:2]] == roots[:2]
    monkeypatch.chdir(roots[0])
    assert resumed_session("last", Path())[0] == journals[0].path
    monkeypatch.chdir(roots[2])
    assert resumed_session("last", Path())[0] == journals[1].path
    with pytest.raises(UserError, match="belongs to"):
        resumed_session("last", roots[2])


def test_version_imports_nothing_heavy():
    code = "import contextlib, assistant.cli\nsys.argv = ['kat', '--version']\nwith contextlib.suppress(SystemExit):"
    code += "\n    assistant.cli.main()"
    assert not imported(code) & {"textual", "langgraph", "torch", "pydantic", "typer", "httpx2", "git"}


def test_every_event_is_documented():
    page = (Path(__file__).parents[2] / "docs/commands.md").read_text("utf-8")
    for event in get_args(Event):
        assert f"`{event.kind}`" in page
        if event.kind != "approval_asked":
            row = next(line for line in page.splitlines() if line.startswith("|") and f"`{event.kind}`" in line)
            assert [field.name for field in fields(event) if field.name not in row and "…" not in row] == []


@pytest.mark.parametrize("module", ["assistant.commands.terminal", "assistant.commands.opening", "tui.app"])
def test_the_first_screen_waits_for_nothing_it_does_not_show(module):
    heavy = {"langgraph", "torch", "transformers", "xllamacpp", "pydantic", "httpx2", "git", "typer", "tokenizers"}
    assert not imported(f"import {module}") & heavy
