"""A patch of several files, as people read it."""

from __future__ import annotations

from tui.diff import diff_lines, file_diffs

PATCH = """\
diff --git a/gone.py b/gone.py
deleted file mode 100644
index 12..00
--- a/gone.py
+++ /dev/null
@@ -1,2 +0,0 @@
-one
--- two
diff --git a/kept.py b/kept.py
--- a/kept.py
+++ b/kept.py
@@ -1 +1,2 @@
 same
+more
\\ No newline at end of file
@@ -9 +10 @@
-x
+y
diff --git "a/caf\\303\\251.py" "b/caf\\303\\251.py"
new file mode 100644
diff --git a/run.sh b/run.sh
old mode 100644
new mode 100755
diff --git a/old name.py b/new.py
similarity index 100%
rename from old name.py
rename to new.py
diff --git a/logo.png b/logo.png
Binary files a/logo.png and b/logo.png differ
"""


def test_each_file_has_its_name_and_what_became_of_it() -> None:
    found = [(file.name, file.note, file.added, file.removed) for file in file_diffs(PATCH)]
    assert found == [
        ("gone.py", "deleted", 0, 2),
        ("kept.py", "", 2, 1),
        ("café.py", "new file", 0, 0),
        ("run.sh", "now executable", 0, 0),
        ("new.py", "was old name.py", 0, 0),
        ("logo.png", "not text", 0, 0),
    ]


def test_nothing_of_the_format_is_shown() -> None:
    shown = "\n".join(f"{line.first.plain}{line.body.plain}" for line in diff_lines(PATCH))
    assert "/dev/null" not in shown
    assert "mode 1" not in shown
    assert "- -- two" in shown
    assert "   2 + more" in shown
    assert "  10 + y" in shown


def test_a_quoted_name_brings_no_control_characters() -> None:
    (file,) = file_diffs('diff --git "a/x\\033[2J" "b/x\\033[2J"\nnew file mode 100644')
    assert "\x1b" not in file.heading().plain
