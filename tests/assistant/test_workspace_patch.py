import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.workspace.edit import unified_diff
from assistant.workspace.errors import EditError
from assistant.workspace.hunks import HunkError, apply_hunks
from assistant.workspace.patch import FilePatch, Hunk, read_patch

lines = st.sampled_from(["a\n", "b\n", "c\n", "\n", "  x\n", "-- y\n", "++ z\n", "@@ w\n"])
texts = st.builds(lambda found, end: "".join(found) + end, st.lists(lines, max_size=30), st.sampled_from(["", "end"]))


def done(before: str, patch: str) -> str:
    (file,) = read_patch(patch)
    return apply_hunks(before, file.hunks).new_text


def _blank(before: str, patch: str) -> bool:
    return any(not any(line.strip() for line in hunk.old) for hunk in read_patch(patch)[0].hunks) and bool(before)


@given(texts, texts)
def test_a_patch_makes_what_it_was_made_from(before: str, after: str) -> None:
    patch = unified_diff("x", before, after)
    if before == after:
        assert patch == ""
    elif not _blank(before, patch):
        assert done(before, patch) == after


@given(texts, texts)
def test_without_numbers_a_patch_is_done_right_or_refused(before: str, after: str) -> None:
    patch = re.sub(r"^@@ -.*", "@@", unified_diff("x", before, after), flags=re.MULTILINE)
    try:
        assert not patch or done(before, patch) == after
    except EditError:
        return


NUMBERS = "".join(f"{n}\n" for n in range(1, 41))
WANTED = NUMBERS.replace("\n7\n", "\nseven\n").replace("\n30\n", "\n30\nmore\n")
FULL = unified_diff("a.txt", NUMBERS, WANTED)


@pytest.mark.parametrize(
    "change",
    [
        lambda patch: patch,
        lambda patch: patch.replace("@@ -4,7 +4,7 @@", "@@ -104,3 +9,99 @@ def f():"),
        lambda patch: patch.replace("@@ -28,6 +28,7 @@", "@@"),
        lambda patch: patch.replace("diff --git a/a.txt b/a.txt\n", ""),
        lambda patch: patch.replace("a/a.txt", "a.txt\t2026-01-01").replace("b/a.txt", "a.txt\t2026-01-02"),
        lambda patch: f"Here it is:\n```diff\n{patch}```\nThat is all.\n",
        lambda patch: f"From 1\nSubject: x\n\n---\n a.txt | 2 +-\n\n{patch}-- \n2.47.0\n\n",
        lambda patch: patch.replace("\n", "\r\n"),
        lambda patch: patch.rstrip("\n"),
        lambda patch: patch + "\n\n",
        lambda patch: patch.replace("@@ -28,6", "--- a/a.txt\n+++ b/a.txt\n@@ -28,6"),
    ],
)
def test_patches_are_read_as_they_are_written(change: object) -> None:
    assert done(NUMBERS, change(FULL)) == WANTED  # type: ignore[operator]


def test_two_dashes_sign_a_patch_only_above_a_version() -> None:
    taken = "--- a/x\n+++ b/x\n@@\n-q\n+Q\n-- \n b\n-c\n+C\n"
    assert done("q\n- \nb\nc\n", taken) == "Q\nb\nC\n"
    signed = "--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+A\n-- \n2.43.0\n\nFrom 1234 Mon\n- again\n---\n x | 2 +-\n"
    assert done("a\n", signed) == "A\n"


def test_what_a_patch_says_of_files() -> None:
    patch = (
        "diff --git a/new.sh b/new.sh\nnew file mode 100755\n--- /dev/null\n+++ b/new.sh\n@@ -0,0 +1 @@\n+x\n"
        "diff --git a/empty b/empty\nnew file mode 100644\nindex 0000000..e69de29\n"
        'diff --git "a/\\303\\244 b" "b/\\303\\244 b"\n--- "a/\\303\\244 b"\n+++ "b/\\303\\244 b"\n'
        "@@ -1 +1 @@\n-x\n+y\n"
        "diff --git a/gone b/gone\ndeleted file mode 100644\n--- a/gone\n+++ /dev/null\n@@ -1 +0,0 @@\n-x\n"
        "diff --git a/old name b/new name\nsimilarity index 90%\nrename from old name\nrename to new name\n"
        "--- a/old name\n+++ b/new name\n@@ -1 +1 @@\n-- x\n+++ y\n\\ No newline at end of file\n"
        "--- plain/p.c\n+++ plain/p.c\n@@ -2 +2 @@\n-x\n+y\n"
    )
    one = Hunk(("x",), ("y",), 1)
    assert read_patch(patch) == (
        FilePatch(None, "new.sh", (Hunk((), ("x",), 0),)),
        FilePatch(None, "empty"),
        FilePatch("ä b", "ä b", (one,)),
        FilePatch("gone", None, (Hunk(("x",), (), 1),)),
        FilePatch("old name", "new name", (Hunk(("- x",), ("++ y",), 1, new_ended=False),)),
        FilePatch("plain/p.c", "plain/p.c", (Hunk(("x",), ("y",), 2),)),
    )


@pytest.mark.parametrize(
    ("patch", "said"),
    [
        ("*** Begin Patch\n*** End Patch\n", "no patch in it; write a unified diff"),
        ("@@ -1 +1 @@\n-a\n+b\n", "line 1 of the patch belongs to no file"),
        ("--- a/x\n+++ b/x\n@@ -1,2 +1,2 @@\n-a\n+b\nconfused\n", "Line 6 of the patch, 'confused', begins neither"),
        ("--- a/x\n+++ b/x\n", "no hunk for x"),
        ("diff --git a/x b/x\nold mode 100644\nnew mode 100755\n", "no hunk for x"),
        ("diff --git a/x b/x\nGIT binary patch\n", "holds binary data"),
        ("diff --git a/x b/x\nnew file mode 120000\n--- /dev/null\n+++ b/x\n@@ -0,0 +1 @@\n+/etc\n", "makes a link"),
        ("--- a/x\n+++ b/x\n@@\n-a\n+A\n```python\n-old\n+new\n", "Line 7 of the patch, '-old', belongs to no hunk"),
        ("--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+A\nbare\n-b\n+B\n", "Line 7 of the patch, '-b', belongs to no hunk"),
        (
            "--- a/x\n+++ /dev/null\n@@ -1 +0,0 @@\n-a\n--- /dev/null\n+++ b/x\n@@ -0,0 +1 @@\n+a\n",
            "several parts for x",
        ),
        ("--- /dev/null\n+++ /dev/null\n@@ -1 +1 @@\n-a\n+b\n", "names no file"),
    ],
)
def test_what_cannot_be_read_says_what_would_be_right(patch: str, said: str) -> None:
    with pytest.raises(EditError, match=said):
        read_patch(patch)


def test_the_number_decides_between_equal_places_and_nothing_else_does() -> None:
    text = "def f():\n    x\n\ndef g():\n    x\n"
    right = "--- a/x\n+++ b/x\n@@ -5 +5 @@\n-    x\n+    y\n"
    assert done(text, right) == "def f():\n    x\n\ndef g():\n    y\n"
    with pytest.raises(HunkError, match="matches 2 times, at lines 2, 5"):
        done(text, right.replace("-5", "-4"))
    below = done("new\nnew\n" + text, "--- a/x\n+++ b/x\n@@ -1 +1 @@\n-def f():\n+def h():\n" + right[16:])
    assert below == "new\nnew\ndef h():\n    x\n\ndef g():\n    y\n"


def test_a_hunk_that_differs_in_white_space_is_fitted_and_said_so() -> None:
    patch = "--- a/x\n+++ b/x\n@@ -1,3 +1,4 @@\n if a:\n-  b()\n+  c()\n+  d()\n e()\n"
    (file,) = read_patch(patch)
    plan = apply_hunks("if a:\n    b()\ne()\n", file.hunks)
    assert (plan.new_text, plan.exact) == ("if a:\n    c()\n    d()\ne()\n", False)
    assert plan.note.startswith("hunk 1: white space differed")


def test_refusals_name_hunks_and_reasons() -> None:
    patch = (
        "--- a/x\n+++ b/x\n@@ -1 +1 @@\n-1\n+one\n@@ -3 +3 @@\n-eleventy\n+x\n@@ -9 +9 @@\n-old\n+30\n"
        "@@ -20,0 +21 @@\n+inserted\n@@ -12 +12,2 @@\n 12\n+# ... rest of the code ...\n@@ -22 +22 @@\n-22\n+z\n"
    )
    with pytest.raises(HunkError) as caught:
        done(NUMBERS.replace("\n11\n", "\neleventh\n"), patch)
    assert caught.value.right == 2
    numbers, reasons = zip(*caught.value.failures, strict=True)
    assert numbers == (2, 3, 4, 5)
    assert "nearest lines are:\n11\televenth" in reasons[0]
    assert "done already: its new lines stand at line 30" in reasons[1]
    assert "no lines of the file" in reasons[2]
    assert "leaves out lines" in reasons[3]
