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
LOSSES = (f"{HERE}:cold_start", f"{HERE}:distillation")
"""What builds the loss module of a stage, with micro-batches; Step-SRPO's loss is within its trainer."""


def test_two_processes_fit_as_one_does(tmp_path: Path):
    from tests.training import cold_starts
    from tests.training.two_processes import same_as_one
    from training import coldstart, distill
    from training.runtime.world import World

    cold_starts.prepared(tmp_path)
    one = coldstart.run(whole_stage(World(), tmp_path, "one"))
    distill.run(with_drafter(World(), tmp_path, "one-distilled"))
    by_trial(World(), tmp_path, "one-tried")
    same_as_one(LOSSES, tmp_path, then=f"{HERE}:two")
    _same_run(tmp_path, dict(one.figures))
    _same_drafter(tmp_path)
    _same_trials(tmp_path)


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


def whole_stage(world: Any, folder: Path, name: str) -> Any:
    """A cold start with a checkpoint there and back, samples held out, and weights put together at its end."""
    from tests.training import cold_starts

    return cold_starts.job(folder, name, dtype="float32", world=world, dropout=0.0, steps=4, save=2)


def two(world: Any, folder: Path) -> None:
    from training import coldstart, distill

    coldstart.run(whole_stage(world, folder, "two"))
    distill.run(with_drafter(world, folder, "two-distilled"))
    distill.run(with_drafter(world, folder, "two-own", on_policy=1.0))
    by_trial(world, folder, "two-tried")


def with_drafter(world: Any, folder: Path, name: str, on_policy: float = 0.0) -> Any:
    """A distillation, each process asking the teacher of its share, with an MTP module that is kept at its end."""
    from training.settings import Distill, Mtp

    given = whole_stage(world, folder, name)
    model = replace(given.recipe.model, mtp=Mtp(depth=2))
    settings = Distill(teacher=str(folder / "model"), top=8, steps=2, batch=1_024, lr=1e-2, warmup=0, evaluate=2)
    settings = replace(settings, on_policy=on_policy)
    return replace(given, stage="distill", recipe=replace(given.recipe, model=model, distill=settings))


def by_trial(world: Any, folder: Path, name: str) -> None:
    """Step-SRPO on a few questions. What is drawn for a task depends on the task alone, not on who draws it."""
    import torch

    from tests.training.records import question
    from training.data.flow.shards import write
    from training.models.loading import load
    from training.rewards import Score
    from training.seeds import derived
    from training.settings import DataTable, Rl
    from training.step_srpo import StepSRPOTrainer, learn, playing
    from training.tasking import tasks

    if world.main:
        write(map(question, "abcd"), folder / "tasks", kind="task", format="jsonl")
    world.wait()
    given = whole_stage(world, folder, name)
    settings = Rl(steps=2, prompts=2, group=4, tokens=16, judge=4, think=4, lr=1e-2, hard=0.0, save=1)
    recipe = replace(given.recipe, stages=("rl",), data=DataTable(tasks="tasks"), rl=settings)
    job = replace(given, stage="rl", recipe=recipe)
    torch.manual_seed(0)
    loaded = load(recipe.model)
    known = tasks(recipe.data, folder)
    found = playing(job, loaded, known)
    replies = replace(found.play, score=lambda _, written: Score(sum(written.drawn.ids) % 7 / 6, 0.0))

    def play(seats: Any, _: int) -> list[Any]:
        groups = [seats[start : start + settings.group] for start in range(0, len(seats), settings.group)]
        return [tried for group in groups for tried in replies(group, derived(0, group[0].task.id))]

    kind = _sharded() if world.size > 1 else StepSRPOTrainer
    learn(job, loaded, known, replace(found, play=play), kind)


def _sharded() -> Any:
    """The trainer, for whom accelerate shards as on GPUs: on CPUs it would not, and leave each process all weights."""
    from accelerate import Accelerator, DistributedType, FullyShardedDataParallelPlugin, PartialState

    from training.step_srpo import StepSRPOTrainer

    class Sharded(StepSRPOTrainer[Any]):
        def create_accelerator_and_postprocess(self) -> None:
            state = Accelerator(cpu=True).state
            state.distributed_type = PartialState().distributed_type = DistributedType.FSDP
            state.fsdp_plugin = FullyShardedDataParallelPlugin(
                fsdp_version=2, auto_wrap_policy="transformer_based_wrap", state_dict_type="FULL_STATE_DICT"
            )
            super().create_accelerator_and_postprocess()

    return Sharded


def _same_trials(folder: Path) -> None:
    import torch
    from safetensors.torch import load_file

    from training.runtime.folder import RunFolder, rows

    for one, other in zip(*(list(rows(RunFolder(folder / f"{n}-tried").metrics)) for n in ("one", "two")), strict=True):
        for name in ("loss", "grad_norm", "accuracy", "entropy", "length"):
            assert abs(one[name] - other[name]) <= 1e-4, name
    states = [load_file(folder / f"{n}-tried" / "rl" / "weights" / "adapter_model.safetensors") for n in ("one", "two")]
    for name, weight in states[0].items():  # Adam makes whole steps of gradients that are all but zero
        assert torch.dist(weight, states[1][name]) <= 1e-3 * weight.norm(), name


def _same_drafter(folder: Path) -> None:
    import torch

    from training.models.mtp import MtpModule
    from training.modules import FOLDER
    from training.runtime.folder import RunFolder, rows

    runs = [folder / f"{name}-distilled" for name in ("one", "two")]
    for one, other in zip(*(list(rows(RunFolder(run).metrics)) for run in runs), strict=True):
        for name in ("loss_ce", "taught", "draft_1", "grad_norm"):
            assert abs(one[name] - other[name]) <= 1e-3, name
    states = [MtpModule.load(run / "distill" / "weights" / FOLDER).state_dict() for run in runs]
    assert all(torch.allclose(weight, states[1][name], atol=1e-3) for name, weight in states[0].items())
    own = list(rows(RunFolder(folder / "two-own").metrics))
    assert [row["taught"] for row in own] == pytest.approx([1.0, 1.0]), "the teacher read what the student wrote"
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
