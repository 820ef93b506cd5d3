import subprocess
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.workspace.edit import Edit, EditError, plan_edit, plan_edits, unified_diff
from assistant.workspace.text import decode
from benchmarks.edits import corpus, kat, ladder, outcome

CODE = "def f(x):\n    if x:\n        return 1\n    return 2\n\n\ndef g():\n    return 2\n"


def test_an_exact_match_is_replaced() -> None:
    plan = plan_edit(CODE, "return 1", "return 3")
    assert plan.new_text == CODE.replace("return 1", "return 3")
    assert plan.note == ""


def test_many_matches_name_their_lines_or_are_all_replaced() -> None:
    with pytest.raises(EditError, match="matches 2 times, at lines 4, 8"):
        plan_edit(CODE, "    return 2\n", "    return 5\n")
    assert plan_edit(CODE, "return 2", "return 5", all=True).new_text.count("return 5") == 2


def test_lost_indentation_is_given_back() -> None:
    plan = plan_edit(CODE, "if x:\n    return 1", "if x > 0:\n    y = 2\n    if y:\n        return y")
    assert plan.new_text == CODE.replace(
        "    if x:\n        return 1\n", "    if x > 0:\n        y = 2\n        if y:\n            return y\n"
    )
    assert "lines 2 to 3" in plan.note


def test_too_much_indentation_is_taken_away() -> None:
    plan = plan_edit("a:\n  b\n  c\n", "        b  \n        c", "        b\n        d")
    assert plan.new_text == "a:\n  b\n  d\n"


def test_spaces_become_the_tabs_of_the_file() -> None:
    text = "class A:\n\tdef f(self):\n\t\treturn 1\n"
    plan = plan_edit(
        text, "    def f(self):\n        return 1\n", "    def f(self):\n        if x:\n            return 2\n"
    )
    assert plan.new_text == "class A:\n\tdef f(self):\n\t\tif x:\n\t\t\treturn 2\n"


def test_lines_can_be_taken_out_and_ends_of_line_may_differ() -> None:
    assert plan_edit("a  \nb\nc\n", "a\nb\n", "").new_text == "c\n"
    assert plan_edit("a\r\nb\nc", "a\nb", "x").new_text == "x\nc"
    assert plan_edit("  a\nb", "\n a\nb\n", "\n c\nb\n").new_text == "  c\nb"


def test_flat_text_for_nested_code_is_refused() -> None:
    with pytest.raises(EditError, match="indentation"):
        plan_edit(CODE, "if x:\nreturn 1\nreturn 2", "if x:\nreturn 3\nreturn 2")


def test_a_whitespace_match_must_be_unique() -> None:
    with pytest.raises(EditError, match="matches 2 times, at lines 4, 8"):
        plan_edit(CODE, "      return 2", "x")


def test_the_nearest_lines_are_shown_with_numbers() -> None:
    with pytest.raises(EditError, match="nearest lines are:\n2\t    if x:\n3\t        return 1\n"):
        plan_edit(CODE, "    if x:\n        return 11111\n", "x")
    with pytest.raises(EditError, match="nothing looks like it"):
        plan_edit(CODE, "completely different", "x")
    with pytest.raises(EditError, match="line numbers"):
        plan_edit(CODE, "2\t    if x:\n3\t        return 11111", "x")


@pytest.mark.parametrize(("old", "new", "said"), [("", "x", "empty"), ("\n ", "x", "empty"), ("f", "f", "same")])
def test_edits_that_mean_nothing(old: str, new: str, said: str) -> None:
    with pytest.raises(EditError, match=said):
        plan_edit(CODE, old, new)


LINES = st.lists(st.sampled_from(["a", "b", "  c", "", "é", "x\x0cy", "\u2028"]), max_size=8).map("\n".join)


@given(before=st.none() | LINES, after=LINES)
def test_git_takes_every_diff(tmp_path_factory: pytest.TempPathFactory, before: str | None, after: str) -> None:
    diff = unified_diff("f", before, after)
    folder: Path = tmp_path_factory.mktemp("apply")
    if before is not None:
        (folder / "f").write_text(before, newline="")
    if not diff:
        assert before == after
        return
    subprocess.run(["git", "apply", "-"], cwd=folder, input=diff.encode(), check=True)
    assert (folder / "f").read_bytes().decode() == after


SMART = "He said “it’s – here” and left.\nplain 'line'\n"


def test_typographic_characters_are_those_of_the_file() -> None:
    plan = plan_edit('x = "a"\ny = "b"\n', "x = “a”", "x = “c”")
    assert (plan.new_text, plan.exact) == ('x = "c"\ny = "b"\n', False)
    plan = plan_edit(SMART, 'He said "it\'s - here" and left.', 'She said "it\'s - here" and went.')
    assert plan.new_text == SMART.replace("He", "She").replace("left", "went")
    plan = plan_edit("a\u00a0b c\n", "a b c", "a b d e")
    assert plan.new_text == "a\u00a0b d e\n"


@pytest.mark.parametrize(
    ("text", "old", "new"),
    [
        (SMART, "said \"it's", 'said "not" "it\'s'),
        ('“a” - "b"\n', '"a" - "b"', '"b" - "a"'),
        ('x = "a"\n', "x = “a”", "x = “a” – 1"),
    ],
)
def test_quotes_that_cannot_be_told_are_refused(text: str, old: str, new: str) -> None:
    with pytest.raises(EditError, match="cannot be told"):
        plan_edit(text, old, new)


@pytest.mark.parametrize("form", ["{}\t{}", "{}:{}", "{}: {}", "{} | {}", "{:>6}\t{}", "{:>6}→{}"])
def test_copied_line_numbers_are_left_out(form: str) -> None:
    def numbered(text: str) -> str:
        return "\n".join(form.format(number, line) for number, line in enumerate(text.split("\n"), 2))

    old, new = "    if x:\n        return 1", "    if not x:\n        return 1\n    x += 1"
    for written in (new, numbered(new)):
        plan = plan_edit(CODE, numbered(old), written)
        assert plan.new_text == CODE.replace(old, new)
        assert "line numbers" in plan.note


def test_line_numbers_must_fit() -> None:
    with pytest.raises(EditError, match="line numbers"):
        plan_edit(CODE, "7\t    if x:", "7\t    if y:")
    with pytest.raises(EditError, match="line numbers"):
        plan_edit(CODE, "3\t    if x:\n4\t        return 1", "x")
    edits = [Edit("def f", "import x\n\n\ndef f"), Edit("2\t    if x:", "2\t    if y:")]
    assert "    if y:" in plan_edits(CODE, edits).new_text
    with pytest.raises(EditError, match="do not agree"):
        plan_edit(CODE, "2\t    if x:\n3\t        return 1", "2\t    if y:\n        return 1")
    assert plan_edit("404: gone\n405: no\n", "404: gone", "404: lost").new_text == "404: lost\n405: no\n"


def test_line_endings_are_those_of_the_place() -> None:
    mixed = "a\r\nb\r\nc\nd\n"
    assert plan_edit(mixed, "a\nb", "a\nx\nb").new_text == "a\r\nx\r\nb\r\nc\nd\n"
    assert plan_edit(mixed, "c\nd", "c\nx\nd").new_text == "a\r\nb\r\nc\nx\nd\n"
    assert plan_edit(mixed, "b", "x\ny").new_text == "a\r\nx\r\ny\r\nc\nd\n"
    assert plan_edit("a\nb\n", "a\r\nb", "a\r\nx").new_text == "a\nx\n"


def test_an_empty_file_is_written_not_edited() -> None:
    for old in ("", "x"):
        with pytest.raises(EditError, match="file is empty; write all of it"):
            plan_edit("\n", old, "y")


def test_half_a_word_is_not_a_place() -> None:
    with pytest.raises(EditError, match="within a word of line 1"):
        plan_edit("    return 10\n", "    return 1", "    return 2")
    assert plan_edit("a中文b\n", "中", "国").new_text == "a国文b\n"


@pytest.mark.parametrize(
    ("text", "old"),
    [("version = 1.2.3\n", "version = 1"), ("x = naïve\n", "x = na"), ("x = cafe\u0301\n", "x = cafe")],
)
def test_half_a_number_or_character_is_not_a_place(text: str, old: str) -> None:
    with pytest.raises(EditError, match="within a word of line 1"):
        plan_edit(text, old, "y")


def test_overlapping_places_are_several() -> None:
    with pytest.raises(EditError, match="matches 2 times"):
        plan_edit("x\nx\nx\n", "x\nx\n", "y\n")
    with pytest.raises(EditError, match="overlap, first in line 1"):
        plan_edit("x\nx\nx\n", "x\nx\n", "y\n", all=True)


@pytest.mark.parametrize(
    ("text", "old"),
    [
        ("a\r\nb\r\na\nb\n", "a\nb"),
        ("a\nb\n    a", "a\n"),
        ("f(1) \nx\nf(“1”)\nf('1') \nf(‘1’)\n", "f('1')\n"),
        ("x = ‘a’\n\tx = 'a' \n", "x = 'a'\n"),
    ],
    ids=["line endings", "end of file", "quotes and white space", "quotes, white space and margin"],
)
def test_places_that_look_alike_are_several(text: str, old: str) -> None:
    with pytest.raises(EditError, match="matches 2 times"):
        plan_edit(text, old, "new\n" if old.endswith("\n") else "new")


def test_empty_lines_around_the_old_text_belong_to_it() -> None:
    text = "def f():\n    a\n\n    b\n\n    c\n"
    assert plan_edit(text, "\n  b\n", "  x\n\n  b\n").new_text == text.replace("\n\n    b", "\n    x\n\n    b")
    assert plan_edit(text, "  b\n\n", "  b\n").new_text == text.replace("b\n\n", "b\n")
    assert plan_edit(text, "  b\n\n", "\n").new_text == text.replace("    b\n", "")
    with pytest.raises(EditError, match="nearest lines"):
        plan_edit("def f():\n    a\n    b\n", "\n  b\n", "  x\n")


@pytest.mark.parametrize("new", ["log()\na = 1\n    b = 2", "a = 1\nlog()\n    b = 2"])
def test_several_lines_whose_first_lost_its_margin(new: str) -> None:
    text = "def f():\n    a = 1\n    b = 2\n"
    assert plan_edit(text, "a = 1\n    b = 2", "a = 3\n    b = 2").new_text == text.replace("a = 1", "a = 3")
    with pytest.raises(EditError, match="leaves out the white space"):
        plan_edit(text, "a = 1\n    b = 2", new)


def test_all_places_are_of_one_kind() -> None:
    with pytest.raises(EditError, match="within words, in line 1, 2"):
        plan_edit("id = width\nids = id\n", "id", "key", all=True)
    assert plan_edit("old_a = old_b\n", "old_", "new_", all=True).new_text == "new_a = new_b\n"
    nested = "def f():\n    if x:\n        return 1\n    return 1\n"
    for old, new in (("    return 1", "    log()\n    return 1"), ("return 1", "log()\nreturn 1")):
        with pytest.raises(EditError, match="leaves out the white space"):
            plan_edit(nested, old, new, all=True)
    assert plan_edit("a\r\nb\na\n", "a", "x\ny", all=True).new_text == "x\r\ny\r\nb\nx\ny\n"


@pytest.mark.parametrize(
    ("text", "old", "new"),
    [
        ("  a\n  b\n", "  a\n", "  c"),
        ("a = 1  # one\nb = 2\n", "  # one\n", ""),
        ("  a\n  b\n", "a\n", "c\n  d"),
        ("a\nb\n", "\nb", "c"),
        ("a\nb\nc\n", "\nb\n", ""),
        ("“a” b\nc\n", '"a" b\n', '"a" c'),
    ],
)
def test_lines_are_not_joined_by_a_line_break_left_out(text: str, old: str, new: str) -> None:
    with pytest.raises(EditError, match="would be joined"):
        plan_edit(text, old, new)


def test_the_last_line_keeps_its_end_and_a_line_without_its_margin_goes_whole() -> None:
    assert plan_edit("a\nb\n", "b\n", "c").new_text == "a\nc\n"
    assert plan_edit("    a\n    b\n", "a\n", "").new_text == "    b\n"


def test_a_carriage_return_is_never_left_alone() -> None:
    mixed = "a\r\nb\r\nc\nd\n"
    assert plan_edit(mixed, "\nb", "").new_text == "a\r\nc\nd\n"
    assert plan_edit(mixed, "\nb", "\nx\ny").new_text == "a\r\nx\r\ny\r\nc\nd\n"
    assert plan_edit("a\rb\r", "b", "x\ny").new_text == "a\rx\ry\r"
    assert plan_edit("a\r\nb\nc", "a\r\nb", "x\ny").new_text == "x\r\ny\nc"


def test_lines_that_do_not_change_keep_their_ends() -> None:
    text = "def f():\n    - a  \n\n    - b\n    \n    - a\n"
    plan = plan_edit(text, "def f():\n  - a\n\n  - b\n\n  - a", "def f():\n  - a\n\n  - B\n\n  - a")
    assert plan.new_text == text.replace("- b", "- B")
    assert plan_edit("a\r\n  b\nc\r\n  d", "a\n b\nc\n d", "a\n b\nC\n d").new_text == "a\r\n  b\nC\r\n  d"


def test_quotes_and_a_lost_margin_together_are_refused() -> None:
    for margin in ("", "  "):
        with pytest.raises(EditError, match="leaves out the white space"):
            plan_edit('def f():\n    x = "a"\n', f"{margin}x = “a”", f"{margin}x = “a”\n{margin}y = 2")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("def f(x):\n    ...\n    return 2", "def f(x):\n    return 2"),
        ("def g():\n    return 2", "def g():\n    # ... existing code ...\n    return 3"),
        ("def g():\n    return 2", "def g():\n    # rest of the function unchanged"),
        ("def g():\n    return 2", "def g():\n    ...\n    return 3"),
    ],
)
def test_lines_left_out_are_refused(old: str, new: str) -> None:
    with pytest.raises(EditError, match="leaves out lines"):
        plan_edit(CODE, old, new)


def test_three_dots_that_are_really_there_are_text() -> None:
    text = "class P:\n    def f(self):\n        ...\n\n    def g(self):\n        pass\n"
    assert "def h" in plan_edit(text, "    def f(self):\n        ...\n", "    def h(self):\n        ...\n").new_text
    assert plan_edit(text, "        pass\n", "        ...\n").new_text.count("...") == 2


def test_one_line_without_its_margin_becomes_several() -> None:
    literal = plan_edit(CODE, "return 1", "y = 1\n        return y")
    shifted = plan_edit(CODE, "if x:", "if x:\n    if y:")
    assert "        y = 1\n        return y\n" in literal.new_text
    assert "    if x:\n        if y:\n        return 1" in shifted.new_text
    with pytest.raises(EditError, match="leaves out the white space"):
        plan_edit(CODE, "return 1", "return 1\n\nz = 2")


@pytest.mark.parametrize(
    ("old", "new", "after"),
    [
        ("if a:\n  b", "if a:\n  c\n  if d:\n    e", "    if a:\n        c\n        if d:\n            e\n"),
        ("\tif a:\n\t\tb", "\tif a:\n\t\tc", "    if a:\n        c\n"),
        ("        if a:\n            b", "        c", "    c\n"),
    ],
)
def test_other_steps_become_those_of_the_file(old: str, new: str, after: str) -> None:
    assert plan_edit("def f():\n    if a:\n        b\n", old, new).new_text == f"def f():\n{after}"


def test_indentation_with_two_readings_is_refused() -> None:
    with pytest.raises(EditError, match="cannot be told how to indent"):
        plan_edit("def f():\n    a = 1\n", "        a = 1\n", "        if x:\n                a = 1\n")


def test_a_block_is_one_step_deeper_than_its_head() -> None:
    text = "def f():\n    g(1,\n      2)\n"
    with pytest.raises(EditError, match="cannot be told how to indent"):
        plan_edit(text, "            2)\n", "            if x:\n                    2)\n")


def test_names_in_a_diff_cannot_pretend_to_be_lines_of_it() -> None:
    head = unified_diff("a\n+++ b/evil\tx\udce9", "1\n", "2\n").split("@@")[0]
    assert head.count("\n") == 3
    assert r'"a/a\012+++ b/evil\011x\351"' in head


PIECES = st.sampled_from(["a", "b", " a", "  a", "\ta", "a b", "", "x = “a”", 'x = "a"', "1\ta", "2: b", "..."])
SMALL = st.lists(PIECES, min_size=1, max_size=7).map("\n".join)


def plain_lines(text: str) -> list[str]:
    table = str.maketrans("“”", '""')
    return [line.strip().translate(table) for line in text.split("\n")]


@given(text=SMALL, old=SMALL, new=SMALL)
def test_of_two_candidates_neither_is_taken(text: str, old: str, new: str) -> None:
    try:
        plan = plan_edit(text, old, new)
    except EditError:
        return
    exact = [at for at in range(len(text)) if text.startswith(old, at)]
    assert len(exact) <= 1
    if not plan.exact:
        lines, wanted = plain_lines(text), plain_lines(old.strip("\n"))
        whole = [at for at in range(len(lines)) if lines[at : at + len(wanted)] == wanted]
        assert len(whole) <= 1 or exact


@given(text=SMALL, old=SMALL, new=SMALL, mark=st.sampled_from(["", "\ufeff"]), crlf=st.booleans())
def test_nothing_outside_the_place_changes(text: str, old: str, new: str, mark: str, crlf: bool) -> None:
    head, tail = "HEAD one\nHEAD two\n", "\nTAIL one\nTAIL two"
    written = mark + head + text + tail
    file = decode(written.replace("\n", "\r\n" if crlf else "\n").encode(), 0o644, "f")
    try:
        after = file.encode(plan_edit(file.text, old, new).new_text)
    except EditError:
        return
    line = b"\r\n" if crlf else b"\n"
    assert after.startswith((mark + head).encode().replace(b"\n", line))
    assert after.endswith(tail.encode().replace(b"\n", line))


def test_no_damaged_edit_is_applied_wrongly() -> None:
    outcomes = Counter((case.kind, outcome(case, kat)) for case in corpus())
    assert sum(outcomes.values()) == 300
    assert [kind for kind, what in outcomes if what == "wrong"] == []
    alone = {(case.kind, outcome(case, ladder)) for case in corpus()}
    assert {kind for kind, what in alone if what == "wrong"} <= {"stale context"}  # those the record of reads refuses
    needless = sum(count for (kind, what), count in outcomes.items() if what == "refused" and kind != "stale context")
    assert needless <= 15
