"""The runtime of training without a model: folder, stopping, schedule, watching, progress, streams of updates."""

from __future__ import annotations

import io
import json
import math
import os
import signal

import pytest

pytest.importorskip("torch")
from hypothesis import given, settings
from hypothesis import strategies as st

from assistant.errors import UserError
from model.format import Mode
from training.examples import Example, Place
from training.runtime.feeding import PackedUpdates, Stored, updates_of
from training.runtime.folder import RunFolder, beside, put_folder, rows
from training.runtime.metrics import Metrics
from training.runtime.optimizer import rate
from training.runtime.progress import Progress, duration, said
from training.runtime.stopping import Stop
from training.runtime.watching import WINDOW, Watch
from training.runtime.world import World
from training.settings import Fit

pytestmark = pytest.mark.xdist_group("heavy")  # torch is imported by one worker

_EXAMPLES = st.lists(
    st.lists(st.tuples(st.integers(0, 60_000), st.booleans(), st.sampled_from(Place)), min_size=1, max_size=20).map(
        lambda tokens: tuple(zip(*tokens, strict=True))
    ),
    min_size=1,
    max_size=40,
).map(lambda each: [Example(f"e{n}", *parts, mode=[*Mode][n % 2], family=f"f{n % 3}") for n, parts in enumerate(each)])


@given(_EXAMPLES)
@settings(max_examples=25, deadline=None)
def test_stored_examples_come_back_as_they_were(examples):
    stored = Stored(examples)
    assert list(stored) == examples
    assert stored.tokens == sum(map(len, examples))
    assert stored.digest() != Stored(examples[1:]).digest()


@given(_EXAMPLES, st.integers(0, 9), st.integers(0, 3))
@settings(max_examples=15, deadline=None)
def test_a_stream_goes_on_where_it_stopped_and_processes_share_its_rows(examples, taken, seed):
    def stream(rank: int = 0, size: int = 1) -> PackedUpdates:
        return PackedUpdates(Stored(examples), 80, 20, World(rank, size), seed, pad_id=0)

    whole, resumed = stream(), stream()
    for _ in range(taken):
        next(whole)
    resumed.load_state_dict(json.loads(json.dumps(whole.state_dict())))
    halves = [stream(rank, 2) for rank in range(2)]
    for half in halves:
        half.load_state_dict(whole.state_dict())
    for _ in range(3):
        one, again = next(whole), next(resumed)
        assert [batch.ids.tolist() for batch in one] == [batch.ids.tolist() for batch in again]
        parts = [next(half) for half in halves]
        assert len(parts[0]) == len(parts[1]) == 2
        shared = [batch.targets.tolist() for pair in zip(*parts, strict=True) for batch in pair]
        assert shared == [batch.targets.tolist() for batch in one]


def test_an_epoch_holds_every_example_once():
    examples = [Example(f"e{n}", (n,) * 7, (True,) * 7, (Place.ANSWER,) * 7) for n in range(50)]
    updates = PackedUpdates(Stored(examples), 40, 20, World(), 0, pad_id=99)
    assert updates.epoch == 25
    steps = updates_of(updates.epoch, updates.count, 1.0)
    assert (steps, updates_of(25, 2, 0.5), updates_of(1, 8, 1.0)) == (13, 6, 1)
    seen = [row for _ in range(12) for batch in next(updates) for row in batch.ids.tolist()]
    tokens = [token for row in seen for token in row if token != 99]
    assert len(tokens) == 24 * 14
    assert max(tokens.count(n) for n in range(50)) == 7
    assert updates.largest().tokens == 19


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant"])
def test_the_rate_warms_up_to_its_height_and_falls(schedule):
    fit = Fit(lr=1.0, warmup=4, schedule=schedule)
    rates = [rate(fit, step, 20) for step in range(20)]
    assert rates[:5] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert rates[4:] == sorted(rates[4:], reverse=True)
    assert rate(fit, 12, 20) == pytest.approx(1.0 if schedule == "constant" else 0.5)
    assert rate(fit, 20, 20) == pytest.approx(1.0 if schedule == "constant" else 0.0)
    assert rate(Fit(lr=1.0, warmup=0), 0, 1) == 1.0


def test_watching_says_why_a_run_must_stop():
    assert "lower lr" in (Watch().see({"loss": math.nan}) or "")
    assert "grad norm" in (Watch().see({"loss": 1.0, "grad_norm": math.inf}) or "")
    assert _first(Watch(), "entropy", 0.5, 0.3) is None
    assert "entropy fell" in (_first(Watch(), "entropy", 0.5, 0.001) or "")
    assert _first(Watch(), "entropy", 0.004, 0.003) is None, "sure from the start"
    assert "replies grew" in (_first(Watch(), "length", 100.0, 900.0) or "")
    assert _first(Watch(), "length", 100.0, 300.0) is None
    assert "all rollouts think" in (_first(Watch(), "think_rate", 0.6, 1.0) or "")
    assert "without thought" in (_first(Watch(), "think_rate", 0.6, 0.0) or "")
    assert _first(Watch(), "think_rate", 0.0, 0.0) is None, "it never chose"


def _first(watch: Watch, name: str, before: float, after: float) -> str | None:
    """What is said within two windows of the one value and two of the other."""
    values = [before] * 2 * WINDOW + [after] * 2 * WINDOW
    return next((why for value in values if (why := watch.see({"loss": 1.0, name: value}))), None)


def test_the_first_signal_asks_and_the_second_interrupts():
    before, heard = signal.getsignal(signal.SIGTERM), list[str]()
    with Stop(heard.append) as stop:
        assert not stop.asked
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.asked
        assert "once more to leave at once" in heard[0]
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_folder_holds_what_was_done_and_forgets_what_comes_again(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.begin("name = 'a'\n", {"seed": 3})
    with Metrics.of(folder, "coldstart", ()) as metrics:
        for step in range(1, 6):
            metrics.put(step, {"loss": 1 / step if step < 5 else math.nan})
    folder.measured("rl", 9, {"reward": 0.5})
    with folder.metrics.open("a") as cut:
        cut.write('{"stage": "rl", "step": 10, "rew')
    found = list(rows(folder.metrics))
    assert [row["step"] for row in found] == [1, 2, 3, 4, 5, 9]
    assert found[4]["loss"] is None
    folder.forget("coldstart", after=3)
    assert [(row["stage"], row["step"]) for row in rows(folder.metrics)] == [
        *(("coldstart", step) for step in (1, 2, 3)),
        ("rl", 9),
    ]
    for step in (20, 3):
        unfinished = beside(folder.checkpoint("rl", step))
        (unfinished / "a").write_text(str(step))
        put_folder(folder.checkpoint("rl", step), unfinished)
    beside(folder.checkpoint("rl", 30))
    assert [step for step, _ in folder.checkpoints("rl")] == [3, 20]
    with pytest.raises(UserError, match="another recipe"):
        folder.begin("name = 'b'\n", {})


def test_a_sink_that_is_not_installed_is_said(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "trackio", None)
    with pytest.raises(UserError, match="pip install trackio"):
        Metrics.of(RunFolder(tmp_path), "rl", ("trackio",))


def test_figures_reach_tensorboard(tmp_path):
    pytest.importorskip("tensorboard")
    with Metrics.of(RunFolder(tmp_path), "rl", ("tensorboard",)) as metrics:
        metrics.put(1, {"reward": 0.5})
    (events,) = (tmp_path / "tensorboard").iterdir()
    assert b"rl/reward" in events.read_bytes()


def test_progress_is_one_line():
    clock = iter([10.0, 20.0, 60.0, 70.0])
    plain = io.StringIO()
    with Progress("rl", 4, plain, lambda: next(clock)) as progress:
        for step in range(1, 5):
            progress.show(step, {"loss": 0.123456, "lr": 1e-6, "seconds": 10.0, "unknown": 1.0})
    lines = plain.getvalue().splitlines()
    assert [line.split("  ")[0] for line in lines] == ["rl 1/4", "rl 3/4", "rl 4/4"], "every half minute, and the last"
    assert lines[0] == "rl 1/4  0:30 left  loss 0.1235  lr 1.00e-06"
    assert lines[-1].startswith("rl 4/4  1:10  loss")
    assert (duration(3_723), said(12_345.6), said(0.0)) == ("1:02:03", "12,346", "0")


def test_the_world_is_what_torchrun_says():
    assert World.here("cpu", {}) == World()
    assert World.here("cpu", {}).sum([1.0, 2.0]) == [1.0, 2.0]
    with pytest.raises(UserError, match="torchrun"):
        World.here("cpu", {"RANK": "2", "WORLD_SIZE": "2"})
    with pytest.raises(UserError, match="no number"):
        World.here("cpu", {"RANK": "first"})
