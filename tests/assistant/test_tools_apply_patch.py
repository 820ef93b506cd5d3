import subprocess
from pathlib import Path

import pytest

from assistant.safety.permissions import Access
from assistant.safety.sandbox import Sandbox
from assistant.tools.base import ToolContext, ToolError, ToolResult
from assistant.tools.registry import read_call
from assistant.workspace.files import Workspace
from model.format import ToolCall

PATCH = """\
--- a/src/a.py
+++ b/src/a.py
@@ -1,2 +1,2 @@
 def f():
-    return 1
+    return 2
--- /dev/null
+++ b/new/b.txt
@@ -0,0 +1,2 @@
+one
+two
--- a/gone.txt
+++ /dev/null
@@ -1 +0,0 @@
-gone
diff --git a/run.sh b/bin/run.sh
rename from run.sh
rename to bin/run.sh
--- a/run.sh
+++ b/bin/run.sh
@@ -1,2 +1,2 @@
 #!/bin/sh
-echo ä
+echo ö
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "repo"
    (path / "src").mkdir(parents=True)
    subprocess.run(["git", "init", "-q", path], check=True)
    (path / "src" / "a.py").write_text("def f():\n    return 1\n")
    (path / "gone.txt").write_text("gone\n")
    (path / "run.sh").write_bytes("#!/bin/sh\r\necho ä\r\n".encode("utf-16"))
    (path / "run.sh").chmod(0o750)
    return path


@pytest.fixture
def context(root: Path) -> ToolContext:
    return ToolContext(Workspace(root), Sandbox(root, "none", {"PATH": "/usr/bin:/bin"}))


def files(root: Path) -> dict[str, bytes]:
    found = (path for path in root.rglob("*") if path.is_file() and ".git" not in path.parts)
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in found}


async def apply(context: ToolContext, patch: str) -> ToolResult:
    tool = read_call(ToolCall("apply_patch", {"patch": patch}))
    approved = tool.permission(context)
    assert tool.permission(context) == approved
    return await tool.run(context)


async def test_several_files_at_once(context: ToolContext, root: Path) -> None:
    tool = read_call(ToolCall("apply_patch", {"patch": PATCH}))
    asked = tool.permission(context)
    assert (asked.access, asked.preview_kind) == (Access.EDIT, "diff")
    assert asked.subject.split(", ") == [
        str(root / name) for name in ("src/a.py", "new/b.txt", "gone.txt", "bin/run.sh", "run.sh")
    ]
    assert [line for line in asked.preview.splitlines() if line.startswith(("-  ", "+  ", "-gone"))] == [
        "-    return 1",
        "+    return 2",
        "-gone",
    ]
    assert tool.changes(context) == ("src/a.py", "new/b.txt", "gone.txt", "run.sh", "bin/run.sh")
    assert tool.destructive(context) == "deletes gone.txt"
    assert tool.title() == "Patch src/a.py, new/b.txt, gone.txt and 1 more"
    result = await tool.run(context)
    assert result.output.splitlines()[:3] == [
        "Edited src/a.py: +1 -1.",
        "Made new/b.txt: +2 -0.",
        "Deleted gone.txt: +0 -1.",
    ]
    assert files(root) == {
        "src/a.py": b"def f():\n    return 2\n",
        "new/b.txt": b"one\ntwo\n",
        "bin/run.sh": "#!/bin/sh\r\necho ö\r\n".encode("utf-16"),
    }
    assert (root / "bin/run.sh").stat().st_mode & 0o777 == 0o750


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("-    return 1", "-    return 9", r"Hunk 1 of src/a.py: .*\n1\tdef f"),
        ("-gone", "-gine", r"other 3 hunks are right, do not change them[^$]*Hunk 1 of gone.txt"),
        ("a/gone.txt", "a/never.txt", "never.txt: never.txt does not exist"),
        ("b/new/b.txt", "b/gone.txt", "several parts for gone.txt"),
        ("+two", " two", "new/b.txt is new, so all of its lines begin with"),
        ("bin/run.sh", "src/a.py", "several parts for src/a.py"),
        ("b/new/b.txt", "b/../out.txt", "out.txt is outside the repository"),
        ("b/new/b.txt", "b/.git/hooks/x", "belongs to git"),
    ],
)
async def test_one_part_that_does_not_fit_leaves_everything(
    context: ToolContext, root: Path, old: str, new: str, said: str
) -> None:
    before = files(root)
    with pytest.raises(ToolError, match=said):
        await apply(context, PATCH.replace(old, new))
    assert files(root) == before


async def test_a_deletion_must_name_all_lines(context: ToolContext, root: Path) -> None:
    (root / "gone.txt").write_text("gone\nkept\n")
    with pytest.raises(ToolError, match="not all of its lines"):
        await apply(context, PATCH)


async def test_two_names_of_one_file_are_refused(context: ToolContext, root: Path) -> None:
    (root / "link.py").symlink_to("src/a.py")
    edit = PATCH[: PATCH.index("--- /dev")]
    with pytest.raises(ToolError, match=r"src/a\.py: two names in the patch lead to it"):
        await apply(context, edit + edit.replace("src/a.py", "link.py").replace("return 2", "return 3"))
    assert (root / "src/a.py").read_text().endswith("return 1\n")


async def test_a_file_that_changed_since_it_was_read_is_shown_again(context: ToolContext, root: Path) -> None:
    await read_call(ToolCall("read_file", {"path": "src/a.py"})).run(context)
    context.seen.next_reply()
    (root / "src/a.py").write_text("# mine\ndef f():\n    return 1\n")
    with pytest.raises(ToolError, match=r"src/a\.py changed since you read it.*\n1\t# mine"):
        await apply(context, PATCH)
    context.seen.next_reply()
    assert (await apply(context, PATCH)).ok
    assert (root / "src/a.py").read_text() == "# mine\ndef f():\n    return 2\n"


async def test_the_name_of_a_copy_above_the_real_one_is_no_renaming(context: ToolContext, root: Path) -> None:
    patch = "--- gone.txt.orig\n+++ gone.txt\n@@ -1 +1 @@\n-gone\n+here\n"
    assert (await apply(context, patch)).output == "Edited gone.txt: +1 -1."
