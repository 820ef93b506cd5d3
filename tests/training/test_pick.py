"""A few of each kind and difficulty, the same ones whatever the order."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

from training.data.pick import Pick
from training.data.schema import Provenance, Refused, Tags, Task
from training.data.stage import Context

TASKS = [
    Task(f"t-{number}", kind, "?", Provenance("s"), tags=Tags(difficulty=level))
    for number, (kind, level) in enumerate(
        [("trace", "easy")] * 9 + [("trace", "hard")] * 2 + [("question", "easy")] * 5 + [("review", "medium")]
    )
]


def picked(tasks, **options):
    outcomes = list(Pick(**options)(tasks, Context(Path())))
    assert len(outcomes) == len(tasks)
    return [one for one in outcomes if not isinstance(one, Refused)]


def test_each_stratum_gives_as_many_as_are_wanted_or_all_it_has():
    counts = Counter((task.kind, task.tags.difficulty) for task in picked(TASKS, each=3))
    assert counts == {("trace", "easy"): 3, ("trace", "hard"): 2, ("question", "easy"): 3, ("review", "medium"): 1}


def test_order_does_not_choose_and_the_seed_does():
    chosen = {task.id for task in picked(TASKS, each=2)}
    assert {task.id for task in picked(TASKS[::-1], each=2)} == chosen
    assert any({task.id for task in picked(TASKS, each=2, seed=seed)} != chosen for seed in range(1, 9))
    more = [*TASKS, replace(TASKS[0], id="other", tags=Tags(difficulty="medium"))]
    assert {task.id for task in picked(more, each=2)} == chosen | {"other"}
