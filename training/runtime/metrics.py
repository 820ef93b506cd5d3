"""Where the figures of a run go: JSONL always, TensorBoard or trackio by name."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from assistant.errors import UserError
from training.runtime.folder import RunFolder

_PACKAGES = {"tensorboard": "tensorboard", "trackio": "trackio"}


class Sink(Protocol):
    """Something that shows figures."""

    def put(self, stage: str, step: int, figures: Mapping[str, float]) -> None:
        """Take the figures of a step."""

    def close(self) -> None:
        """No more will come."""


class Metrics:
    """The figures of one stage. As a context it closes what it opened."""

    def __init__(self, folder: RunFolder, stage: str, sinks: Sequence[Sink] = ()) -> None:
        self._folder, self._stage, self._sinks = folder, stage, sinks

    @classmethod
    def of(cls, folder: RunFolder, stage: str, names: Sequence[str]) -> Metrics:
        """With those sinks that a recipe names. Raises UserError if one is not installed."""
        return cls(folder, stage, [sink(name, folder) for name in names])

    def put(self, step: int, figures: Mapping[str, float]) -> None:
        """Write the figures of a step."""
        self._folder.measured(self._stage, step, figures)
        for each in self._sinks:
            each.put(self._stage, step, figures)

    def __enter__(self) -> Metrics:
        return self

    def __exit__(self, *_: object) -> None:
        for each in self._sinks:
            each.close()


def sink(name: str, folder: RunFolder) -> Sink:
    """One by its name. Raises UserError if it is not installed."""
    try:
        importlib.import_module(_PACKAGES[name])
    except ImportError:
        raise UserError(f"{name} is not installed; pip install {_PACKAGES[name]}, or leave it out of log") from None
    return TensorBoard(folder) if name == "tensorboard" else Trackio(folder)


class TensorBoard:
    """Event files in ``tensorboard/`` of the run: ``tensorboard --logdir RUN/tensorboard`` shows them."""

    def __init__(self, folder: RunFolder) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(str(folder.path / "tensorboard"))

    def put(self, stage: str, step: int, figures: Mapping[str, float]) -> None:
        """Take the figures of a step."""
        for name, value in figures.items():
            self._writer.add_scalar(f"{stage}/{name}", value, step)

    def close(self) -> None:
        """No more will come."""
        self._writer.close()


class Trackio:
    """trackio's local database (no space on a hub); ``trackio show`` opens it."""

    def __init__(self, folder: RunFolder) -> None:
        os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
        self._trackio: Any = importlib.import_module("trackio")
        self._trackio.init(project="kat-train", name=folder.path.name, resume="allow")

    def put(self, stage: str, step: int, figures: Mapping[str, float]) -> None:
        """Take the figures of a step."""
        self._trackio.log({f"{stage}/{name}": value for name, value in figures.items()} | {"step": step})

    def close(self) -> None:
        """No more will come."""
        self._trackio.finish()
