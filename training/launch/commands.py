"""How the processes of a run are started: the words of commands, and the files that lie beside its recipe."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from training.launch import accelerate, slurm
from training.runtime.folder import put
from training.settings import Recipe

WORKER = "training.launch.worker"


def write(recipe: Recipe, run: Path, version: str) -> tuple[Path, ...]:
    """Write what starts the run into its folder: nothing for one process, else two files, of which these are the names.

    Raises:
        OSError: the folder cannot be written.
    """
    if recipe.hardware.processes == 1:
        return ()
    files = {accelerate.FILE: accelerate.config(recipe), slurm.FILE: slurm.script(recipe, run, version)}
    for name, text in files.items():
        put(run / name, text)
    return tuple(run / name for name in files)


def words(run: Path) -> tuple[str, ...]:
    """The command that starts the processes of a node."""
    start = ("-m", "accelerate.commands.launch", "--config_file", str(run / accelerate.FILE))
    return (sys.executable, *start, "--module", WORKER, str(run))


def batch_words(run: Path) -> tuple[str, ...]:
    """The command that hands the run to Slurm."""
    return ("sbatch", str(run / slurm.FILE))


def shown(command: Sequence[str]) -> str:
    """A command for people."""
    return shlex.join(("python" if command[0] == sys.executable else command[0], *command[1:]))


def within(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether this is one of several processes that a launcher started."""
    return int(environ.get("WORLD_SIZE") or 1) > 1
