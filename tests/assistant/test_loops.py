from hypothesis import given
from hypothesis import strategies as st

from assistant.loops import TIMES, LoopWatch

CALL = ("search", {"pattern": "x", "path": ""}, "a.py:1: x")
names = st.sampled_from(["read_file", "search", "run_command"])
arguments = st.dictionaries(st.sampled_from(["path", "pattern"]), st.text(max_size=5), max_size=2)


@given(st.lists(st.tuples(names, arguments, st.integers()), unique_by=repr, max_size=30))
def test_distinct_calls_are_no_repetition(calls: list[tuple[str, dict[str, str], int]]) -> None:
    watch = LoopWatch()
    assert not any(watch.saw(name, given, f"found <{number}>") for name, given, number in calls)


@given(st.lists(st.integers(0, 3), max_size=40))
def test_a_repetition_is_the_third_call_with_one_result_and_a_question_from_the_fourth(order: list[int]) -> None:
    watch, times = LoopWatch(), dict.fromkeys(range(4), 0)
    for number in order:
        found = watch.saw("read_file", {"path": f"{number}"}, "text")
        times[number] += 1
        assert (found is not None) == (times[number] >= TIMES)
        assert found is None or (found.times, bool(found.question)) == (times[number], times[number] > TIMES)


@given(st.lists(st.uuids().map(str), unique=True, max_size=20))
def test_files_that_go_on_are_no_circle(trees: list[str]) -> None:
    watch = LoopWatch()
    assert not any(watch.files(tree) for tree in trees for _ in range(2))


@given(st.integers(2, 3), st.lists(st.sampled_from("xyz"), max_size=3, unique=True))
def test_files_that_go_there_and_back_and_there_again_are_one(size: int, before: list[str]) -> None:
    watch = LoopWatch()
    found = [watch.files(tree) for tree in [*before, *"abc"[:size], *"abc"[:size], "a"]]
    assert [one is not None for one in found] == [False] * (len(before) + 2 * size - 1) + [True, True]
    assert [bool(one.question) for one in found if one] == [False, True]
    assert found[-1] is not None
    assert "taken back" in found[-1].note


def test_an_edit_that_is_taken_back_once_is_no_circle() -> None:
    watch = LoopWatch()
    assert not any(watch.files(tree) for tree in "abac")


def test_durations_times_and_addresses_do_not_make_a_result_another() -> None:
    watch = LoopWatch()
    outputs = (
        "1 failed in 0.31s at 2026-11-02T10:11:12.5Z\n<f at 0x7f31c0ffee00>",
        "1 failed in 12 s at 2026-11-02T10:15:00.1Z\n<f at 0x55aa11bb22cc>",
        "1 failed in 2.9 seconds at 2026-11-03T00:00:00Z\n<f at 0xdeadbeef>",
    )
    assert [bool(watch.saw("run_tests", {}, output)) for output in outputs] == [False, False, True]
    assert not watch.saw("run_tests", {}, outputs[0].replace("1 failed", "2 failed"))


def test_a_call_after_somebody_elses_change_is_a_new_one() -> None:
    watch = LoopWatch()
    watch.files("0")
    for tree in "abcd":
        watch.saw("edit_file", {"new": tree}, "ok")
        watch.files(tree)
        assert watch.saw("run_tests", {}, "1 failed") is None


def test_a_call_that_changes_files_itself_repeats_itself_all_the_same() -> None:
    watch, found = LoopWatch(), []
    watch.files("0")
    for tree in "abc":
        found.append(watch.saw("run_command", {"command": "./run >> log"}, "exit code 1"))
        watch.files(tree)
    assert [bool(one) for one in found] == [False, False, True]


def test_what_the_user_says_begins_anew() -> None:
    watch = LoopWatch()
    for _ in range(3):
        assert not any([watch.saw(*CALL), watch.saw(*CALL), *map(watch.files, "aba")])
        watch.reset()
    watch.saw(*CALL)
    assert watch.saw("search", {"path": "", "pattern": "x"}, CALL[2]) is None
    assert watch.saw(*CALL) is not None
