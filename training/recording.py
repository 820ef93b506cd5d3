"""What a trainer of transformers says, kept where a run of ours keeps it: figures, samples, and why it stopped."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from training.curriculum import Curriculum
from training.mastered import MasteredAdamW
from training.rollout import Tried
from training.runtime.folder import put
from training.runtime.job import Job
from training.runtime.loop import watching
from training.runtime.metrics import Metrics
from training.runtime.progress import Progress
from training.runtime.watching import Watch

_NAMES = {"learning_rate": "lr", "step_time": "seconds", "clip_ratio/region_mean": "clipped"}
_KEPT = frozenset({
    "loss", "grad_norm", "reward", "reward_std", "entropy", "accuracy", "accuracy_free", "format", "think_rate",
    "mode_accuracy", "single_mode", "no_spread", "length", "length_on", "length_off", "judge_tokens", "think_tokens",
    "answer_tokens", "ratio_mean", "ratio_max", "solved", "differs",
})  # fmt: skip
"""Figures of TRL and ours that are kept, under names that the other stages use too."""
_CURRICULUM = "curriculum.json"
_SHOWN = 2
"""Rollouts of an update that are kept as text; our choice."""


class Recorder(TrainerCallback):  # type: ignore[misc]
    """Keeps figures, watches them, and stops where it is asked to; `why` then says so in a sentence."""

    def __init__(
        self, job: Job, curriculum: Curriculum, metrics: Metrics | None, progress: Progress | None, optimizer: Any
    ) -> None:
        self.figures: dict[str, float] = {}
        self.why = ""
        self._job, self._curriculum, self._optimizer = job, curriculum, optimizer
        self._metrics, self._progress, self._watch = metrics, progress, Watch()
        self._began = time.perf_counter()

    def begin(self) -> None:
        """Know what the stage did before, where it goes on from a checkpoint."""
        self._watch = watching(self._job)

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, Any] | None = None, **_: Any) -> None:
        """Take the figures of an update."""
        found = figures(logs or {})
        if "loss" not in found:
            return
        if isinstance(self._optimizer, MasteredAdamW):
            found["grad_norm"] = self._optimizer.norm
        now = time.perf_counter()
        found["seconds"], self._began = now - self._began, now
        self.figures = found
        if self._metrics and self._progress:
            self._metrics.put(state.global_step, found)
            self._progress.show(state.global_step, found)
        why = self._watch.see(found) or ""
        if self._job.world.any(bool(why)) and not self.why:
            self.why = why or "the main process stopped the run"
            control.should_training_stop = True
            control.should_save = False  # the last good checkpoint is one from before

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Stop if that was asked for, in all processes at once; what was done is saved."""
        if self._job.world.any(self._job.stop.asked) and state.global_step < state.max_steps:
            self.why = f"stopped after update {state.global_step} of {state.max_steps}, as asked"
            control.should_training_stop = control.should_save = True

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Keep the curriculum's history beside the checkpoint."""
        if self._job.world.main:
            folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            put(folder / _CURRICULUM, json.dumps(self._curriculum.state_dict()) + "\n")

    def sampled(self, step: int, names: Sequence[str], tried: Sequence[Tried]) -> None:
        """Keep some rollouts as text."""
        if not self._job.world.main:
            return
        for name, one in list(zip(names, tried, strict=True))[:_SHOWN]:
            said = [turn.written.text for turn in one.turns]
            about = {"accuracy": one.score.accuracy, "format": one.score.format, "forced": one.forced}
            self._job.folder.sampled(self._job.stage, step, {"task": name, "mode": one.mode, "texts": said, **about})


def figures(logs: Mapping[str, Any]) -> dict[str, float]:
    """The figures that are kept, by the names that other stages use."""
    named = {_NAMES.get(name, name): value for name, value in logs.items() if name in _KEPT or name in _NAMES}
    known = {name: float(value) for name, value in named.items() if value is not None}
    return {name: value for name, value in known.items() if math.isfinite(value) or name in ("loss", "grad_norm")}


def last_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint of a trainer in a folder."""
    found = [each for each in folder.glob("checkpoint-*") if (each / _CURRICULUM).is_file()]
    return max(found, key=lambda each: int(each.name.rpartition("-")[2]), default=None)


def resumed(checkpoint: Path, curriculum: Curriculum) -> int:
    """Take up the curriculum's history; the step of the checkpoint."""
    curriculum.load_state_dict(json.loads((checkpoint / _CURRICULUM).read_text("utf-8")))
    return int(checkpoint.name.rpartition("-")[2])
