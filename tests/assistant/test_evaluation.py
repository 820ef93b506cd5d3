"""`kat eval`: statistics, figures, comparisons, checks of replies, and a run from the command to the table."""

import io
import json
import math
import random
import runpy
import sys
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assistant.commands.registry import run
from assistant.config import Settings
from assistant.errors import UserError
from assistant.evaluation.answers import judged
from assistant.evaluation.compare import compare, read_run
from assistant.evaluation.plot import Point, png, text_plot
from assistant.evaluation.results import Origin, Outcome, Result, read_results
from assistant.evaluation.run import Plan, drawn, evaluate
from assistant.evaluation.statistics import mcnemar, saving, saving_interval, wilson
from assistant.evaluation.suites import answers, mutants
from assistant.evaluation.table import figures
from assistant.records import Tokens
from assistant.safety.choice import sandbox_for
from assistant.tasks.storing import append_line
from assistant.tasks.task import Task, read_tasks, write_task
from model.engine import EngineRefused, EngineUnreachable
from model.engines.scripted import ScriptedServer
from model.format import ThinkRequest
from tests.e2e.conftest import reply

AUTO, ON, OFF = ThinkRequest
ORIGIN = Origin("r1", "http://x", "m", 0, "v", "s", "2026-11-22T00:00:00+00:00")
shares = st.integers(1, 300).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


def result(task, mode, solved, tokens, seconds=1.0, *, repeat=0, digest="d", status="", origin=ORIGIN):
    outcome = Outcome(solved, status or ("solved" if solved else "unsolved"), "", Tokens(answer=tokens), seconds, 2, 1)
    return Result(origin, task, "answer", digest, mode, repeat, outcome)


@pytest.mark.parametrize(
    ("solved", "tried", "low", "high"),
    [(8, 10, 0.4902, 0.9433), (0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (81, 263, 0.2553, 0.3662)],
)
def test_wilson_gives_the_known_figures(solved, tried, low, high):
    # The last one: R. G. Newcombe, Statistics in Medicine 17 (1998), table I.
    assert wilson(solved, tried) == pytest.approx((low, high), abs=6e-5)


@given(shares)
def test_wilson_ends_where_the_score_test_does(share):
    solved, tried = share
    low, high = wilson(solved, tried)
    assert 0 <= low <= solved / tried <= high <= 1
    for end in (low, high):
        if 0 < end < 1:
            assert abs(solved / tried - end) / math.sqrt(end * (1 - end) / tried) == pytest.approx(1.959964, rel=1e-6)
    assert wilson(tried - solved, tried) == pytest.approx((1 - high, 1 - low))


def test_nothing_tried_says_nothing():
    assert wilson(0, 0) == (0, 1)
    with pytest.raises(ValueError):
        wilson(3, 2)


@pytest.mark.parametrize(("gained", "lost", "p"), [(0, 0, 1.0), (5, 0, 0.0625), (1, 8, 0.0390625), (6, 2, 0.2890625)])
def test_mcnemar_gives_the_known_figures(gained, lost, p):
    assert mcnemar(gained, lost) == mcnemar(lost, gained) == p


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_is_a_p_value_that_falls_with_the_difference(gained, lost):
    gained, lost = max(gained, lost), min(gained, lost)
    assert 0 < mcnemar(gained, lost) <= 1
    assert mcnemar(gained + 1, lost) <= mcnemar(gained, lost)


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 50)), min_size=1, max_size=8), st.integers(1, 9))
def test_the_saving_is_of_sums_and_lies_between_what_single_tasks_save(pairs, scale):
    found = saving(pairs)
    single = [1 - first / second for first, second in pairs]
    low, high = saving_interval(pairs, resamples=60)
    assert min(single) - 1e-9 <= low <= high <= max(single) + 1e-9
    assert min(single) - 1e-9 <= found <= max(single) + 1e-9
    assert saving([(first * scale, second * scale) for first, second in pairs]) == pytest.approx(found)
    assert (low, high) == saving_interval(pairs, resamples=60)


def test_the_interval_of_a_saving_covers_the_truth_about_as_often_as_it_says():
    draw = random.Random(1)
    worlds = [[(draw.gauss(60, 20), draw.gauss(100, 20)) for _ in range(30)] for _ in range(80)]
    covered = sum(low <= 0.4 <= high for low, high in (saving_interval(world, resamples=100) for world in worlds))
    assert 68 <= covered < 80


def test_no_saving_can_be_told_of_nothing():
    assert saving([]) is saving_interval([]) is saving([(1, 0)]) is None


def test_the_figures_of_a_run():
    results = [
        *(result(task, AUTO, task != "c", 100) for task in "abcd"),
        *(result(task, ON, task != "d", 200, 4.0) for task in "abcd"),
        result("a", OFF, False, 10),
        result("b", OFF, False, 0, status="error"),
    ]
    found = figures(results).as_json()
    auto, off = found["modes"]["auto"], found["modes"]["off"]
    assert (auto["solved"], auto["tried"], auto["rate"], auto["think_rate"]) == (3, 4, 0.75, 0.5)
    assert (auto["tokens"]["answer"], auto["seconds"]) == (400, 4.0)
    assert (off["tried"], off["errors"], off["rate"]) == (2, 1, 0.0)
    paired = found["auto_against_on"]
    assert (paired["pairs"], paired["tokens"], paired["seconds"]) == (4, 0.5, 0.75)
    assert (paired["gained"], paired["lost"], paired["p"]) == (("d",), ("c",), 1.0)
    assert figures(results).auto_against_on.sentence() == (
        "4 pairs: tokens written 50% saved (50% to 50%), seconds 75% saved (75% to 75%); "
        "1 solved by it alone, 1 by the other alone (McNemar p = 1)"
    )
    assert figures(results[:4]).auto_against_on is None


def test_two_runs_are_compared_where_they_can_be(tmp_path):
    later = replace(ORIGIN, run="r2")
    before = [result("a", AUTO, False, 100), result("b", AUTO, True, 100), result("c", AUTO, True, 100)]
    after = [
        result("a", AUTO, False, 9, status="error", origin=later),
        result("a", AUTO, True, 50, 3.0, origin=later),
        result("b", AUTO, True, 50, origin=later),
        result("c", AUTO, False, 1, digest="changed", origin=later),
        result("d", ON, True, 1, origin=later),
    ]
    for each in (*before, *after):
        append_line(tmp_path / "r.jsonl", each.as_json())
    assert read_results(tmp_path / "r.jsonl") == [*before, *after]
    first, second = read_run(f"{tmp_path}/r.jsonl:r1", tmp_path), read_run("r", tmp_path)
    assert (first, second) == (before, after[1:])
    found = compare(first, second).as_json()
    expected = {"pairs": 2, "gained": ("a",), "lost": (), "p": 1.0, "tokens": 0.5, "seconds": 2.0}
    assert found == {"modes": {"auto": expected}, "left_out": 2}
    with pytest.raises(UserError, match="no task and mode in common"):
        compare(first, second[-1:])
    with pytest.raises(UserError, match=r"there is no run r9 in .*; it has r1, r2"):
        read_run(f"{tmp_path}/r.jsonl:r9", tmp_path)
    with pytest.raises(UserError, match="there are no results at nowhere"):
        read_run("nowhere", tmp_path)


def make(folder, name, check="sys.exit(sys.stdin.read().strip() != '42')", prompt="What is 17 + 25?"):
    task = Task(name, (folder / name).resolve(), "answer", timeout_s=60)
    write_task(task)
    task.prompt.write_text(prompt)
    task.check.write_text(f"import sys\n{check}\n")
    return task


async def test_a_run_goes_on_where_it_stopped(tmp_path):
    plan, file, tried = Plan([make(tmp_path, "a"), make(tmp_path, "b")], (AUTO, ON)), tmp_path / "r.jsonl", []
    unreachable = {("b", "on", 0)}

    async def solve(one):
        tried.append(one.key)
        if one.key in unreachable:
            raise EngineUnreachable("gone")
        if one.key == ("a", "on", 0) and len(tried) < 4:
            raise EngineRefused("the prompt is too long")
        return Outcome(True, "solved")

    with pytest.raises(EngineUnreachable):
        await evaluate(plan, ORIGIN, file, solve)
    unreachable.clear()
    found = await evaluate(plan, ORIGIN, file, solve)
    again = [("a", "on", 0), ("b", "on", 0)]
    assert tried == [("a", "auto", 0), ("a", "on", 0), ("b", "auto", 0), ("b", "on", 0), *again]
    assert [each.key for each in found] == [one.key for one in plan.tries()]
    assert [each.outcome.status for each in read_results(file)] == ["solved", "error", "solved", "solved", "solved"]
    assert await evaluate(plan, ORIGIN, file, solve) == found
    await evaluate(replace(plan, repeats=2), replace(ORIGIN, run="r2"), file, solve)
    assert len(tried) == 6 + 8
    with pytest.raises(UserError, match=r"run r1 in .* was made with other settings"):
        await evaluate(plan, replace(ORIGIN, model="n"), file, solve)


def test_what_is_drawn_is_decided_by_the_seed(tmp_path):
    tasks = [Task(str(number), tmp_path, "answer") for number in range(20)]
    ids = [[task.id for task in drawn(tasks, 5, seed)] for seed in (1, 1, 2)]
    assert ids[0] == ids[1] != ids[2]
    assert ids[0] == sorted(ids[0], key=int)
    assert drawn(tasks, 99, 1) == drawn(tasks, None, 1) == tasks


def test_mutants_that_were_made_are_not_made_again(tmp_path):
    source = tmp_path / "shop"
    source.mkdir()
    (source / "a.py").write_text("x = 1\n")
    made = []

    def build(source, out, *, seed, count, jobs, watch):
        made.append((seed, count))
        make(out, "one")
        return [1] if count > 1 else []

    kept = tmp_path / "kept"
    first = mutants(source, kept, seed=1, count=2, build=build)
    assert mutants(source, kept, seed=1, count=2, build=build) == first
    (source / "a.py").write_text("x = 2\n")
    mutants(source, kept, seed=1, count=2, build=build)

    def slow(source, out, **how):
        mutants(source, kept, seed=2, count=2, build=build)
        return build(source, out, **how)

    assert mutants(source, kept, seed=2, count=2, build=slow) == read_tasks(next(kept.glob("shop-2-2-*")))
    with pytest.raises(UserError, match="would be noticed by its tests"):
        mutants(source, kept, seed=1, count=1, build=build)
    assert made == [(1, 2), (1, 2), (2, 2), (2, 2), (1, 1)]
    assert len(list(kept.iterdir())) == 3
    with pytest.raises(UserError, match="is no folder"):
        mutants(tmp_path / "no", kept, seed=1, count=1)


CHEATS = {
    "socket.create_connection(('192.0.2.1', 80), 0.5)": False,
    "open('left.txt', 'w').write('x'); sys.exit(0)": True,
    "sys.exit(sys.stdin.buffer.read() != 'ünï\\n</answer>'.encode())": True,
    "sys.exit('not like this')": False,
}


async def test_a_check_judges_in_the_sandbox_and_leaves_nothing(tmp_path):
    sandbox = sandbox_for(tmp_path, Settings(sandbox_network=True))
    said = {}
    for check, solved in CHEATS.items():
        task = make(tmp_path, "t", f"import socket\n{check}")
        before = task.digest
        found, said[check] = await judged(task, "ünï\n</answer>", sandbox)
        assert (found, task.digest) == (solved, before), check
    assert said["sys.exit('not like this')"] == "not like this"


async def test_a_reply_is_not_written_through_a_link_in_a_task(tmp_path):
    task = make(tmp_path, "t", "sys.exit(sys.stdin.read() != 'yes')")
    (tmp_path / "outside").write_text("mine")
    (task.folder / ".kat-reply").symlink_to(tmp_path / "outside")
    assert (await judged(task, "yes", sandbox_for(tmp_path, Settings())))[0]
    assert (tmp_path / "outside").read_text() == "mine"


SOLUTIONS = {
    "backwards": "tolip",
    "capital": "The capital is **Paris**.",
    "copy": "banana",
    "date": r"`^\d{4}-\d{2}-\d{2}$`",
    "list": "[1,2,3]",
    "person": '```json\n{"age": 36, "name": "Ada"}\n```',
    "product": "6 × 7 = 42",
    "program": "9",
    "remainder": "2",
    "shortest": "Cleo.",
    "sorted": "[1, 4, 7, 9]",
    "sum": "42",
}


def test_the_questions_that_come_with_the_program_can_be_answered_right_and_wrong(monkeypatch):
    assert [task.id for task in answers()] == list(SOLUTIONS)
    wrong = [*list(SOLUTIONS.values())[1:], "1"]
    for task, false in zip(answers(), wrong, strict=True):
        for said, right in ((SOLUTIONS[task.id], True), (false, False), ("", False)):
            monkeypatch.setattr(sys, "stdin", io.StringIO(said))
            with pytest.raises(SystemExit) as ended:
                runpy.run_path(str(task.check))
            assert (ended.value.code in (0, None)) is right, (task.id, said)


def test_the_plot_in_the_terminal_has_every_mode_at_its_place():
    marks = [
        Point("auto", 50, 1.0, wilson(9, 9)),
        Point("on", 100, 0.5, wilson(5, 10)),
        Point("off", 50, 0, wilson(0, 9)),
    ]
    lines = text_plot(marks, 46, 11).splitlines()
    assert all(len(line) <= 46 for line in lines)
    top, middle, bottom = lines[0], lines[5], lines[10]
    assert top.index("●") == bottom.index("●") == 6 + 20
    assert ("● auto" in top, "on ●" in middle, "● off" in bottom) == (True, True, True)
    assert text_plot([], 10, 3)


def test_a_plot_is_a_picture(tmp_path):
    png([Point("auto", 50, 1.0, wilson(9, 9))], tmp_path / "p.png", "m")
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(UserError, match="cannot be written"):
        png([Point("on", 50, 1.0, wilson(9, 9))], tmp_path / "no/p.png", "m")


TAP = "echo 1..1; grep -q right a.txt && echo 'ok 1 - is right' || { echo 'not ok 1 - is right'; exit 1; }\n"


@pytest.fixture
def tasks(tmp_path):
    """One to answer and one to fix."""
    make(tmp_path / "tasks", "ask")
    task = Task("mend", tmp_path / "tasks/mend", "fix", test="sh test.sh", timeout_s=60)
    (task.folder / "repo").mkdir(parents=True)
    (task.folder / "repo/a.txt").write_text("wrong\n")
    (task.folder / "repo/test.sh").write_text(TAP)
    write_task(task)
    return tmp_path / "tasks"


def test_from_the_command_to_the_table(tasks, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("KAT_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("KAT_CONFIG", str(tmp_path / "config"))
    edit = ("edit_file", {"path": "a.txt", "old": "wrong", "new": "right"})
    before = [task.digest for task in read_tasks(tasks)]
    script = [
        {"match": r"17 \+ 25[\s\S]*<think_off>", "reply": reply("42"), "times": 0},
        {"match": r"17 \+ 25", "reply": reply("42", think="Add them up, all of them."), "times": 0},
        {"match": "<tool_response>", "reply": reply("Done."), "times": 0},
        {"match": "edit_file", "reply": reply("", edit), "times": 0},
    ]
    out = tmp_path / "r.jsonl"
    with ScriptedServer(script) as server:
        command = ["eval", "--tasks", str(tasks), "--engine", server.url, "--out", str(out), "--run", "one"]
        assert run([*command, "--json", "--candidates", "1", "--jobs", "2"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert {mode: each["solved"] for mode, each in found["modes"].items()} == {"auto": 2, "on": 2, "off": 2}
        assert found["modes"]["on"]["think_rate"] == 1.0
        assert found["modes"]["off"]["think_rate"] == found["modes"]["off"]["tokens"]["think"] == 0
        assert found["auto_against_on"]["pairs"] == 2
        assert len(out.read_text().splitlines()) == 6
        asked = len(server.requests)
        assert run([*command, "--candidates", "1"]) == 0
        assert len(server.requests) == asked
    said = capsys.readouterr()
    assert "6 of 6 tries are in" in said.err
    assert "2/2" in said.out
    assert "Auto against on, 2 pairs" in said.out
    assert [task.digest for task in read_tasks(tasks)] == before
    assert run(["eval", "compare", str(out), f"{out}:one"]) == 0
    assert "×1.00" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "name the tasks with --tasks DIR"),
        (["--tasks", "/no/where"], "/no/where is no folder"),
        (["--suite", "answers", "--modes", "auto,maybe"], "no thinking mode 'maybe'"),
        (["--suite", "mutants"], "name it with --from DIR"),
        (["--suite", "answers", "--run", "../x"], "'../x' cannot name a run"),
        (["compare", "/no/where", "x"], "there are no results at /no/where"),
    ],
)
def test_bad_input_is_one_line(capsys, arguments, words):
    assert run(["eval", *arguments]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1
