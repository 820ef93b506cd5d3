import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.workspace.edit import EditError, plan_edit, unified_diff

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
    plan = plan_edit("a:\n  b\n  c\n", "        b  \n        c", "        b\n        d\n")
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
        plan_edit(CODE, "2\t    if x:\n3\t        return 1", "x")


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
