"""FSDP2 (`fully_shard` on gloo, two processes) gives what one process gives, for the loss of each stage."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from tests.tiny import NEEDS_TORCH

pytestmark = [NEEDS_TORCH, pytest.mark.xdist_group("heavy")]
HERE = "tests.training.test_fsdp"
LOSSES = (f"{HERE}:cold_start", f"{HERE}:distillation", f"{HERE}:policy")
"""What builds the loss module of each stage, with micro-batches."""


def test_two_processes_fit_as_one_does(tmp_path: Path):
    from tests.training import cold_starts
    from tests.training.two_processes import same_as_one
    from training import coldstart, distill
    from training.runtime.world import World

    cold_starts.prepared(tmp_path)
    one = coldstart.run(whole_stage(World(), tmp_path, "one"))
    distill.run(with_drafter(World(), tmp_path, "one-distilled"))
    same_as_one(LOSSES, tmp_path, then=f"{HERE}:two")
    _same_run(tmp_path, dict(one.figures))
    _same_drafter(tmp_path)


def cold_start() -> tuple[Any, list[Any]]:
    from tests.training.tiny_llama import random_examples, tiny_llama
    from training.head import LossModel
    from training.losses import CrossEntropy
    from training.packing import collate, rows

    packed = islice(rows(random_examples(24), row=80, seed=0), 4)
    return LossModel(tiny_llama(), CrossEntropy(chunk=16, balance=0.3)), [collate([row], 0) for row in packed]


def distillation() -> tuple[Any, list[Any]]:
    """With an MTP module of two steps, and a teacher that says something of most places."""
    import torch

    from tests.training.tiny_llama import random_examples, tiny_llama
    from training.distilling import Distilling
    from training.models.mtp import MtpModule
    from training.packing import collate, rows
    from training.settings import Distill
    from training.teachers.taught import Taught

    model = tiny_llama()
    loss = Distilling(model, Distill(chunk=16), MtpModule(model.config, "eagle"), depth=2)
    said = torch.Generator().manual_seed(3)
    batches = []
    for row in islice(rows(random_examples(24, seed=2), row=80, seed=0), 4):
        batch = collate([row], 0)
        logits, top = torch.randn((*batch.ids.shape, 256), generator=said).log_softmax(-1).topk(8)
        batches.append(Taught(batch, top.int(), logits, batch.positions % 5 != 3, 0.3))
    return loss, batches


def policy() -> tuple[Any, list[Any]]:
    """Step-SRPO's loss of each token, behind a head as its trainer has it."""
    import torch

    from tests.training.tiny_llama import random_examples, tiny_llama
    from training.head import scoring
    from training.packing import collate, rows

    class Policy(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = scoring(tiny_llama(), chunk=16)

        def counts(self, batch: Any) -> dict[str, float]:
            return {"tokens": float(batch.tokens)}

        def forward(self, batch: Any, totals: Any) -> Any:
            from training.losses import policy
            from training.runtime.fitting import Losses

            logprobs, entropy = self.model(**batch.attention, targets=batch.targets)
            carries, old = batch.targets >= 0, logprobs.detach() - 0.1 * torch.sin(batch.positions.float())
            advantages = torch.cos(batch.ids.float()) + (batch.places == 1)
            found = policy(logprobs, old, advantages, engine=old + 0.05)
            total = torch.where(carries, found.loss, 0.0).sum() / totals["tokens"]
            return Losses(total, {"entropy": entropy.sum() / totals["tokens"]})

    packed = islice(rows(random_examples(24, seed=1), row=80, seed=0), 4)
    return Policy(), [collate([row], 0) for row in packed]


def whole_stage(world: Any, folder: Path, name: str) -> Any:
    """A cold start with a checkpoint there and back, samples held out, and weights put together at its end."""
    from tests.training import cold_starts

    return cold_starts.job(folder, name, dtype="float32", world=world, dropout=0.0, steps=4, save=2)


def two(world: Any, folder: Path) -> None:
    from training import coldstart, distill

    coldstart.run(whole_stage(world, folder, "two"))
    distill.run(with_drafter(world, folder, "two-distilled"))


def with_drafter(world: Any, folder: Path, name: str) -> Any:
    """A distillation, each process asking the teacher of its share, with an MTP module that is kept at its end."""
    from training.settings import Distill, Mtp

    given = whole_stage(world, folder, name)
    model = replace(given.recipe.model, mtp=Mtp(depth=2))
    settings = Distill(teacher=str(folder / "model"), top=8, steps=2, batch=1_024, lr=1e-2, warmup=0, evaluate=2)
    return replace(given, stage="distill", recipe=replace(given.recipe, model=model, distill=settings))


def _same_drafter(folder: Path) -> None:
    import torch

    from training.models.mtp import FOLDER, MtpModule
    from training.runtime.folder import RunFolder, rows

    runs = [folder / f"{name}-distilled" for name in ("one", "two")]
    for one, other in zip(*(list(rows(RunFolder(run).metrics)) for run in runs), strict=True):
        for name in ("loss_ce", "taught", "draft_1", "grad_norm"):
            assert abs(one[name] - other[name]) <= 1e-3, name
    states = [MtpModule.load(run / "distill" / "weights" / FOLDER).state_dict() for run in runs]
    assert all(torch.allclose(weight, states[1][name], atol=1e-3) for name, weight in states[0].items())
    assert len(list((runs[1] / "distill" / "teacher").glob("part-*.parquet"))) == 2, "each process stored its own"


def _same_run(folder: Path, last: dict[str, float]) -> None:
    import torch
    from safetensors.torch import load_file

    from training.runtime.folder import RunFolder, rows

    ones, twos = (list(rows(RunFolder(folder / name).metrics)) for name in ("one", "two"))
    assert [row["step"] for row in twos] == [1, 2, 3, 4]
    for one, other in zip(ones, twos, strict=True):
        for name in ("loss", "grad_norm", "tokens", "entropy"):
            assert abs(one[name] - other[name]) <= 1e-4, name
    assert abs(twos[-1]["valid_loss_ce"] - last["valid_loss_ce"]) <= 1e-4
    one, other = (
        load_file(folder / name / "coldstart" / "weights" / "adapter_model.safetensors") for name in ("one", "two")
    )
    assert one.keys() == other.keys()
    assert all(torch.allclose(one[name], other[name], atol=1e-4) for name in one)
