"""Checkpoints of a stage: trained weights, moments, random states and the place in the data; whole, or not there.

Tensors are written by `torch.distributed.checkpoint`, each process its shards, so that a run may go on with another
number of processes; random states belong to a process, and are taken up where the number is the same.
"""

from __future__ import annotations

import json
import random
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed.checkpoint as dcp

from assistant.errors import UserError
from training.runtime.fitting import Updates
from training.runtime.folder import RunFolder, beside, put, put_folder
from training.runtime.optimizer import Optimizer
from training.runtime.world import World

_STATE = "state.json"


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """Those of one stage; `keep` of them stay, the newest, and one at least."""

    folder: RunFolder
    stage: str
    world: World
    keep: int
    say: Callable[[str], None]

    def save(self, step: int, optimizer: Optimizer, updates: Updates) -> Path:
        """Write the checkpoint of a step; all processes do it together.

        Raises:
            UserError: it could not be written.
        """
        folder = self.folder.checkpoint(self.stage, step)
        unfinished = folder.with_name(folder.name + ".unfinished")
        if self.world.main:
            beside(folder)
        self.world.wait()
        try:
            with _quietly():
                dcp.save(optimizer.tensors(), checkpoint_id=unfinished, no_dist=self.world.size == 1)
            torch.save(_random(), unfinished / f"random-{self.world.rank}.pt")
        except (OSError, RuntimeError) as error:
            raise UserError(f"the checkpoint {folder} cannot be written ({error}); free space, then resume") from None
        self.world.wait()
        if self.world.main:
            state = {"step": step, "size": self.world.size, "updates": updates.state_dict()}
            put(unfinished / _STATE, json.dumps(state) + "\n")
            put_folder(folder, unfinished)
            self._prune()
        self.world.wait()
        return folder

    def load(self, optimizer: Optimizer, updates: Updates) -> int | None:
        """Take up the newest checkpoint that can be read; gives its step, or None where there is none.

        Raises:
            UserError: there are some, and none can be read. Weights may be half of one then: nothing can begin anew.
        """
        there = self.folder.checkpoints(self.stage)
        for step, folder in reversed(there):
            why = self._tried(folder, optimizer, updates)
            if not self.world.any(bool(why)):
                return step
            before = "; going on from the one before" if step != there[0][0] else ""
            self.say(f"{folder} cannot be read ({why or 'by another process'}){before}")
        if there:
            names = ", ".join(folder.name for _, folder in there)
            where = there[0][1].parent
            raise UserError(f"no checkpoint in {where} can be read ({names}); move them away to begin the stage anew")
        return None

    def read(self, folder: Path, optimizer: Optimizer, updates: Updates) -> None:
        """Take up one checkpoint."""
        state = json.loads((folder / _STATE).read_text(encoding="utf-8"))
        with _quietly():
            dcp.load(optimizer.tensors(), checkpoint_id=folder, no_dist=self.world.size == 1)
        optimizer.loaded()
        updates.load_state_dict(state["updates"])
        if state["size"] == self.world.size:
            _set_random(torch.load(folder / f"random-{self.world.rank}.pt", weights_only=True))

    def rehearse(self, optimizer: Optimizer, updates: Updates) -> Path:
        """Save step 0 and load it back, so that what fails at the end of a long run fails at its beginning.

        Raises:
            UserError: what was loaded is not what was saved, or it could not be written.
        """
        with rehearsed(optimizer.tensors, self.world, self.folder.checkpoint(self.stage, 0)):
            folder = self.save(0, optimizer, updates)
            self.read(folder, optimizer, updates)
        return folder

    def last(self) -> Path | None:
        """The newest."""
        found = self.folder.checkpoints(self.stage)
        return found[-1][1] if found else None

    def _tried(self, folder: Path, optimizer: Optimizer, updates: Updates) -> str:
        """Take up a checkpoint; why that cannot be, or nothing."""
        try:
            self.read(folder, optimizer, updates)
        except (OSError, RuntimeError, ValueError, KeyError, dcp.CheckpointException) as error:
            return _line(error)
        return ""

    def _prune(self) -> None:
        for _, folder in self.folder.checkpoints(self.stage)[: -max(1, self.keep)]:
            shutil.rmtree(folder)


@contextmanager
def rehearsed(tensors: Callable[[], Mapping[str, torch.Tensor]], world: World, folder: Path) -> Iterator[None]:
    """While a checkpoint is written and read back: raises `UserError` where `tensors` are not what they were."""
    before = {name: fingerprint(tensor) for name, tensor in tensors().items()}
    yield
    changed = [name for name, tensor in tensors().items() if fingerprint(tensor) != before[name]]
    if world.any(bool(changed)):
        raise UserError(f"a checkpoint does not come back as it was saved ({', '.join(changed[:3])}); try {folder}")


@contextmanager
def _quietly() -> Iterator[None]:
    """Without the warning that one process is alone, which it is told."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        yield


def _random() -> dict[str, Any]:
    state: dict[str, Any] = {"torch": torch.get_rng_state(), "python": random.getstate()}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def _set_random(state: dict[str, Any]) -> None:
    torch.set_rng_state(state["torch"])
    random.setstate(state["python"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])


def fingerprint(tensor: torch.Tensor) -> tuple[float, float]:
    """A fingerprint of this process's part of a tensor: its sum, and one in which places count."""
    local: torch.Tensor = getattr(tensor, "_local_tensor", tensor).detach().double().flatten()
    return float(local.sum()), float((local * torch.arange(1, len(local) + 1, device=local.device)).sum())


def _line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
