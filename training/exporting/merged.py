"""An adapter merged into the weights below it, verified on what comes back from the disk."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from training.exporting.verifying import Compared, compared, expect_same, logprobs, texts
from training.models.loading import Loaded, load
from training.models.lora import is_adapted
from training.models.saving import save
from training.runtime.folder import put_folder
from training.settings import ModelTable


def merged(table: ModelTable, weights: Path, out: Path, prompts: int = 8, device: str = "cpu") -> Compared:
    """Write whole weights into `out`, and compare them, loaded again, with what they were made from.

    Whole weights are written as they are. `prompts` is how many texts are compared on; `out` is there only behind that.
    Takes twice the memory of a model while it merges.

    Raises:
        UserError: the two do not say the same.
    """
    trained = load(table, weights=weights, device=device, train=False)
    ids = texts(trained, prompts)
    before = logprobs(trained.model, ids)
    trial = save(whole(trained), out.with_name(f"{out.name}.unverified"))
    del trained
    try:
        after = logprobs(load(table, weights=trial, device=device, train=False).model, ids)
        found = expect_same(compared(before, after), "the merged model")
    except BaseException:
        shutil.rmtree(trial, ignore_errors=True)
        raise
    put_folder(out, trial)
    return found


def whole(trained: Loaded) -> Loaded:
    """The model with its adapter merged into it, in place; as it is where it has none."""
    if not is_adapted(trained.model):
        return trained
    return replace(trained, model=trained.model.merge_and_unload(safe_merge=True))
