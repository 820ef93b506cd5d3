import os
import subprocess
import sys
from pathlib import Path

import pytest

from assistant.safety.permissions import Access
from assistant.safety.sandbox import Sandbox, detect
from assistant.tools.base import ToolContext, ToolError, ToolResult
from assistant.tools.registry import read_call
from assistant.workspace.files import Workspace
from model.format import ToolCall


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "repo"
    (path / "src").mkdir(parents=True)
    subprocess.run(["git", "init", "-q", path], check=True)
    (path / "src" / "a.py").write_text("def f():\n    return 1\n")
    return path


@pytest.fixture
def context(root: Path) -> ToolContext:
    return ToolContext(
        Workspace(root),
        detect(root),
        f"PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 {sys.executable} -m pytest -q",
        command_timeout=60,
    )


async def run(context: ToolContext, name: str, **arguments: object) -> ToolResult:
    return await read_call(ToolCall(name, arguments)).run(context)


async def test_read_file_numbers_lines_and_pages(context: ToolContext, root: Path) -> None:
    assert (await run(context, "read_file", path="src/a.py")).output == "1\tdef f():\n2\t    return 1"
    part = await run(context, "read_file", path="src/a.py", start_line="2", end_line=9)
    assert (part.output, part.summary) == ("2\t    return 1", "lines 2 to 2 of 2")
    (root / "long").write_text("".join(f"line {n}\n" for n in range(1, 5001)))
    page = await run(context, "read_file", path="long")
    assert len(page.output) < context.output_limit + 100
    assert page.output.splitlines()[-1].startswith("… lines ")
    with pytest.raises(ToolError, match="has 2 lines"):
        await run(context, "read_file", path="src/a.py", start_line=3)


async def test_read_file_shows_no_control_characters(context: ToolContext, root: Path) -> None:
    (root / "evil").write_text("\x1b]52;c;x\x07a\u202eb\n" + "x" * 5000)
    output = (await run(context, "read_file", path="evil")).output
    assert output.startswith("1\ta⟨U+202E⟩b\n")
    assert output.endswith("3,000 characters left out")


async def test_refusals_reach_the_model(context: ToolContext) -> None:
    for name, arguments, said in (
        ("read_file", {"path": "../x"}, "outside the repository"),
        ("read_file", {"path": "none"}, "does not exist"),
        ("edit_file", {"path": ".git/config", "old": "a", "new": "b"}, "never written"),
        ("write_file", {"path": "src", "content": ""}, "is a directory"),
        ("run_tests", {"target": "-p evil"}, "not an option"),
        ("run_tests", {"target": "'"}, "cannot be read"),
    ):
        with pytest.raises(ToolError, match=said):
            await run(context, name, **arguments)
        if name in ("edit_file", "write_file"):
            with pytest.raises(ToolError, match=said):
                read_call(ToolCall(name, arguments)).permission(context)


async def test_list_and_search(context: ToolContext, root: Path) -> None:
    (root / "b\x1b[31m.txt").write_text("return\n")
    assert (await run(context, "list_files")).output == "b.txt\nsrc/a.py"
    assert (await run(context, "list_files", path="src")).output == "src/a.py"
    found = await run(context, "search", pattern=r"return \d", path="*.py")
    assert (found.output, found.summary) == ("src/a.py:2: return 1", "1 match")
    assert (await run(context, "search", pattern="nowhere")).output == "Nothing matches."
    assert "plain text" in (await run(context, "search", pattern="f(")).output


async def test_edit_file_shows_its_diff_and_writes_once_approved(context: ToolContext, root: Path) -> None:
    tool = read_call(ToolCall("edit_file", {"path": "src/a.py", "old": "return 1", "new": "return 2"}))
    permission = tool.permission(context)
    assert (permission.access, permission.subject) == (Access.EDIT, str(root / "src" / "a.py"))
    assert "-    return 1\n+    return 2\n" in permission.preview
    assert "return 1" in (root / "src/a.py").read_text()
    result = await tool.run(context)
    assert (result.ok, result.summary) == (True, "+1 -1")
    assert (root / "src/a.py").read_text() == "def f():\n    return 2\n"
    with pytest.raises(ToolError, match="nearest lines"):
        tool.permission(context)


async def test_edit_file_keeps_line_endings(context: ToolContext, root: Path) -> None:
    (root / "w.txt").write_bytes(b"a\r\nb\r\nc\r\n")
    await run(context, "edit_file", path="w.txt", old="a\r\nb", new="a\r\nx\r\ny")
    assert (root / "w.txt").read_bytes() == b"a\r\nx\r\ny\r\nc\r\n"


async def test_write_file_makes_and_replaces(context: ToolContext, root: Path) -> None:
    made = await run(context, "write_file", path="new/b.py", content="x = 1\n")
    assert made.output == "Made new/b.py: +1 -0."
    tool = read_call(ToolCall("write_file", {"path": "new/b.py", "content": "x = 2\n"}))
    assert "-x = 1\n+x = 2" in tool.permission(context).preview
    assert (await tool.run(context)).summary == "+1 -1"
    assert (root / "new/b.py").read_text() == "x = 2\n"


async def test_run_command(context: ToolContext, root: Path) -> None:
    tool = read_call(ToolCall("run_command", {"command": "echo hi; touch made; exit 4"}))
    permission = tool.permission(context)
    assert (permission.access, permission.subject, permission.contained) == (
        Access.COMMAND,
        "echo hi; touch made; exit 4",
        False,
    )
    result = await tool.run(context)
    assert (result.ok, result.output) == (False, "exit code 4\nhi")
    assert (root / "made").exists()
    assert (await run(context, "run_command", command="printf '\\033[2J'")).output == "exit code 0\n(no output)"


async def test_long_output_keeps_head_and_tail(context: ToolContext) -> None:
    output = (await run(context, "run_command", command="echo head; seq 100000; echo tail")).output
    assert output.startswith("exit code 0\nhead\n")
    assert output.endswith("tail")
    assert "characters left out" in output
    assert len(output) < context.output_limit + 100


async def test_run_tests_is_contained_only_in_a_sandbox(context: ToolContext, root: Path) -> None:
    (root / "test_a.py").write_text("def test_x():\n    open('made', 'w')\n\ndef test_y():\n    assert 0\n")
    tool = read_call(ToolCall("run_tests", {}))
    assert tool.permission(context).contained is context.sandbox.contains
    bare = ToolContext(context.workspace, Sandbox(root, "none", {"PATH": os.environ["PATH"]}), "pytest")
    assert tool.permission(bare).contained is False
    result = await tool.run(context)
    assert result.summary.startswith("1 passed, 1 failed, exit code 1")
    assert "\nfailed: test_a.py::test_y\n" in result.output
    assert (await run(context, "run_tests", target="test_a.py::test_x")).ok
    assert not (root / "made").exists()
    with pytest.raises(ToolError, match="No test command"):
        tool.permission(ToolContext(context.workspace, context.sandbox))


async def test_git_diff_has_new_files_and_applies(context: ToolContext, root: Path, tmp_path: Path) -> None:
    commit = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "--allow-empty", "-m", "x"]
    subprocess.run(commit, cwd=root, check=True)
    output = (await run(context, "git_diff")).output
    assert "+++ b/src/a.py" in output
    (tmp_path / "other").mkdir()
    patch = f"{output.rstrip()}\n".encode()
    subprocess.run(["git", "apply", "-"], cwd=tmp_path / "other", input=patch, check=True)
    assert (tmp_path / "other/src/a.py").read_text() == "def f():\n    return 1\n"
    assert (await run(context, "git_diff", path="src/none")).summary == "no changes"


async def test_finish_ends_the_run(context: ToolContext) -> None:
    result = await run(context, "finish", message="All good.")
    assert (result.finish, result.output) == (True, "All good.")
