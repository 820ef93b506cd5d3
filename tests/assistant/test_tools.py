import os
import subprocess
import sys
from pathlib import Path

import pytest

from assistant.safety.permissions import Access, Permissions
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
    try:
        return await read_call(ToolCall(name, arguments)).run(context)
    finally:
        context.seen.next_reply()


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


async def test_a_write_protected_file_stays(context: ToolContext, root: Path) -> None:
    (root / "src/a.py").chmod(0o444)
    for name, arguments in (
        ("edit_file", {"old": "1", "new": "2"}),
        ("write_file", {"content": ""}),
        ("delete_file", {}),
    ):
        with pytest.raises(ToolError, match="write-protected"):
            await run(context, name, path="src/a.py", **arguments)
    assert (root / "src/a.py").read_text() == "def f():\n    return 1\n"


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


async def test_several_edits_are_done_or_none(context: ToolContext, root: Path) -> None:
    file = root / "src/a.py"
    edits = [{"old": "def f", "new": "def g"}, {"old": "return 1", "new": "return 2"}]
    result = await run(context, "edit_file", path="src/a.py", edits=edits)
    assert (result.summary, file.read_text()) == ("+2 -2", "def g():\n    return 2\n")
    bad = [{"old": "def g", "new": "def h"}, {"old": "return 7", "new": "x"}, {"old": "return 2", "new": "return 3"}]
    with pytest.raises(ToolError, match=r"Edit 2 of 3 failed and nothing was written \(the others matched; send all"):
        await run(context, "edit_file", path="src/a.py", edits=bad)
    assert file.read_text() == "def g():\n    return 2\n"


async def test_a_later_edit_sees_what_the_earlier_left(context: ToolContext, root: Path) -> None:
    edits = [{"old": "return 1", "new": "x = 1\n    return x"}, {"old": "x = 1", "new": "x = 2"}]
    await run(context, "edit_file", path="src/a.py", edits=edits)
    assert (root / "src/a.py").read_text() == "def f():\n    x = 2\n    return x\n"


async def test_edits_as_models_write_them(context: ToolContext, root: Path) -> None:
    await run(context, "edit_file", path="src/a.py", edits='[{"old": "return 1", "new": "return 2"}]')
    await run(context, "edit_file", path="src/a.py", edits={"old": "return 2", "new": "return 3"})
    await run(context, "edit_file", path="src/a.py", old="f()", new="g()", all="true")
    await run(context, "edit_file", path="src/a.py", old="    return 3\n", new="")
    assert (root / "src/a.py").read_text() == "def g():\n"
    for arguments, said in (
        ({"old": "x"}, "needs new; edit_file takes path with old and new"),
        ({"new": "x"}, "needs old"),
        ({"old": "a", "new": "b", "edits": [{"old": "a", "new": "b"}]}, "given both"),
        ({"edits": [{"old": "a"}]}, r"needs edits\.0\.new"),
        ({"edits": "nonsense"}, "cannot use edits"),
    ):
        with pytest.raises(ToolError, match=said):
            read_call(ToolCall("edit_file", {"path": "src/a.py", **arguments}))


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("edit_file", {"old": "return 1", "new": "return 2"}),
        ("write_file", {"content": "mine\n"}),
        ("delete_file", {}),
    ],
)
async def test_a_file_that_changed_since_it_was_read_is_shown_instead(
    context: ToolContext, root: Path, name: str, arguments: dict[str, str]
) -> None:
    file = root / "src/a.py"
    await run(context, "read_file", path="src/a.py")
    file.write_text("def f():\n    return 1  # by somebody else\n")
    tool = read_call(ToolCall(name, {"path": "src/a.py", **arguments}))
    for _ in range(2):  # a call may be planned twice
        with pytest.raises(ToolError, match="changed since you read it") as error:
            tool.permission(context)
        assert "\n2\t    return 1  # by somebody else" in str(error.value)
    assert "somebody else" in file.read_text()
    with pytest.raises(ToolError, match="changed since you read it"):  # of the same reply, written before it was shown
        read_call(ToolCall(name, {"path": "src/a.py", **arguments})).permission(context)
    context.seen.next_reply()
    again = read_call(ToolCall(name, {"path": "src/a.py", **arguments}))
    again.permission(context)
    assert (await again.run(context)).ok
    assert not file.exists() or file.read_text() != "def f():\n    return 1  # by somebody else\n"


async def test_the_fresh_text_of_a_large_file_is_its_nearest_lines(context: ToolContext, root: Path) -> None:
    file = root / "long.py"
    file.write_text("".join(f"value_{number} = {number}\n" for number in range(3000)))
    await run(context, "read_file", path="long.py")
    file.write_text(file.read_text().replace("value_2000 = 2000", "the_one_that_counts = 7"))
    with pytest.raises(ToolError) as error:
        await run(context, "edit_file", path="long.py", old="the_one_that_counts = 2000", new="x = 1")
    assert "\n2001\tthe_one_that_counts = 7\n" in str(error.value)
    assert len(str(error.value)) < context.output_limit + 500


async def test_what_the_agent_wrote_itself_counts_as_read(context: ToolContext, root: Path) -> None:
    await run(context, "write_file", path="b.py", content="if x:\n    y = 1\n")
    assert (await run(context, "edit_file", path="b.py", old="if x:\n  y = 1", new="if x:\n  y = 2")).ok
    await run(context, "move_file", path="b.py", new_path="c.py")
    (root / "c.py").write_text("other\n")
    with pytest.raises(ToolError, match="changed since"):
        await run(context, "edit_file", path="c.py", old="other", new="x")
    (root / "c.py").write_text("another\n")
    await run(context, "move_file", path="c.py", new_path="d.py")
    with pytest.raises(ToolError, match="changed since"):
        await run(context, "edit_file", path="d.py", old="another", new="x")


async def test_a_file_never_read_is_edited_only_by_its_exact_text(context: ToolContext, root: Path) -> None:
    with pytest.raises(ToolError, match=r"have not read src/a.py.*\n1\tdef f"):
        await run(context, "edit_file", path="src/a.py", old="  def f():\n      return 1", new="  def f():\n      x")
    assert (root / "src/a.py").read_text() == "def f():\n    return 1\n"
    assert (await run(context, "edit_file", path="src/a.py", old="return 1", new="return 2")).ok


async def test_a_file_that_no_longer_parses_is_written_with_a_warning(context: ToolContext, root: Path) -> None:
    broken = await run(context, "edit_file", path="src/a.py", old="return 1", new="return (1")
    assert "no longer parses, the first error is at line 2" in broken.output
    still = await run(context, "edit_file", path="src/a.py", old="(1", new="((1")
    assert "parse" not in still.output
    assert "does not parse" in (await run(context, "write_file", path="b.json", content='{"a": }')).output
    assert "parse" not in (await run(context, "write_file", path="c.txt", content="((((")).output


async def test_a_whole_file_with_lines_left_out_is_not_written(context: ToolContext, root: Path) -> None:
    with pytest.raises(ToolError, match="leaves out lines"):
        await run(context, "write_file", path="src/a.py", content="# ... existing code ...\n\ndef g():\n    pass\n")
    assert (root / "src/a.py").read_text() == "def f():\n    return 1\n"


async def test_deleting_shows_what_goes(context: ToolContext, root: Path) -> None:
    tool = read_call(ToolCall("delete_file", {"path": "src/a.py"}))
    permission = tool.permission(context)
    assert (permission.access, permission.subject) == (Access.EDIT, str(root / "src/a.py"))
    assert "deleted file mode" in permission.preview
    assert "-    return 1\n" in permission.preview
    assert (await tool.run(context)).output == "Deleted src/a.py: +0 -2."
    assert list((root / "src").iterdir()) == []
    for path, said in (("src", "is a directory"), ("src/a.py", "does not exist")):
        with pytest.raises(ToolError, match=said):
            await run(context, "delete_file", path=path)


async def test_moving_keeps_bytes_and_mode(context: ToolContext, root: Path) -> None:
    content = b"\0\xff" * 1_500_000
    (root / "bin").write_bytes(content)
    (root / "bin").chmod(0o751)
    tool = read_call(ToolCall("move_file", {"path": "bin", "new_path": "deep/er/bin"}))
    assert "rename from bin\nrename to deep/er/bin" in tool.permission(context).preview
    assert tool.changes(context) == ("bin", "deep/er/bin")
    assert (await tool.run(context)).ok
    moved = root / "deep/er/bin"
    assert (moved.read_bytes(), moved.stat().st_mode & 0o777, moved.stat().st_nlink) == (content, 0o751, 1)
    assert not (root / "bin").exists()
    for path, new_path, said in (
        ("deep", "other", "is a directory"),
        ("src/a.py", "deep/er/bin", "exists already"),
        ("src/a.py", "deep", "exists already"),
        ("none", "b", "does not exist"),
    ):
        with pytest.raises(ToolError, match=said):
            await run(context, "move_file", path=path, new_path=new_path)


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


@pytest.mark.parametrize(
    ("line", "lost"),
    [
        ("rm .env", (".env",)),
        ("echo X=1 > .env", (".env",)),
        ("cp src/a.py .env", (".env",)),
        ("mv src/a.py logs/", ("logs/a.py",)),
        ("cd logs && rm a.py", ("logs/a.py",)),
        ("sed -i s/a/b/ ./.env", (".env",)),
        ("env rm src/big", ("src/big",)),
        ("rm src/a.py && echo x > new.log && cat .env", ()),
        ("cp .env copy", ()),
        (f"rm {'x' * 5000}", ()),
    ],
)
def test_a_command_that_takes_what_undo_does_not_keep_asks(
    context: ToolContext, root: Path, line: str, lost: tuple[str, ...]
) -> None:
    (root / ".gitignore").write_text(".env\nlogs\n*.log\n")
    (root / ".env").write_text("KEY=1\n")
    (root / "logs").mkdir()
    (root / "logs/a.py").write_text("kept nowhere\n")
    with (root / "src/big").open("wb") as file:
        file.truncate(10_000_001)
    permission = read_call(ToolCall("run_command", {"command": line})).permission(context)
    assert permission.loses == lost
    verdict = Permissions(interactive=True, sandboxed=True, undoable=True).judge(permission)
    assert verdict.action == ("ask" if lost else "allow")
    assert all(name in verdict.rule for name in lost)


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
