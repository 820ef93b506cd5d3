"""Solver, thinker and critic for real, with the embedded model; what comes of it is printed, however little."""

import sys

import pytest

from model.catalog import CATALOG
from model.engines.embedded import EmbeddedEngine
from model.pull import pull
from training.data.flow.reporting import by_reason
from training.data.rollouts import Rollouts
from training.data.schema import Provenance, Refused, Rollout, Sample, Task
from training.data.stage import Context
from training.data.synthesize import Synthesize

pytestmark = [pytest.mark.embedded, pytest.mark.xdist_group("heavy")]
CODE = "def add(a, b):\n    return a + b\n"
TRACE = Task("add", "trace", "What does `add(2, 3)` return?", Provenance("toy"), context=CODE, answer="5")
OPEN = Task("what", "question", "What does the function do?", Provenance("toy"), context=CODE)
SMALL = {"tokens": 56, "think": 20, "timeout": 60.0}
ROLES = Synthesize(tries=1, rounds=0, **SMALL)


def test_the_embedded_model_plays_every_role(tmp_path, capsys):
    async def engine():
        return EmbeddedEngine(pull(CATALOG["nano"]), context=1024)

    costs = []
    context = Context(tmp_path, 1, engine, costs.append)
    made = list(ROLES([TRACE, OPEN], context))
    tried = list(Rollouts(n=1, **SMALL)([TRACE], context))
    kept = [each for each in made if isinstance(each, Sample)]
    refused = by_reason(each.reason for each in made if isinstance(each, Refused))
    passed = sum(each.passed for each in tried if isinstance(each, Rollout))
    with capsys.disabled():
        sys.stdout.write(f"\n{len(kept)} samples of 4, refused: {refused}; {passed} of {len(tried)} tries right\n")
        sys.stdout.writelines(f"{cost}\n" for cost in costs)
    assert len(made) == 4
    assert [each.task for each in tried] == ["add", "add"]
    assert all(each.verification.by in ("execution", "critic") for each in kept)
    assert costs[0].figures["drawn"] >= 4
    assert made == list(ROLES([TRACE, OPEN], context))
    assert costs[-1].figures["drawn"] == 0
