"""A cold start of a tiny model on a few samples, here or in a process of its own that is killed in its middle."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

from tests.tiny import make_model
from tests.training.records import sample
from training.data.flow.shards import write
from training.runtime.folder import RunFolder
from training.runtime.job import Job
from training.runtime.stopping import Stop
from training.runtime.world import World
from training.settings import Coldstart, DataTable, Dtype, Eval, Lora, ModelTable, Recipe

STEPS, SAVE = 9, 3


class Kill(Stop):
    """Kills the process with SIGKILL when the loop looks at it behind update `at`, before that is saved."""

    def __init__(self, at: int) -> None:
        self._left = at
        super().__init__()

    @property
    def asked(self) -> bool:
        self._left -= 1
        if not self._left:
            os.kill(os.getpid(), signal.SIGKILL)
        return False

    @asked.setter
    def asked(self, value: bool) -> None:
        pass


def prepared(base: Path) -> Path:
    """A folder with a tiny model, and samples of which every fourth is held out."""
    make_model(base / "model")
    some = (sample(f"s{n}", f"What is {n} + {n}?", f"It is {2 * n}." * (1 + n % 3)) for n in range(24))
    split = (replace(one, split="valid" if n % 4 == 3 else "train") for n, one in enumerate(some))
    split = (*split, *(sample(f"t{n}", f"What is {n} - {n}?", "It is 0.", split="test") for n in range(3)))
    write(split, base / "samples", kind="sample", format="jsonl")
    return base


def job(
    base: Path,
    run: str,
    *,
    dtype: Dtype = "bfloat16",
    stop: Stop | None = None,
    world: World | None = None,
    dropout: float = 0.1,
    **fit: object,
) -> Job:
    """A run in `base` by its name; the adapter's dropout needs the random state of each update."""
    settings: dict[str, object] = {"steps": STEPS, "batch": 1_024, "save": SAVE, "evaluate": 4, "lr": 1e-2, "warmup": 2}
    recipe = Recipe(
        name="tiny",
        stages=("coldstart",),
        model=ModelTable(source=str(base / "model"), dtype=dtype, lora=Lora(rank=8, dropout=dropout)),
        data=DataTable(samples="samples", row=512),
        coldstart=Coldstart(**(settings | fit)),  # type: ignore[arg-type]
    )
    folder, world = RunFolder(base / run), world or World()
    if world.main:
        folder.begin(f"name = '{run}'\n", {})
    return Job("coldstart", recipe, folder, world, base, stop=stop or Stop(), say=folder.say)


def to_evaluate(job: Job, weights: Path, **settings: int) -> Job:
    """The same run at its evaluation, on the tasks beside the samples."""
    data = replace(job.recipe.data, tasks="tasks")
    recipe = replace(job.recipe, stages=("eval",), data=data, eval=Eval(**settings))
    return replace(job, stage="eval", recipe=recipe, weights=weights)


def main(base: str, run: str, at: str) -> None:
    """A run that dies."""
    import torch

    from training.coldstart import run as cold_start

    torch.set_num_threads(1)
    cold_start(job(Path(base), run, stop=Kill(int(at))))


if __name__ == "__main__":
    main(*sys.argv[1:])
