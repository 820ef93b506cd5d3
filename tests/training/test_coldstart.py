"""The loop and the cold start on a tiny model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from assistant.errors import UserError
from tests.tiny import NEEDS_TORCH

pytestmark = [NEEDS_TORCH, pytest.mark.xdist_group("heavy")]


def test_it_learns_and_leaves_an_adapter_that_is_loaded(tmp_path: Path):
    from tests.training import cold_starts
    from training.coldstart import run
    from training.models.loading import load
    from training.runtime.folder import rows

    job = cold_starts.job(cold_starts.prepared(tmp_path), "run", dtype="float32", balance=0.2)
    outcome = run(job)
    assert outcome.finished
    found = list(rows(job.folder.metrics))
    assert found[-1]["loss_ce"] < 0.9 * found[0]["loss_ce"]
    held = {row["step"]: row["valid_loss_ce"] for row in found if "valid_loss_ce" in row}
    assert list(held) == [4, 8, 9]
    assert held[9] < held[4]
    loaded = load(job.recipe.model, weights=outcome.weights, train=False)
    assert loaded.model.peft_config["default"].r == 8
    assert "<judge>" in loaded.tokenizer.chat_template
    assert [step for step, _ in job.folder.checkpoints("coldstart")] == [6, 9]
    assert '"train": 18' in (job.folder.path / "coldstart" / "data.json").read_text()


def test_micro_batches_add_up_to_one_batch():
    import torch

    from tests.training.tiny_llama import random_examples, tiny_llama
    from training.head import LossModel
    from training.losses import CrossEntropy
    from training.packing import collate
    from training.runtime.loop import update
    from training.runtime.optimizer import Optimizer
    from training.runtime.world import World
    from training.settings import Fit

    examples = random_examples(6)
    ends = []
    for parts in ([examples], [examples[:1], examples[1:3], examples[3:]]):
        loss = LossModel(tiny_llama(), CrossEntropy(chunk=16))
        optimizer = Optimizer(loss, Fit(decay=0.1))
        batches = [collate([part], 0) for part in parts]
        figures = update(loss, batches, optimizer, 1e-3, World())
        ends.append((figures, {name: weight.detach().clone() for name, weight in optimizer.weights.items()}))
    (one, whole), (many, summed) = ends
    assert many["tokens"] == one["tokens"] == sum(sum(each.loss) for each in examples)
    for name in ("loss", "loss_judge", "loss_answer", "entropy", "grad_norm"):
        assert many[name] == pytest.approx(one[name], rel=1e-4), name
    assert all(torch.allclose(whole[name], summed[name], atol=2e-5) for name in whole)


def test_it_stops_with_the_reason_and_names_the_last_good_checkpoint(tmp_path: Path):
    job, loop, loss, updates = _fixed(tmp_path)
    stopped = loop.fit(job, _settings(), _turning(loss, bad=4), updates, steps=6)
    assert not stopped.finished
    assert "the loss is nan" in stopped.why
    assert stopped.why.endswith(f"the last good checkpoint is {job.folder.checkpoint('coldstart', 2)}")
    weights = list(loss.parameters())
    assert all(bool(weight.isfinite().all()) for weight in weights), "what is not finite is not applied"


def test_asked_to_stop_it_saves_and_goes_on_later(tmp_path: Path):
    job, loop, loss, updates = _fixed(tmp_path)
    job.stop.ask()
    stopped = loop.fit(job, _settings(save=100), loss, updates, steps=3)
    assert (stopped.step, stopped.finished) == (1, False)
    assert "stopped after update 1 of 3" in stopped.why
    again, *_ = _fixed(tmp_path)
    finished = loop.fit(again, _settings(save=100), loss, updates, steps=3)
    assert (finished.step, finished.finished) == (3, True)


def test_a_broken_checkpoint_is_passed_over(tmp_path: Path):
    job, loop, loss, updates = _fixed(tmp_path)
    loop.fit(job, _settings(), loss, updates, steps=4)
    for file in job.folder.checkpoint("coldstart", 4).glob("*.distcp"):
        file.write_bytes(b"")
    again = loop.fit(job, _settings(), loss, updates, steps=4)
    assert again.finished
    assert "going on from the one before" in job.folder.log.read_text()
    assert "going on behind update 2" in job.folder.log.read_text()


def test_where_no_checkpoint_can_be_read_the_stage_does_not_begin_anew(tmp_path: Path):
    job, loop, loss, updates = _fixed(tmp_path)
    loop.fit(job, _settings(), loss, updates, steps=4)
    lines = job.folder.metrics.read_text()
    for step in (2, 4):
        for file in job.folder.checkpoint("coldstart", step).glob("*.distcp"):
            file.write_bytes(b"")
    with pytest.raises(UserError, match=r"no checkpoint in .*coldstart can be read \(step-2, step-4\)"):
        loop.fit(job, _settings(), loss, updates, steps=4)
    assert job.folder.metrics.read_text() == lines


def test_zero_is_never_and_what_was_done_has_its_figures(tmp_path: Path):
    job, loop, loss, updates = _fixed(tmp_path)
    settings = replace(_settings(save=0), evaluate=0, keep=0)
    seen: list[int] = []
    done = loop.fit(job, settings, loss, updates, steps=3, evaluate=lambda: {"valid_x": float(len(seen))})
    assert [step for step, _ in job.folder.checkpoints("coldstart")] == [3]
    again = loop.fit(job, settings, loss, updates, steps=3)
    assert again.figures["loss"] == done.figures["loss"]
    assert again.figures["valid_x"] == 0.0


def test_what_does_not_fit_is_said_at_once(tmp_path: Path):
    job, loop, loss, updates = _fixed(tmp_path)
    with pytest.raises(UserError, match=r"largest batch does not fit.*data\.row"):
        loop.fit(job, _settings(), _turning(loss, big=True), updates, steps=4)
    assert not job.folder.metrics.exists()


def test_a_run_without_samples_is_refused(tmp_path: Path):
    from tests.training import cold_starts
    from training.coldstart import run

    job = cold_starts.job(cold_starts.prepared(tmp_path), "run")
    nothing = replace(job.recipe.data, row=64)
    with pytest.raises(UserError, match=r"no sample of at most 64 tokens.*raise data\.row"):
        run(replace(job, recipe=replace(job.recipe, data=nothing)))


def _settings(save: int = 2) -> Any:
    from training.settings import Fit

    return Fit(lr=1e-3, warmup=0, save=save)


def _fixed(tmp_path: Path) -> tuple[Any, Any, Any, Any]:
    """A job, the loop, a loss module and updates for it."""
    from tests.training.tiny_llama import random_examples, tiny_llama
    from training.head import LossModel
    from training.losses import CrossEntropy
    from training.runtime import loop
    from training.runtime.feeding import PackedUpdates, Stored
    from training.runtime.folder import RunFolder
    from training.runtime.job import Job
    from training.runtime.world import World
    from training.settings import Recipe

    folder = RunFolder(tmp_path / "run")
    folder.begin("", {})
    job = Job("coldstart", Recipe(name="a", stages=("coldstart",)), folder, World(), tmp_path, say=folder.say)
    updates = PackedUpdates(Stored(random_examples(12)), 80, 40, World(), 0, 0)
    return job, loop, LossModel(tiny_llama(), CrossEntropy()), updates


def _turning(loss: Any, *, bad: int = 0, big: bool = False) -> Any:
    """A loss module that is no number at its `bad`-th micro-batch but the one tried first, or finds no memory."""
    import torch

    class Turning(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.seen = loss, -1

        def counts(self, batch: Any) -> Any:
            return self.inner.counts(batch)

        def forward(self, batch: Any, totals: Any) -> Any:
            if big:
                raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes")
            self.seen += 1
            found = self.inner(batch, totals)
            return found._replace(total=found.total * float("nan")) if bad and self.seen > bad else found

    return Turning()
