"""One side of `benchmarks/train.py`, in a process of its own: updates of this project, or of TRL, turn by turn.

    python benchmarks/train_sides.py grpo|sft|rl ours|trl|padded SHAPE MODEL DTYPE FOLDER

It says when it is ready, makes an update for each line that it reads, and writes what the update took as JSON.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")

import numpy as np
import torch
from datasets import Dataset
from transformers import TrainerCallback
from trl import GRPOConfig, GRPOTrainer, SFTConfig, SFTTrainer

from model.dialects import dialect
from training.advantages import OFF, ON, Groups, Rules, advantages, balance, by_token
from training.budgets import Voice, Written
from training.curriculum import Curriculum
from training.examples import Example, Place
from training.head import LossModel
from training.losses import CrossEntropy
from training.mastered import MasteredAdamW
from training.models.loading import Loaded, load
from training.packing import collate, rows
from training.rewards import Score, judged, right_modes
from training.rollout import Replies
from training.sampling import Limits, Sampler
from training.settings import AdvantageName, ModelTable, Rl
from training.trl_trainer import CompactTrainer, StepSRPOTrainer, Work, config

ROW = 2048
ROWS = 4
"""Packed rows of `ROW` tokens that the samples fill, about."""
PROMPT, REPLY, BATCH = 960, 64, 2
"""The update of reinforcement learning that is measured, in tokens and rows."""
GROUP = 8
PROMPTS = (64, 256, 608, 960)
"""Tokens of the prompts of whole steps; the first is there to be warm."""
TEXTS = ("argparse", "inspect", "typing", "tarfile", "subprocess", "zipfile", "locale", "ast", "difflib", "shutil")
"""Modules of the standard library whose source is the text of samples and prompts."""


@dataclass(frozen=True, slots=True)
class Update:
    """What one update took: seconds of CPU and clock, tokens (those that carry loss, too), the peak in MiB so far."""

    what: str
    cpu: float
    wall: float
    tokens: int
    graded: int
    loss: float
    peak: float


class Turns:
    """The other end of the pipe: waits for its turn, times the update, and says what it took."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._began = (0.0, 0.0)

    def begin(self) -> None:
        """Say that this side is ready, and wait until it is its turn."""
        self._say({})
        if not sys.stdin.readline():
            raise SystemExit
        self._began = (time.process_time(), time.perf_counter())

    def end(self, what: str, tokens: int, graded: int, loss: float) -> None:
        """The update is made."""
        cpu, wall = time.process_time() - self._began[0], time.perf_counter() - self._began[1]
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        self._say(asdict(Update(what, cpu, wall, tokens, graded, loss, peak)))

    def _say(self, told: dict[str, Any]) -> None:
        print(json.dumps(told), file=self._out, flush=True)


@dataclass(frozen=True, slots=True)
class Side:
    """Who makes the updates, on which model; `folder` is for what trainers write."""

    who: str
    shape: str
    loaded: Loaded
    folder: str
    turns: Turns

    @property
    def ours(self) -> bool:
        """Whether it is this project's."""
        return self.who == "ours"


def grpo(side: Side) -> None:
    """The update alone, on given rollouts: forward and backward; with AdamW in bf16; ours with fp32 masters, too."""
    model, inputs = side.loaded.model, rollouts(side.loaded)
    trainer = (CompactTrainer if side.ours else GRPOTrainer)(
        model=model,
        reward_funcs=[len_of],
        args=config(Rl(prompts=1, group=BATCH, tokens=REPLY), side.folder, steps=1),
        train_dataset=Dataset.from_dict({"prompt": ["."]}),
        processing_class=side.loaded.tokenizer,
    )
    trainer.current_gradient_accumulation_steps = 1  # what its loop would have set
    kinds: list[tuple[str, int, Callable[[], Any] | None]] = [
        ("update", 3, None),
        ("update and AdamW", 2, lambda: torch.optim.AdamW(model.parameters(), lr=1e-6)),
    ]
    if side.ours:
        kinds.append(("update and AdamW on fp32 masters", 2, lambda: MasteredAdamW(model, Rl())))
    for what, times, made in kinds:
        model.zero_grad()
        optimizer = made() if made else None
        for _ in range(times):
            side.turns.begin()
            loss = trainer.compute_loss(model, dict(inputs))
            loss.backward()
            if optimizer:
                optimizer.step()
                optimizer.zero_grad()
            model.zero_grad()
            side.turns.end(what, BATCH * (PROMPT + REPLY), BATCH * REPLY, float(loss.detach()))
    if side.ours:
        formulas(side.turns)


def formulas(turns: Turns) -> None:
    """What advantages by segment cost, beside those of GRPO: 8 groups of 8 replies."""
    torch.manual_seed(0)
    accuracy, modes = torch.randint(2, (8, GROUP)).float(), torch.tensor([ON, OFF] * 4).expand(8, GROUP)
    places = torch.full((8 * GROUP, REPLY), int(Place.ANSWER))
    places[:, :8] = Place.JUDGE
    names: tuple[AdvantageName, ...] = ("grpo", "step_srpo")
    for name in names:
        for _ in range(4):
            turns.begin()
            judges = judged(modes, right_modes(accuracy, modes, torch.full((8,), -1)))
            groups = Groups.of(accuracy, modes=modes, judges=judges)
            by_token(advantages(name, groups, Rules()), places, balance(8, REPLY, 0.3 if name == "step_srpo" else 0.0))
            turns.end(f"advantages, {name}", 0, places.numel(), 0.0)


def rollouts(loaded: Loaded) -> dict[str, Any]:
    """What TRL's loss takes: the same for both sides, replies to one prompt, as in a group. The old log-probabilities
    are no real ones, so that the loss is more than the advantages' mean."""
    source = torch.tensor(text(loaded)[: PROMPT + BATCH * REPLY])
    ids = torch.cat([source[:PROMPT].expand(BATCH, -1), source[PROMPT:].view(BATCH, -1)], 1)
    ones = torch.ones_like(ids)
    return {
        "prompt_ids": ids[:, :PROMPT], "prompt_mask": ones[:, :PROMPT],
        "completion_ids": ids[:, PROMPT:], "completion_mask": ones[:, PROMPT:],
        "advantages": torch.tensor([1.0, -0.5]), "old_per_token_logps": torch.full((BATCH, REPLY), -2.0),
        "num_items_in_batch": torch.tensor(BATCH * REPLY),
    }  # fmt: skip


def sft(side: Side) -> None:
    """Packed rows of chat samples (or TRL's padded batches), a row an update; nothing is learned, so losses compare."""
    batches = _our_rows(side) if side.ours else _trl_rows(side)
    for loss, tokens, graded in batches:
        value = loss()
        value.backward()
        side.loaded.model.zero_grad()
        side.turns.end("row", tokens, graded, float(value.detach()))


def _our_rows(side: Side) -> Iterator[tuple[Callable[[], torch.Tensor], int, int]]:
    model = LossModel(side.loaded.model, CrossEntropy())
    for row in rows(samples(side), ROW, seed=0):
        batch = collate([row], side.loaded.tokenizer.pad_token_id)
        side.turns.begin()
        yield lambda: model(batch, model.counts(batch)).total, batch.ids.numel(), batch.tokens  # noqa: B023 - at once


def _trl_rows(side: Side) -> Iterator[tuple[Callable[[], torch.Tensor], int, int]]:
    packed = side.who == "trl"
    arguments = SFTConfig(
        output_dir=side.folder, max_length=ROW, packing=packed, per_device_train_batch_size=1 if packed else 4,
        gradient_checkpointing=False, bf16=False, use_cpu=True, report_to="none", disable_tqdm=True,
        router_aux_loss_coef=0.0,
    )  # fmt: skip
    columns = [{"input_ids": list(one.ids), "labels": _labels(one)} for one in samples(side)]
    trainer = SFTTrainer(
        model=side.loaded.model,
        args=arguments,
        train_dataset=Dataset.from_list(columns),
        processing_class=side.loaded.tokenizer,
    )
    for batch in trainer.get_train_dataloader():
        tokens = batch["attention_mask"].sum() if "attention_mask" in batch else batch["input_ids"].numel()
        graded = (batch["labels"][:, 1:] != -100).sum()
        side.turns.begin()
        yield lambda: trainer.compute_loss(trainer.model, dict(batch)), int(tokens), int(graded)  # noqa: B023 - at once


def _labels(example: Example) -> list[int]:
    return [token if carries else -100 for token, carries in zip(example.ids, example.loss, strict=True)]


def samples(side: Side) -> list[Example]:
    """Chat samples of log-normal lengths (median 270 tokens); of ``chat`` 40 % of the tokens carry loss, of ``all`` all
    but a few."""
    random, ids, found, at = np.random.default_rng(0), text(side.loaded), list[Example](), 0
    while at < (ROWS - 0.2) * ROW:
        length = min(ROW, max(16, int(random.lognormal(5.6, 0.8))))
        prompt = 12 if side.shape == "all" else round(length * random.beta(6, 4))
        places = [Place.PROMPT] * prompt + [Place.ANSWER] * (length - prompt)
        loss = tuple(place is Place.ANSWER for place in places)
        found.append(Example(str(len(found)), tuple(ids[at : at + length]), loss, tuple(places)))
        at += length
    return found


def rl(side: Side) -> None:
    """Whole steps: a group of replies, all of them as long as they may be, their reward, the update with AdamW."""
    prompts = [cut(side.loaded, 1_000 * (1 + number), length) for number, length in enumerate(PROMPTS)]
    settings = Rl(prompts=1, group=GROUP, tokens=REPLY, lr=1e-6, paired=False, resample=False)
    length: dict[str, Any] = {"generation_kwargs": {"min_new_tokens": REPLY}}
    if side.ours:
        length["max_grad_norm"] = 0.0  # its optimiser clips
    arguments = config(settings, side.folder, steps=len(PROMPTS), micro=BATCH, save_strategy="no", **length)
    trainer = (_our_trainer if side.ours else _trl_trainer)(side, prompts, settings, arguments)
    trainer.add_callback(Steps(side.turns))
    trainer.train()


def _our_trainer(side: Side, prompts: list[str], settings: Rl, arguments: GRPOConfig) -> Any:
    loaded = side.loaded
    voice = Voice(loaded.tokens, dialect("kat"))

    def posed(task: str) -> list[int]:
        ids: list[int] = loaded.tokenizer(task)["input_ids"]
        return ids

    def score(_: str, written: Written) -> Score:
        return Score(even(written.text), 1.0)

    sampler = Sampler(loaded.model, (), loaded.tokenizer.pad_token_id)
    play = Replies(sampler, voice, posed, score, Limits(settings.tokens))
    names = [f"{number}" for number in range(len(prompts))]
    work = Work(dict(zip(names, prompts, strict=True)), play, InOrder(names, 0, 0.0, False))
    optimizer = MasteredAdamW(loaded.model, settings)
    return StepSRPOTrainer(
        model=loaded.model, tokenizer=loaded.tokenizer, work=work, rl=settings, args=arguments, optimizer=optimizer
    )


class InOrder(Curriculum):
    """Each task once, in the order given, as the other side has them."""

    def take(self, step: int, steps: int, count: int) -> list[str]:
        """The task of this step."""
        return [str(step)]


def _trl_trainer(side: Side, prompts: list[str], settings: Rl, arguments: GRPOConfig) -> Any:
    del settings
    return GRPOTrainer(
        model=side.loaded.model,
        reward_funcs=[evens],
        args=arguments,
        train_dataset=Dataset.from_dict({"prompt": prompts}),
        processing_class=side.loaded.tokenizer,
    )


class Steps(TrainerCallback):  # type: ignore[misc]
    """A trainer's steps, each in its turn."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Before the rollouts."""
        self._turns.begin()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Behind the optimiser."""
        tokens = GROUP * (PROMPTS[state.global_step - 1] + REPLY)
        self._turns.end(f"prompt of {PROMPTS[state.global_step - 1]}", tokens, GROUP * REPLY, 0.0)


def evens(completions: list[str], **_: Any) -> list[float]:
    """TRL's reward function: that of `_our_trainer`."""
    return [even(each) for each in completions]


def even(written: str) -> float:
    """A reward that about half of all texts earn."""
    return float(len(written) % 2 == 0)


def len_of(completions: list[Any], **_: Any) -> list[float]:
    """A reward function where none is asked."""
    return [float(len(each)) for each in completions]


def cut(loaded: Loaded, start: int, length: int) -> str:
    """So many tokens of the source text."""
    piece: str = loaded.tokenizer.decode(text(loaded)[start : start + length])
    return piece


def text(loaded: Loaded) -> list[int]:
    """Python source as tokens."""
    folder = Path(sysconfig.get_path("stdlib"))
    source = "\n".join((folder / f"{name}.py").read_text("utf-8")[:40_000] for name in TEXTS)
    ids: list[int] = loaded.tokenizer(source)["input_ids"]
    return ids


CASES = {"grpo": grpo, "sft": sft, "rl": rl}


def main() -> None:
    """Take part in what the arguments say. Libraries print what they like: standard output is for figures alone."""
    case, who, shape, source, dtype, folder = sys.argv[1:]
    out, sys.stdout = sys.stdout, sys.stderr
    torch.set_num_threads(1)
    torch.manual_seed(0)
    loaded = load(ModelTable(source=source, dtype="float32" if dtype == "float32" else "bfloat16"))
    CASES[case](Side(who, shape, loaded, folder, Turns(out)))


if __name__ == "__main__":
    main()
