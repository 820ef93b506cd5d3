"""Evaluation: the model before and after training, on held-out tasks and samples, in a table with intervals."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from model.budget import Budget, thought_of
from training.budgets import Voice
from training.coldstart import batches_of, held_out
from training.commands.opening import cache_dir
from training.evaluating.asking import Exam, questions
from training.evaluating.table import as_json, figures, markdown
from training.evaluating.tries import Try
from training.head import LossModel
from training.losses import CrossEntropy
from training.models.loading import Loaded, load
from training.runtime.folder import put, rows
from training.runtime.job import Job, Outcome
from training.runtime.reading import samples
from training.sampling import Limits, Sampler
from training.tasking import Single

JOBS = 2
"""Replies that are checked at once; with the next, our choice."""
HELD_OUT = 200
"""Rows of samples whose loss is looked at."""
PART = 16
"""Tasks that are tried between two looks at a stop, all replies at once: our choice, three modes fill a batch."""
NOTHING = "There is no table: data.tasks and data.samples have no test split. Set eval.tasks, or hold more out."


@dataclass(frozen=True, slots=True)
class Column:
    """What a model came to: its tries, and its loss on samples that nobody trained on."""

    tries: Sequence[Try]
    loss: Mapping[str, float]


def run(job: Job) -> Outcome:
    """Try the recipe's model, and what the stages before left of it, on the same tasks; write both down.

    ``table.md`` is for people, ``results.json`` for programs, ``before-0.jsonl`` and the like hold each try.

    Where nothing is held out there is no table, and a note says so: what was trained is exported all the same. Stopped
    it keeps the tries there were, and goes on behind them.
    """
    exam = _exam(job)
    models = {"before": None, "after": job.weights} if job.weights else {"before": None}
    columns: dict[str, Column] = {}
    for name, weights in models.items():
        found = _column(job, exam, name, weights)
        if found is None:
            return Outcome(job.weights, False, f"stopped at {name}; it goes on with the tasks that are left, as asked")
        columns[name] = found
    if job.world.main:
        for file in job.folder.stage(job.stage).glob("*.unfinished"):
            file.unlink()
    tries = {name: column.tries for name, column in columns.items()}
    losses = {name: column.loss for name, column in columns.items() if column.loss}
    if not any(tries.values()) and not losses:
        return Outcome(job.weights, notes=(NOTHING,))
    last = columns[next(reversed(columns))]
    if job.world.main:
        folder = job.folder.stage(job.stage)
        put(folder / "table.md", markdown(tries, losses))
        put(folder / "results.json", json.dumps(as_json(tries, losses), indent=1) + "\n")
        job.folder.measured(job.stage, len(last.tries), figures(last.tries, last.loss))
    return Outcome(job.weights, figures=figures(last.tries, last.loss))


def _exam(job: Job) -> Exam:
    settings = job.recipe.eval
    limits = Limits(settings.tokens, temperature=0.0)
    return Exam(questions(job.recipe, job.base), settings.modes, limits)


def _column(job: Job, exam: Exam, name: str, weights: Path | None) -> Column | None:
    """One model: each process tries its share of the tasks, and reads what the others found. None: it was stopped."""
    world, folder = job.world, job.folder.stage(job.stage)
    job.say(f"eval: {name}, {len(exam.questions)} tasks in the modes {', '.join(exam.modes)}")
    loaded = load(job.recipe.model, weights=weights, device=world.device, train=False)
    found = _tries(job, exam, loaded, folder / f"{name}-{world.rank}.unfinished", _about(exam, loaded, weights))
    if found is None:
        return None
    put(folder / f"{name}-{world.rank}.jsonl", "".join(json.dumps(asdict(one)) + "\n" for one in found))
    loss = _loss(job, loaded)
    world.wait()
    every = [Try(**row) for rank in range(world.size) for row in rows(folder / f"{name}-{rank}.jsonl")]
    return Column(sorted(every, key=lambda one: (one.task, one.asked)), loss)


def _tries(job: Job, exam: Exam, loaded: Loaded, file: Path, about: Mapping[str, Any]) -> list[Try] | None:
    """Those of this process, written down part by part; None where it was stopped before the end."""
    recipe, world = job.recipe, job.world
    budget = Budget(recipe.rl.judge, thought_of(recipe.eval.tokens, recipe.rl.think))
    voice = Voice(loaded.tokens, loaded.dialect, budget)
    single = Single.of(recipe.data, job.base, loaded.dialect, loaded.tokens, cache_dir(), JOBS)
    sampler = Sampler(loaded.model, loaded.tokens.ends, loaded.tokenizer.pad_token_id or 0, voice.watch, recipe.rl.rows)
    mine = exam.questions[world.rank :: world.size]
    found = _kept(file, about, {one.task.id for one in mine}, len(exam.modes))
    done = {one.task for one in found}
    world.wait()  # all have read what all kept: they may have been others
    put(file, "".join(json.dumps(line) + "\n" for line in (about, *map(asdict, found))))
    for part in range(-(-len(exam.questions) // (world.size * PART))):  # as many in each process
        if world.any(job.stop.asked):
            return None
        left = [one for one in mine[part * PART : (part + 1) * PART] if one.task.id not in done]
        new = replace(exam, questions=left).take(sampler, voice, single, JOBS)
        with file.open("a", encoding="utf-8") as stream:
            stream.writelines(json.dumps(asdict(one)) + "\n" for one in new)
        found += new
    return found


def _about(exam: Exam, loaded: Loaded, weights: Path | None) -> Mapping[str, Any]:
    """What tries are of: those of other weights are not gone on with. A run may have been moved."""
    files = sorted(file for file in (weights or loaded.source).iterdir() if file.is_file())
    written = [[file.name, file.stat().st_size, file.stat().st_mtime_ns] for file in files]
    return {"weights": written, "modes": [*exam.modes], "tokens": exam.limits.tokens}


def _kept(file: Path, about: Mapping[str, Any], tasks: Set[str], modes: int) -> list[Try]:
    """The tries of these tasks that an evaluation of the same kept, of those that were tried in all modes; beside
    `file` lie those of other processes."""
    there: dict[tuple[str, str], Try] = {}
    for each in sorted(file.parent.glob(f"{file.stem.rpartition('-')[0]}-*.unfinished")):
        lines = list(rows(each))
        tries = [Try(**row) for row in lines[1:]] if lines[:1] == [about] else []
        there |= {(one.task, one.asked): one for one in tries}
    whole = {task for task, count in Counter(task for task, _ in there).items() if count == modes and task in tasks}
    return [one for one in there.values() if one.task in whole]


def _loss(job: Job, loaded: Loaded) -> Mapping[str, float]:
    """On the samples of the test split, by segment, in nats a token."""
    if not job.recipe.data.samples:
        return {}
    data, row = samples(job.recipe.data, job.base, loaded.dialect, loaded.tokens), job.recipe.data.row
    batches = batches_of(data.test, row, job.world, loaded.tokenizer.pad_token_id or 0, HELD_OUT)
    if not batches:
        return {}
    found = held_out(LossModel(loaded.model, CrossEntropy()), batches, job.world)
    return {name.removeprefix("valid_"): value for name, value in found.items() if name != "valid_entropy"}
