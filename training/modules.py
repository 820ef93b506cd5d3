"""Where the MTP module that belongs to some weights is: it is kept beside those of its own stage, and stages behind
that one do not touch it."""

from __future__ import annotations

from pathlib import Path

from training.runtime.folder import RunFolder
from training.runtime.job import Job

FOLDER = "mtp"
"""The folder of a module, beside the weights."""
ABOUT = "mtp.json"
"""What a module is, as JSON, in its folder."""


def near(weights: Path) -> Path | None:
    """The module beside the weights, or the newest of the run that left them; None: there is none."""
    run = RunFolder(weights.resolve().parent.parent)
    return next(iter(_there([weights / FOLDER, *(_newest(run) if run.recipe.is_file() else ())])), None)


def module_of(job: Job) -> Path | None:
    """The module that a stage goes on with: near its weights, in its run, or near the weights that its run began with;
    None where there is none, and where all begins anew."""
    if job.weights is None:
        return None
    began = job.folder.began_with()
    others = [near(job.weights), *_there(_newest(job.folder)), near(began) if began else None]
    return next((folder for folder in others if folder), None)


def _newest(run: RunFolder) -> list[Path]:
    found = run.path.glob(f"*/weights/{FOLDER}")
    return sorted(found, key=lambda folder: folder.stat().st_mtime, reverse=True)


def _there(folders: list[Path]) -> list[Path]:
    return [folder for folder in folders if (folder / ABOUT).is_file()]
