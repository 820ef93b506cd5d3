"""The stage of reinforcement learning: Step-SRPO on a recipe's tasks, as single replies and as agent episodes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from assistant.errors import UserError
from model.budget import Budget
from training.budgets import Voice
from training.commands.opening import cache_dir
from training.curriculum import Curriculum
from training.data.asking.posing import pose
from training.data.schema import Task
from training.mastered import MasteredAdamW, needs_masters
from training.models.loading import Loaded, load
from training.models.masters import in_full
from training.recording import Recorder, last_checkpoint, resumed
from training.rollout import Draws, Play, Replies, Seat, Tried
from training.runtime.job import Job, Outcome
from training.runtime.metrics import Metrics
from training.runtime.progress import Progress
from training.runtime.weights import keep
from training.sampling import Limits, Sampler
from training.seeds import derived, rng
from training.syncing import Server, ServerSampler
from training.tasking import Single, tasks
from training.trl_trainer import StepSRPOTrainer, Work, config

__all__ = ["Playing", "StepSRPOTrainer", "Work", "config", "learn", "run"]


def run(job: Job) -> Outcome:
    """Learn by trial on the recipe's tasks.

    Raises:
        UserError: model, tasks or server cannot be used.
    """
    torch.manual_seed(derived(job.recipe.seed, "rl") % 2**63)
    known = tasks(job.recipe.data, job.base, episodes=job.recipe.rl.episodes > 0)
    loaded = load(job.recipe.model, weights=job.weights, device=job.world.start)
    return learn(job, loaded, known, playing(job, loaded, known))


@dataclass(frozen=True, slots=True)
class Playing:
    """What makes the rollouts, whether they are `apart`, of another engine than the trainer's weights, and the tokens
    of the longest row that may come of one (0: not known)."""

    play: Play[Task]
    apart: bool = False
    longest: int = 0


def learn(
    job: Job,
    loaded: Loaded,
    known: Mapping[str, Task],
    playing: Playing,
    kind: type[StepSRPOTrainer[Task]] = StepSRPOTrainer,
) -> Outcome:
    """The stage on any tasks by name."""
    recipe, rl = job.recipe, job.recipe.rl
    if hasattr(loaded.model, "peft_config"):
        in_full(loaded.model)  # as peft loads adapters from a checkpoint: so a run that goes on computes the same
    curriculum = Curriculum(sorted(known), recipe.seed, rl.hard, rl.resample)
    steps = rl.steps or max(1, round(rl.epochs * len(known) / rl.prompts))
    with ExitStack() as stack:
        shown = _shown(job, steps, stack)
        optimizer = mastered(loaded.model, job)
        recorder = Recorder(job, curriculum, *shown, optimizer)
        work = Work(
            known,
            playing.play,
            curriculum,
            rl.rewards,
            apart=playing.apart,
            longest=playing.longest,
            seen=recorder.sampled,
        )
        trainer = kind(**_given(job, loaded, work, steps, recorder, optimizer))
        job.say(f"rl: {len(known)} tasks, {steps} updates of {rl.prompts} × {rl.group} rollouts")
        _train(job, trainer, curriculum, recorder)
    return _outcome(job, loaded, recorder)


def playing(job: Job, loaded: Loaded, known: Mapping[str, Task]) -> Playing:
    """What makes the rollouts of a recipe."""
    recipe, rl = job.recipe, job.recipe.rl
    voice = Voice(loaded.tokens, loaded.dialect, Budget(rl.judge, rl.think))
    single = Single.of(recipe.data, job.base, loaded.dialect, loaded.tokens, cache_dir(), jobs=os.cpu_count() or 1)
    limits = Limits(rl.tokens, rl.temperature)
    server = None if rl.engine == "local" else Server(rl.engine, job.folder.stage(job.stage) / "sync", _key())
    draws: Draws = (
        _local(loaded, voice, rl.rows) if server is None else ServerSampler(server, loaded.tokens.ends, voice.watch)
    )
    replies = Replies(draws, voice, single.ids, single.score, limits, single.wish, jobs=single.context.jobs)
    play: Play[Task] = replies
    longest = replies.longest(task for task in known.values() if pose(task)) if rl.episodes < 1 else 0
    if rl.episodes > 0:
        from training.episodes_played import CONTEXT, Episodes

        if single.sources is None:
            raise UserError("episodes need the sources of their tasks; set data.sources to where they were profiled")
        context = min(CONTEXT, getattr(loaded.model.config, "max_position_embeddings", CONTEXT))
        episodes = Episodes(draws, voice, single.context, single.sources, rl, limits, context, job.folder.say)
        play = mixed(replies, episodes, rl.episodes, recipe.seed)
        if not job.world.cpu:  # minutes on a CPU, where memory that is short is no error but the end of the process
            longest = max(longest, context)  # later turns add to it what is new in them; our choice
    return Playing(synced(play, server, loaded, job) if server else play, server is not None, longest)


def mixed(replies: Play[Task], episodes: Play[Task], share: float, seed: int) -> Play[Task]:
    """Some tasks as episodes: those whose tests tell, a task always the same way, by its name."""

    def play(seats: Sequence[Seat[Task]], number: int) -> list[Tried]:
        whole = [_whole(seat.task, share, seed) for seat in seats]
        found = dict[int, Tried]()
        for kind, player in ((True, episodes), (False, replies)):
            places = [index for index, each in enumerate(whole) if each is kind]
            some = [seats[index] for index in places]
            found |= dict(zip(places, player(some, number) if some else [], strict=True))
        return [found[index] for index in range(len(seats))]

    return play


def synced(play: Play[Task], server: Server, loaded: Loaded, job: Job) -> Play[Task]:
    """The same, once the server has the weights of this update."""

    def synced_play(seats: Sequence[Seat[Task]], number: int) -> list[Tried]:
        found = server.sync(loaded.model, job.world)
        if job.world.main:
            job.folder.say(f"{server.served}: {found.sentence}")
        return play(seats, number)

    return synced_play


def _whole(task: Task, share: float, seed: int) -> bool:
    """Whether a task is played as an episode: one that has no other form always is."""
    if not task.fail_to_pass:
        return False
    return pose(task) is None or rng(seed, "episode", task.id).random() < share


def _local(loaded: Loaded, voice: Voice, rows: int) -> Sampler:
    pad = loaded.tokenizer.pad_token_id
    return Sampler(loaded.model, loaded.tokens.ends, 0 if pad is None else pad, voice.watch, rows)


def _given(
    job: Job, loaded: Loaded, work: Work[Task], steps: int, recorder: Recorder, optimizer: MasteredAdamW | None
) -> dict[str, Any]:
    """What the trainer is made of."""
    rl = job.recipe.rl
    at_once = 1 if rl.episodes > 0 else max(1, rl.batch // max(1, job.recipe.data.row))  # their rows are long
    args = config(
        rl,
        str(_checkpoints(job)),
        steps=steps,
        size=job.world.size,
        micro=at_once,
        seed=job.recipe.seed,
        use_cpu=job.world.cpu,
        **({"max_grad_norm": 0.0} if optimizer else {}),
    )
    given = {"model": loaded.model, "tokenizer": loaded.tokenizer, "work": work, "rl": rl, "args": args}
    return {**given, "callbacks": [recorder], "optimizer": optimizer}


def mastered(model: Any, job: Job) -> MasteredAdamW | None:
    """Master weights, where they are needed: of several processes accelerate keeps trained weights in fp32 itself, and
    a trainer that shards takes no optimiser."""
    return MasteredAdamW(model, job.recipe.rl) if job.world.size == 1 and needs_masters(model) else None


def _train(job: Job, trainer: StepSRPOTrainer[Task], curriculum: Curriculum, recorder: Recorder) -> None:
    """Go on from the last checkpoint, if there is one and that is wanted."""
    last = last_checkpoint(_checkpoints(job)) if job.resume else None
    step = resumed(last, curriculum) if last else 0
    if job.world.main:
        job.folder.forget(job.stage, step)
    recorder.begin()
    trainer.train(resume_from_checkpoint=str(last) if last else None)


def _shown(job: Job, steps: int, stack: ExitStack) -> tuple[Metrics | None, Progress | None]:
    if not job.world.main:
        return None, None
    metrics = stack.enter_context(Metrics.of(job.folder, job.stage, job.recipe.log))
    return metrics, stack.enter_context(Progress(job.stage, steps))


def _outcome(job: Job, loaded: Loaded, recorder: Recorder) -> Outcome:
    if recorder.why:
        last = last_checkpoint(_checkpoints(job))
        found = f"the last good checkpoint is {last}" if last else "no checkpoint was written before"
        return Outcome(None, False, f"{recorder.why}; {found}", recorder.figures)
    # A trainer that saves leaves a name there, and accelerate, which shards, its fp32 masters.
    loaded.model.config.dtype = job.world.dtype(job.recipe.model.dtype)
    weights = keep(loaded, job.folder.stage(job.stage) / "weights", job.world)
    return Outcome(weights, figures=recorder.figures)


def _checkpoints(job: Job) -> Path:
    return job.folder.path / "checkpoints" / job.stage


def _key() -> str | None:
    return os.environ.get("KAT_API_KEY") or None
