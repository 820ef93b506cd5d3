"""Does reinforcement learning teach a model when to think? Ours beside others, on a toy family, from one cold start.

    python benchmarks/learning.py [--seeds 3] [--updates 100] [--jobs 2] [--names step_srpo,grpo]

A tiny transformer is fitted to replies whose modes were drawn by lot, and stopped while it still makes mistakes. Then
each named advantage goes on from there, with the trainer of `kat train rl`, the same tasks, seeds and updates: accuracy
on held-out questions, and how often a freely chosen mode is the right one (no thought for two digits, one for more).
Curves go to ``docs/learning.png``, figures to ``docs/learning.json``; half an hour of CPU time.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
from toy_sums import SPOKEN, WHY, Sum, model, questions, tokenizer

from model.format import Mode
from training.rollout import why_forced
from training.settings import Rl

NAMES = ("step_srpo", "grpo", "hipo", "adaptthink", "thinkless", "autothink", "arm")
COLD, BATCH = 620, 128
"""Updates of the cold start and replies in each: it ends while a thought still goes wrong at times."""
FORCED = 0.2
"""Share of replies of the cold start whose mode is prefilled, as it is in use."""
RULES = Rl(prompts=16, group=8, tokens=32, judge=6, think=20, lr=1e-4, warmup=10, hard=0.1, temperature=1.0)


@dataclass(frozen=True, slots=True)
class Point:
    """Of one update: the shares of rollouts that chose freely which were right, and in the right mode; and tokens."""

    accuracy: float
    mode: float
    thought: float
    tokens: float


@dataclass(frozen=True, slots=True)
class Run:
    """One advantage, one seed: held-out figures before and after, and the curve between."""

    name: str
    seed: int
    before: Point
    after: Point
    curve: tuple[Point, ...]
    seconds: float


def main() -> None:
    """Run what was asked for, print the table, write figures and curves."""
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--seeds", type=int, default=3)
    asked.add_argument("--updates", type=int, default=100)
    asked.add_argument("--jobs", type=int, default=2)
    asked.add_argument("--names", default=",".join(NAMES))
    asked.add_argument("--out", type=Path, default=Path(__file__).resolve().parents[1] / "docs")
    options = asked.parse_args()
    with tempfile.TemporaryDirectory() as folder, _processes(options.jobs) as pool:
        starts = list(pool.map(cold_start, range(options.seeds), [folder] * options.seeds))
        jobs = [
            (name, seed, options.updates, starts[seed])
            for name in options.names.split(",")
            for seed in range(options.seeds)
        ]
        runs = [pool.submit(learn, *job) for job in jobs]
        found = [run.result() for run in runs]
    for line in table(found):
        print(line)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "learning.json").write_text(json.dumps([asdict(run) for run in found]) + "\n", "utf-8")
    draw(found, options.out / "learning.png")


def cold_start(seed: int, folder: str) -> str:
    """Weights that know both modes and not yet when; the file that they are in."""
    import torch
    from torch.nn.functional import cross_entropy

    torch.set_num_threads(1)
    rng, words, policy = random.Random(seed), tokenizer(), model(seed)
    optimizer = torch.optim.AdamW(policy.parameters(), lr=1e-3, betas=(0.9, 0.98), weight_decay=0.0)
    for update in range(COLD):
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * min(1.0, (update + 1) / 50) * (1 - 0.7 * update / COLD)
        ids, targets = _batch(rng, words)
        logits = policy(input_ids=ids, use_cache=False).logits[:, :-1]
        loss = cross_entropy(logits.flatten(0, 1), targets[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    path = f"{folder}/{seed}.pt"
    torch.save(policy.state_dict(), path)
    return path


def learn(name: Any, seed: int, updates: int, start: str) -> Run:
    """Go on from a cold start with one advantage."""
    import torch

    from training.curriculum import Curriculum
    from training.trl_trainer import StepSRPOTrainer, Work, config

    torch.set_num_threads(1)
    began, policy, words = time.monotonic(), model(seed), tokenizer()
    policy.load_state_dict(torch.load(start, weights_only=True))
    rl = _rules(name)
    tasks = {str(number): one for number, one in enumerate(questions(seed, 2_000))}
    curve: list[Point] = []
    play = _play(policy, rl)
    work = Work(
        tasks, play, Curriculum(list(tasks), seed, rl.hard, rl.resample),
        seen=lambda step, names, tried: curve.append(_point([tasks[each] for each in names], tried)),
    )  # fmt: skip
    before = held_out(policy, rl)
    with tempfile.TemporaryDirectory() as folder:
        arguments = config(rl, folder, steps=updates, seed=seed, save_strategy="no")
        trainer = StepSRPOTrainer(model=policy, tokenizer=words, work=work, rl=rl, args=arguments)
        trainer.train()
    return Run(name, seed, before, held_out(policy, rl), tuple(curve), time.monotonic() - began)


def held_out(policy: Any, rl: Rl) -> Point:
    """Figures on questions that were never trained on, each asked once, nothing forced."""
    from training.rollout import seats

    policy.eval()
    asked = questions(99, 400, held_out=True)
    found = _point(asked, _play(policy, rl)(seats(asked, 1, paired=False), 7))
    policy.train()
    return found


def table(runs: Sequence[Run]) -> list[str]:
    """What came of it, means over seeds; the spread is that of the seeds."""
    lines = [
        "| advantage | accuracy before | after | right mode before | after | thinks | tokens | seconds |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name in dict.fromkeys(run.name for run in runs):
        of = [run for run in runs if run.name == name]
        cells = [
            _spread([run.before.accuracy for run in of]), _spread([run.after.accuracy for run in of]),
            _spread([run.before.mode for run in of]), _spread([run.after.mode for run in of]),
            f"{fmean(run.after.thought for run in of):.0%}",
            f"{fmean(run.before.tokens for run in of):.1f} → {fmean(run.after.tokens for run in of):.1f}",
            f"{fmean(run.seconds for run in of):.0f}",
        ]  # fmt: skip
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def draw(runs: Sequence[Run], path: Path) -> None:
    """Two panels: accuracy and right modes by update, a line an advantage, each seed thin, their mean thick."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained", sharey=True)
    for axis, what, title in ((axes[0], "accuracy", "right answers"), (axes[1], "mode", "right modes")):
        for number, name in enumerate(dict.fromkeys(run.name for run in runs)):
            curves = [_smooth([getattr(point, what) for point in run.curve]) for run in runs if run.name == name]
            for curve in curves:
                axis.plot(curve, color=f"C{number}", linewidth=0.5, alpha=0.4)
            mean = [fmean(values) for values in zip(*curves, strict=True)]
            axis.plot(mean, color=f"C{number}", linewidth=2.2 if name == "step_srpo" else 1.4, label=name)
        axis.set(title=f"{title}, of rollouts that chose freely", xlabel="update", ylim=(0.3, 1.02))
        axis.grid(alpha=0.25)
    axes[1].legend(loc="lower right", fontsize=8, ncols=2)
    figure.savefig(path, dpi=110, metadata={"Software": None})


def _batch(rng: random.Random, words: Any) -> tuple[Any, Any]:
    """Replies to questions in modes by lot, ids and targets, padded."""
    import torch

    rows = []
    for one in questions(rng.getrandbits(48), BATCH):
        mode = rng.choice(list(Mode))
        forced = rng.random() < FORCED
        why = why_forced(mode) if forced else WHY[mode]
        prompt, reply = _encode(words, one.prompt), _encode(words, one.reply(mode, why))
        hidden = len(prompt) + (3 if forced else 0)
        rows.append((prompt + reply, [-100] * hidden + reply[hidden - len(prompt) :]))
    width = max(len(ids) for ids, _ in rows)
    ids = [row + [words.pad_token_id] * (width - len(row)) for row, _ in rows]
    return torch.tensor(ids), torch.tensor([targets + [-100] * (width - len(targets)) for _, targets in rows])


def _play(policy: Any, rl: Rl) -> Any:
    """Rollouts of single replies, right where the answer is."""
    from model.budget import Budget
    from model.engines.torch_tokens import Tokens
    from training.budgets import Voice
    from training.rewards import Score, well_formed
    from training.rollout import Replies
    from training.sampling import Limits, Sampler

    words = tokenizer()
    tokens = Tokens(words, policy.generation_config, len(words))
    voice = Voice(tokens, SPOKEN, Budget(rl.judge, rl.think))

    def score(one: Sum, written: Any) -> Score:
        return Score(float(written.reply.answer.strip() == one.answer), well_formed(written, SPOKEN))

    sampler = Sampler(policy, tokens.ends, words.pad_token_id, voice.watch)
    return Replies(sampler, voice, lambda one: _encode(words, one.prompt), score, Limits(rl.tokens, rl.temperature))


def _point(asked: Sequence[Sum], tried: Sequence[Any]) -> Point:
    free = [(one, each) for one, each in zip(asked, tried, strict=True) if not each.forced]
    return Point(
        fmean(float(each.score.accuracy or 0) for _, each in free),
        fmean(float(each.mode is one.right_mode) for one, each in free),
        fmean(float(each.mode is Mode.ON) for _, each in free),
        fmean(float(each.spent) for _, each in free),
    )


def _rules(name: Any) -> Rl:
    """As published, each: those that know no segments balance none; those that force no modes force none."""
    from dataclasses import replace

    return replace(RULES, advantage=name, paired=name in ("step_srpo", "adaptthink"))


def _encode(words: Any, text: str) -> list[int]:
    return list(words(text, add_special_tokens=False)["input_ids"])


def _spread(values: Sequence[float]) -> str:
    return f"{fmean(values):.0%} ({min(values):.0%}–{max(values):.0%})"


def _smooth(values: Sequence[float], over: int = 9) -> list[float]:
    return [fmean(values[max(0, i - over + 1) : i + 1]) for i in range(len(values))]


def _processes(jobs: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(max_workers=jobs, mp_context=get_context("spawn"))


if __name__ == "__main__":
    main()
