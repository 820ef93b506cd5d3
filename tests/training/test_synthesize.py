"""Solver, thinker and critic before a server that plays their parts."""

import json
import re
from dataclasses import replace

import pytest

from model.engine import EngineUnreachable
from model.engines.http import HttpEngine
from model.engines.scripted import ScriptedServer
from model.format import Mode, ThinkRequest
from model.line import LineEdit
from model.prompt import Message
from training.data.asking.checking import check, same_answer, spliced
from training.data.asking.posing import one_line, pose
from training.data.asking.replies_cache import Drawn, ReplyCache
from training.data.flow.told import Cost, Note
from training.data.modes.judges import Judges
from training.data.repositories.checkouts import Sources
from training.data.rollouts import Rollouts
from training.data.schema import Provenance, Refused, Reply, Rollout, Sample, Source, Task, as_line
from training.data.stage import Context
from training.data.synthesize import Synthesize

HEAD = "diff --git a/a.py b/a.py\n--- a/a.py\n+++ b/a.py\n"
PATCH = f"{HEAD}@@ -1,2 +1,2 @@\n def f(x):\n-    return x - 1\n+    return x + 1\n"
OPEN = Task("task-1", "question", "What does f do?", Provenance("toy"), context="def f(x):\n    return x + 1\n")
KNOWN = replace(OPEN, id="task-2", answer="adds one")
TRACE = replace(OPEN, id="task-3", kind="trace", statement="What does f(2) return?", answer="3")
REPAIR = replace(OPEN, id="task-4", kind="mutation", statement="f is off by two.", solution=PATCH, context="")
QUICK = {"tries": 2, "timeout": 5.0, "retries": 0}


def off(answer):
    return f"Plain.\n</judge>\n\n<think_off>\n<answer>\n{answer}\n</answer>"


def on(think, answer):
    return f"Hard.\n</judge>\n\n<think_on>\n<think>\n{think}\n</think>\n\n<answer>\n{answer}\n</answer>"


def verdict(word, score=0.9, *problems):
    return off(json.dumps({"score": score, "verdict": word, "problems": problems}))


def line(role, reply, times=0, **more):
    return {
        "match": {"thinker": "whole reasoning", "critic": "strict critic", "solver": ""}[role],
        "reply": reply,
        "times": times,
        **more,
    }


@pytest.fixture
def play(tmp_path):
    """Runs a stage on tasks against a script: what came out, the prompts that were sent, and what was watched."""

    def run(stage, script, *tasks):
        watched = []
        with ScriptedServer(script) as server:

            async def engine():
                return HttpEngine(server.url, retries=0, backoff=0.01)

            context = Context(tmp_path / "cache", 2, engine, watched.append)
            found = list(stage(tasks or [OPEN], context))
            return found, [body["prompt"] for body in server.requests], watched

    return run


def asked(prompts, words):
    return [prompt for prompt in prompts if re.search(words, prompt)]


def test_a_reply_that_the_critic_accepts_is_kept_in_both_regimes(play):
    script = [
        line("critic", verdict("accept")),
        line("thinker", on("It takes x. It adds one.", "It adds one.")),
        line("solver", off("Adds 1.")),
    ]
    found, prompts, watched = play(Synthesize(**QUICK), script)
    direct, thought = found
    assert (direct.mode, direct.answer, direct.think) == (Mode.OFF, "Adds 1.", "")
    assert (thought.mode, thought.answer, thought.think) == (Mode.ON, "It adds one.", "It takes x. It adds one.")
    assert {sample.verification.by for sample in found} == {"critic"}
    assert thought.messages == pose(OPEN).messages == direct.messages
    assert direct.by == thought.by == "regime"
    assert all(sample.judge for sample in found)
    (cost,) = [each for each in watched if isinstance(each, Cost)]
    assert cost.figures["drawn"] == len(prompts) == 5
    assert cost.figures["tokens"] > 0


def test_what_can_be_mended_goes_back_to_the_thinker_with_what_is_wrong(play):
    script = [
        line("critic", verdict("revise", 0.4, "the second step is missing"), 1),
        line("critic", verdict("accept", 0.5), 1),
        line("critic", verdict("accept", 0.8), 1),
        *(line("thinker", on(f"Step {number}.", "Adds."), 1) for number in range(3)),
        line("solver", off("Adds 1.")),
    ]
    found, prompts, _ = play(Synthesize(regimes=("on",), **QUICK), script)
    assert [sample.verification.evidence["tried"] for sample in found] == ["3"]
    revisions = asked(prompts, "What is wrong with it")
    assert "the second step is missing" in revisions[0]
    assert "its score is 0.5" in revisions[1]


@pytest.mark.parametrize(
    ("script", "reason", "detail"),
    [
        ([line("critic", verdict("reject", 0.1, "it is about g"))], "rejected", "it is about g"),
        ([line("critic", verdict("revise", 0.1, "no end"))], "unsolved", "no end"),
        ([line("critic", off("Looks good to me!"))], "malformed", "schema"),
        ([line("critic", verdict("accept"), delay=1.0)], "engine", "0.2 seconds"),
        ([line("critic", "", status=400, body={"error": {"message": "no"}})], "engine", ""),
        ([line("critic", verdict("accept"), cut_after=3)], "engine", ""),
    ],
)
def test_what_does_not_come_about_is_refused_with_the_reason(play, script, reason, detail):
    stage = Synthesize(regimes=("on",), tries=1, rounds=1, retries=0, timeout=0.2 if detail == "0.2 seconds" else 30)
    found, prompts, _ = play(stage, [*script, line("thinker", on("It adds.", "One.")), line("solver", off("Adds."))])
    assert [(type(each), each.id, each.reason) for each in found] == [(Refused, OPEN.id, reason)]
    assert detail in found[0].detail
    assert len(asked(prompts, "strict critic")) == (2 if reason == "malformed" else 1)


def test_a_verdict_that_cannot_be_read_is_asked_for_once_more(play):
    critics = [line("critic", off("Fine."), 1), line("critic", verdict("accept"), 1)]
    script = [*critics, line("thinker", on("It adds.", "One.")), line("solver", off("Adds."))]
    found, prompts, _ = play(Synthesize(regimes=("on",), **QUICK), script)
    assert isinstance(found[0], Sample)
    assert "Fine." in asked(prompts, "That was not the JSON object")[0]


def test_execution_beats_the_critic(play):
    script = [
        line("critic", verdict("accept", 1.0)),
        line("thinker", on("So 4.", "4")),
        line("solver", off("4"), 3),
        line("solver", off("`3`")),
    ]
    found, prompts, _ = play(Synthesize(tries=5, rounds=1, retries=0), script, TRACE)
    direct, thought = found
    assert (direct.answer, direct.verification.by) == ("`3`", "execution")
    assert (thought.reason, thought.id) == ("unsolved", TRACE.id)
    assert not asked(prompts, "strict critic")


def test_without_thinking_the_shortest_right_answer_is_kept(play):
    replies = ["It adds one, since it is so, and is", "wrong", "adds one", "The answer is: adds one"]
    script = [line("solver", off(reply), 1) for reply in replies]
    found, _, _ = play(Synthesize(regimes=("off",), tries=4, retries=0), script, KNOWN)
    assert [sample.answer for sample in found] == ["adds one"]
    assert found[0].verification.evidence["tried"] == "4"


def test_a_thought_that_speaks_of_the_draft_is_written_anew(play):
    thoughts = [
        line("thinker", on("The first attempt is wrong.", "adds one"), 1),
        line("thinker", on("It adds.", "adds one")),
    ]
    found, prompts, _ = play(Synthesize(regimes=("on",), **QUICK), [*thoughts, line("solver", off("?"))], KNOWN)
    assert found[0].think == "It adds."
    assert "speaks of the attempt" in asked(prompts, "What is wrong with it")[0]


def test_the_users_wish_decides_the_regime(play):
    wish = replace(KNOWN, statement="What does f do? Answer directly, please.")
    found, _, _ = play(Synthesize(**QUICK), [line("solver", off("adds one"))], wish)
    assert [(sample.mode, sample.by, sample.request) for sample in found] == [(Mode.OFF, "request", ThinkRequest.OFF)]


def test_the_same_bytes_come_from_the_cache_without_a_request(play):
    tasks = [replace(KNOWN, id=f"task-{number}", statement=f"What does f do in {number}?") for number in range(12)]
    script = [line("thinker", on("It adds.", "adds one")), line("solver", off("adds one"), pause=0.001)]
    first, prompts, _ = play(Synthesize(**QUICK), script, *tasks)
    again, none, _ = play(Synthesize(**QUICK), [], *tasks)
    assert [as_line(each) for each in first] == [as_line(each) for each in again]
    assert [each.task for each in first] == [task.id for task in tasks for _ in range(2)]
    assert len(prompts) == 36  # two answers and a thought; the first answer is the draft
    assert none == []


def test_an_engine_that_is_gone_ends_the_run_so_that_it_can_go_on_later(tmp_path):
    async def engine():
        return HttpEngine("http://127.0.0.1:9", retries=0, backoff=0.01)

    with pytest.raises(EngineUnreachable):
        list(Synthesize(**QUICK)([OPEN], Context(tmp_path, 1, engine)))


def test_rollouts_try_each_task_in_both_modes_and_check_each_try(play):
    script = [
        {"match": "think_on", "reply": on("x - 1 must be x + 1.", "2:     return x + 1"), "times": 0},
        {"match": "think_off", "reply": off("2: return x"), "times": 2},
        {"match": "think_off", "reply": off("line 2: return x + 1"), "times": 0},
    ]
    found, prompts, _ = play(Rollouts(n=3, retries=0), script, REPAIR, OPEN)
    tries = [(each.mode, each.passed) for each in found if isinstance(each, Rollout)]
    assert tries == [(Mode.ON, True)] * 3 + [(Mode.OFF, passed) for _, passed in tries[3:]]
    assert sorted(passed for _, passed in tries[3:]) == [False, False, True]
    assert [each.reason for each in found if isinstance(each, Refused)] == ["unchecked"]
    assert all("<answer>\n" in prompt or "<think>\n" in prompt for prompt in prompts)
    assert len({each.id for each in found}) == 7


@pytest.mark.parametrize(
    ("given", "right", "value", "same"),
    [
        ("It returns `[1, 2]`.", "[1, 2]", True, True),
        ("f(2) = 3", "3", True, True),
        ("The result is 'a b'.", "'a b'", True, True),
        ("```python\n{'a': (1,)}\n```", "{'a': (1,)}", True, True),
        ("1", "True", True, False),
        ("[1, 2.0]", "[1, 2]", True, False),
        ("4, not 3", "3", True, False),
        ("raises `ValueError`", "raises ValueError", True, True),
        ("`b` and `a`", "`a`, `b`", False, True),
        ("`a`", "`a`, `b`", False, False),
        ("The answer is: path.py:12", "`path.py:12`", False, True),
        ("", "a", False, False),
    ],
)
def test_answers_are_compared_by_what_they_say(given, right, value, same):
    assert same_answer(given, right, value=value) is same


def test_a_fix_of_one_line_is_asked_for_in_the_form_of_a_line():
    task, edit = one_line(PATCH)
    assert (task.path, task.lines, edit) == ("a.py", ("def f(x):", "    return x - 1"), LineEdit(2, "return x + 1"))
    assert "f is off by two" in pose(REPAIR).messages[1].content
    assert check(REPAIR, Reply(answer="2:  return x + 1"), Context(None)).passed
    assert check(REPAIR, Reply(answer="2: return x"), Context(None)).passed is False
    assert pose(replace(REPAIR, solution=PATCH + PATCH.replace("a.py", "b.py"))) is None


@pytest.fixture
def shop(tmp_path):
    """A source with tests, and two tasks in it: a line that is wrong, and a function to be written."""
    root = tmp_path / "shop"
    root.mkdir()
    root.joinpath("a.py").write_text("def f(x):\n    return x + 1\n")
    root.joinpath("test_a.py").write_text(
        "import unittest\nfrom a import f\n\n\nclass T(unittest.TestCase):\n"
        "    def test_f(self):\n        self.assertEqual(f(1), 2)\n"
    )
    source = Source("shop", str(root), "", test="python3 -m unittest -v", passing=("test_a.T.test_f",))
    start = f"{HEAD}@@ -1,2 +1,2 @@\n def f(x):\n-    return x + 1\n+    return x - 1\n"
    known = {
        "start": start,
        "provenance": Provenance("shop", path="a.py", function="f"),
        "fail_to_pass": source.passing,
    }
    line = replace(REPAIR, **known)
    return source, line, replace(line, kind="writing", context="def f(x): ...", solution=PATCH.replace(" def", "-def"))


@pytest.mark.parametrize(
    ("of", "answer", "passed", "why"),
    [
        ("line", "2: return x", False, "1 of 1 tests do not pass"),
        ("line", "7: return x", False, "does not fit"),
        ("function", "```python\ndef f(x):\n    return -~x\n```", True, ""),
        ("function", "I cannot.", False, "no function f"),
    ],
)
def test_a_fix_that_is_not_the_known_one_is_run(shop, tmp_path, of, answer, passed, why):
    source, line, function = shop
    task = line if of == "line" else function
    verdict = check(task, Reply(answer=answer), Context(tmp_path / "cache"), Sources([source]))
    assert (verdict.passed, verdict.by) == (passed, "construction" if "no function" in why else "tests")
    assert why in verdict.why
    assert "x + 1" in (tmp_path / "shop/a.py").read_text()


def test_a_function_is_put_in_the_place_of_the_old_one():
    text = "class A:\n    @cache\n    def f(self):\n        return 1\n\n    x = 1\n"
    assert spliced(text, "A.f", "def f(self):\n    return 2\n") == (
        "class A:\n    def f(self):\n        return 2\n\n    x = 1\n"
    )
    assert spliced(text, "A.g", "def g(self): pass") is None


def test_the_first_reply_that_is_kept_stays(tmp_path):
    cache = ReplyCache(tmp_path)
    one, other = (Drawn(Reply(answer=text), {"answer": 1}) for text in "ab")
    assert cache.put("ab" * 32, [one]) == (one,) == cache.put("ab" * 32, [other])
    (file,) = (path for path in tmp_path.rglob("*") if path.is_file())
    file.write_bytes(file.read_bytes()[:-5])
    assert cache.get("ab" * 32) is None
    assert cache.put("ab" * 32, [other]) == (other,)


def test_a_judge_that_a_model_writes_stands_where_it_is_fit(play):
    good = "One look at the short function is enough, and direct answers always succeed."
    asked_of = [
        Sample(name, "question", Mode.OFF, (Message("user", name),), "adds one", Provenance("s"), judge="Old.")
        for name in ("Which?", "What?", "Why?", "Who?")
    ]
    script = [
        {"match": "Which\\?", "reply": off(good)},
        {"match": "What\\?", "reply": off("It adds one, as anybody can see at a glance.")},
        {"match": "Why\\?", "reply": off("Yes.")},
    ]
    samples = [*asked_of[:3], replace(asked_of[3], by="request")]
    found, _, watched = play(Judges(retries=0), script, *samples)
    assert [each.judge for each in found] == [good, "Old.", "Old.", "Old."]
    assert [each for each in watched if isinstance(each, Note)] == ["1 of 4 judges written by the model"]
