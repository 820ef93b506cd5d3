"""Candidates for tasks by mutation."""

from collections import Counter
from pathlib import Path

import pytest

from assistant.errors import UserError
from assistant.tasks.patched import changes_in_turn, changes_of
from tests.training.small_source import small_source
from training.data.mutate import Mutate
from training.data.schema import Function, Refused, Source, as_line
from training.data.stage import Context


@pytest.fixture
def source(tmp_path):
    known = small_source(tmp_path)
    tests = ("test_shop.py::test_total",)
    functions = (Function("shop.py", "total", 1, 4, tests), Function("shop.py", "cheapest", 7, 8, tests))
    return Source("shop", known.root, "sha256:1", functions=functions, lines={"shop.py": (2, 4, 8)})


def test_mutants_of_what_is_run_spread_over_functions(source, tmp_path):
    context = Context(tmp_path)
    found = [*Mutate(seed=3, count=4)([source], context)]
    assert [Counter(task.provenance.function for task in found)[name] for name in ("total", "cheapest")] == [2, 2]
    every = [*Mutate(seed=3, count=1000)([source], context)]
    assert {task.provenance.function for task in every} == {"total", "cheapest"}
    assert {task.id for task in found} <= {task.id for task in every}
    assert len({task.id for task in every}) == len(every) > 5
    for task in every:
        (change,) = changes_of(task.start, Path(source.root)).changes
        assert change.path == "shop.py"
        assert changes_in_turn((task.start, task.solution), Path(source.root)).changes == ()


def test_the_seed_decides(source, tmp_path):
    context = Context(tmp_path)
    one, two, other = ([as_line(task) for task in Mutate(seed=seed, count=6)([source], context)] for seed in (1, 1, 2))
    assert one == two != other


def test_operators_are_chosen_by_name(source, tmp_path):
    found = Mutate(count=50, operators=("removed result",))([source], Context(tmp_path))
    assert {task.provenance.made_by for task in found} == {"mutate: removed result"}
    with pytest.raises(UserError, match="did you mean 'comparison'"):
        [*Mutate(operators=("comparsion",))([source], Context(tmp_path))]


def test_a_source_that_was_not_profiled_is_refused(tmp_path):
    (refused,) = Mutate()([Source("shop", str(tmp_path), "")], Context(tmp_path))
    assert isinstance(refused, Refused)
    assert refused.reason == "unprofiled"
