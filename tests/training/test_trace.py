"""Traces: answers are what Python says, thoughts are what ran, and what cannot be trusted is refused."""

from __future__ import annotations

import ast
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.data.repositories.modules import functions, module_of
from training.data.schema import Refused, Source, Task, as_line
from training.data.stage import Context
from training.data.trace import Trace
from training.data.tracing.calls import calls_like
from training.data.tracing.code import Shown, shown
from training.data.tracing.runs import Seen, Step
from training.data.tracing.words import CHINESE, ENGLISH, MOST, chain, steps_told

CODE = '''"""Functions to be followed."""

import random
import signal
import time
from datetime import datetime

LIMIT = 3


def capped(n):
    """The number, but no more than the limit.

    >>> capped(7)
    3
    """
    return n if n < LIMIT else LIMIT


def total(numbers, most=10):
    """The sum of the small ones."""
    result = 0
    for number in numbers:
        if number > most:
            continue
        result += capped(number)
    return result


def odd(stop):
    at = 1
    while at < stop:
        yield at
        at += 2


def letters(text):
    return list(set(text))


def tossed(n):
    return n + random.randrange(1000)


def now(n):
    return n, datetime.now().year


def slept(n):
    time.sleep(0)
    return n


def endless(n):
    while n >= 0:
        n += 1
    return n


def gone(n):
    signal.raise_signal(signal.SIGKILL)


def divided(a, b):
    return a / b


def hidden(n):
    return elsewhere(n)


class Opaque:
    pass


def opaque(n):
    return Opaque
'''
TESTS = """
from code import *

def test_total():
    numbers = [1, 2, 30]
    assert total(numbers) == 3
    assert total([2, 11, 5], most=4) == 2

def test_others():
    assert list(odd(6)) == [1, 3, 5]
    letters("abcdefgh"), tossed(1), now(1), slept(1), endless(1), gone(1), divided(1, 0)
"""
EXPECTED = """At the start most = 10, numbers = [1, 2, 30].
Line {a}: result = 0.
Line {b}: the loop goes on, number = 1.
Line {c}: `number > most` is false.
Line {e}: capped(1) gives 1, result = 1.
Line {b}: the loop goes on, number = 2.
Line {c}: `number > most` is false.
Line {e}: capped(2) gives 2, result = 3.
Line {b}: the loop goes on, number = 30.
Line {c}: `number > most` is true.
Line {d}: `continue`.
Line {b}: the loop is over.
Line {f}: 3 is returned.
So `total([1, 2, 30])` gives 3."""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    root = tmp_path_factory.mktemp("traced")
    (root / "followed.py").write_text(CODE, "utf-8")
    (root / "tests").mkdir()
    (root / "tests" / "test_followed.py").write_text(TESTS, "utf-8")
    return Source("traced", str(root), "sha256:1", licence="MIT")


@pytest.fixture(scope="module")
def found(source: Source) -> list[Task | Refused]:
    return [*Trace(seed=3, calls=4, chinese=0.0)([source], Context(Path(source.root)))]


def of(found: list[Task | Refused], name: str) -> list[Task]:
    return [each for each in found if isinstance(each, Task) and each.provenance.function == name]


def reasons(found: list[Task | Refused], name: str) -> set[str]:
    refused = (each for each in found if isinstance(each, Refused))
    return {each.reason for each in refused if each.detail.startswith(f"{name}(") or each.id.endswith(f":{name}")}


def test_answers_are_what_python_says(found: list[Task | Refused]) -> None:
    names: dict[str, object] = {}
    exec(compile(CODE, "followed.py", "exec"), names)
    tasks = [each for each in found if isinstance(each, Task)]
    assert {each.provenance.function for each in tasks} == {"capped", "total", "odd", "divided"}
    for task in tasks:
        assert ast.literal_eval(task.answer) == eval(task.verification.evidence["call"], dict(names))
        assert task.thought.endswith(f"gives {task.answer}.")
        assert (task.verification.by, task.verification.runs, task.licence) == ("execution", 2, "MIT")


def test_a_thought_is_what_ran(found: list[Task | Refused]) -> None:
    (task,) = (each for each in of(found, "total") if each.verification.evidence["call"] == "total([1, 2, 30])")
    numbers = {
        text.split(": ", 1)[1].strip(): number
        for number, text in enumerate(task.context.split("\n"), 1)
        if ": " in text
    }
    assert [int(line.split(":")[0]) for line in task.context.split("\n")] == [*range(1, len(numbers) + 1)]
    places = {
        "a": numbers["result = 0"],
        "b": numbers["for number in numbers:"],
        "c": numbers["if number > most:"],
        "d": numbers["continue"],
        "e": numbers["result += capped(number)"],
        "f": numbers["return result"],
    }
    assert task.thought == EXPECTED.format(**places)
    assert "LIMIT = 3" in task.context
    assert '"""' not in task.context  # a docstring may hold the answer


def test_what_a_generator_yields_is_told(found: list[Task | Refused]) -> None:
    task = next(each for each in of(found, "odd") if each.verification.evidence["call"] == "list(odd(6))")
    assert task.answer == "[1, 3, 5]"
    assert [line.split(": ")[1] for line in task.thought.split("\n") if "yielded" in line] == [
        f"{number} is yielded." for number in (1, 3, 5)
    ]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("letters", "flaky"),
        ("tossed", "world"),
        ("now", "world"),
        ("slept", "world"),
        ("endless", "too_long"),
        ("gone", "died"),
        ("divided", "raises"),
        ("hidden", "not_shown"),
        ("opaque", "not_shown"),
    ],
)
def test_what_cannot_be_trusted_is_refused(found: list[Task | Refused], name: str, reason: str) -> None:
    assert reasons(found, name) == {reason}
    assert not of(found, name) or name == "divided"  # by another number than 0


def test_the_same_again(source: Source, found: list[Task | Refused]) -> None:
    again = Trace(seed=3, calls=4, chinese=0.0)([source], Context(Path("/nowhere"), jobs=5))
    kept = [as_line(each) for each in found if isinstance(each, Task)]
    assert [as_line(each) for each in again if isinstance(each, Task)] == kept
    assert source.root not in "".join(kept)


LONG = """def counted(stop):
    at = 0
    while at < stop:
        at += 1
    return at
"""


def counted() -> Shown:
    module = module_of("counted.py", LONG)
    assert module is not None
    (definition,) = functions(module)
    found = shown(definition)
    assert isinstance(found, Shown)
    return found


def seen(stop: int) -> Seen:
    steps = [Step(2, {"at": "0"})]
    for at in range(1, stop + 1):
        steps += [Step(3, {}), Step(4, {"at": str(at)})]
    steps += [Step(3, {}), Step(5, {}, (("returns", str(stop)),))]
    return Seen(str(stop), False, {"stop": str(stop)}, tuple(steps))


@settings(max_examples=20)
@given(st.integers(0, 200))
def test_a_long_chain_stays_true(stop: int) -> None:
    function, ran = counted(), seen(stop)
    lines = chain(function, ran, f"counted({stop})", ENGLISH).split("\n")
    assert len(lines) <= MOST + 3
    told, at = 0, None
    for line in lines[1:-1]:
        if line.startswith("("):
            count, at = int(line[1:].split()[0]), line.rstrip(".)").rpartition("at = ")[2]
            told += count
            continue
        told += 1
        match line.split(": ", 1)[1]:
            case "`at < stop` is true.":
                assert int(at or 0) < stop
            case "`at < stop` is false.":
                assert int(at or 0) == stop
            case change if change.startswith("at = "):
                assert at is None or int(change[5:-1]) == int(at) + 1
                at = change[5:-1]
    assert told == steps_told(function, ran)
    assert chain(function, ran, "f", CHINESE).count("\n") == len(lines) - 1


@settings(max_examples=20)
@given(st.integers(0, 10_000))
def test_calls_like_one_are_calls_of_the_same_function(seed: int) -> None:
    for text in calls_like("f([1, 'ab'], n=3, key=lambda x: x + 1)", random.Random(seed), 3):
        tree = ast.parse(text, mode="eval").body
        assert isinstance(tree, ast.Call)
        assert ast.unparse(tree.func) == "f"
        assert [keyword.arg for keyword in tree.keywords] == ["n", "key"]
