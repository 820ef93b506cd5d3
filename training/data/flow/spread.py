"""Stages on Ray Data: the same chunks, worked on by as many machines as the cluster has, in the same order.

Each of Ray's actors has a process of its own for the stage, so that a record that kills it is refused here as it is
there. Sources must be reachable under the same paths on every machine, as is `Context.cache`: a shared file system.
``RAY_ADDRESS`` names a cluster; without it Ray runs on this machine alone.
"""

from __future__ import annotations

import logging
import os
import pickle
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any

from assistant.errors import UserError
from model.engine import EngineError
from training.data.flow.chunks import Chunk, Row
from training.data.flow.workers import Pool, silent
from training.data.stage import Context, Stage

_WINDOW = 2_048
"""Chunks that are handed to Ray at a time; our choice: their records are held in its object store."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Runs chunks on Ray; `processes` of them at a time on this machine, 0 or a cluster: as many as there are cores."""

    processes: int = 0

    def outcomes(self, stage: Stage, chunks: Iterator[Chunk], context: Context) -> Iterator[tuple[Chunk, list[Row]]]:
        """What becomes of each chunk, in their order."""
        ours = _started(self.processes)
        bare = Context(context.cache, watch=silent)
        try:
            while some := list(islice(chunks, _WINDOW)):
                yield from zip(some, _worked(stage, some, bare), strict=True)
        finally:
            if ours:
                _stop()


class Apart:
    """An actor of Ray: works on chunks in a process beside itself."""

    def __init__(self, stage: Stage, context: Context) -> None:
        self._pool = Pool(stage, context, 1)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """The outcome of each chunk of a batch, pickled: rows, or what the run must end with."""
        return {"outcome": [self._outcome(pickle.loads(data)) for data in batch["chunk"]]}  # noqa: S301 - our own

    def _outcome(self, chunk: Chunk) -> bytes:
        try:
            [(_, rows)] = self._pool.outcomes(iter([chunk]))
            return pickle.dumps(rows)
        except (UserError, EngineError) as error:
            return pickle.dumps(error)

    def __del__(self) -> None:
        with suppress(Exception):
            self._pool.end()


def _worked(stage: Stage, chunks: list[Chunk], context: Context) -> Iterator[list[Row]]:
    import ray.data

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    settings = ray.data.DataContext.get_current()
    settings.execution_options.preserve_order = True
    settings.enable_progress_bars = False
    cores = max(1, int(ray.cluster_resources().get("CPU", 1)))
    items = [{"chunk": pickle.dumps(chunk)} for chunk in chunks]
    spread = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
        Apart,
        fn_constructor_args=(stage, context),
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=cores),
    )
    for row in spread.iter_rows():
        found = pickle.loads(row["outcome"])  # noqa: S301 - our own
        if isinstance(found, Exception):
            raise found
        yield found


def _started(processes: int) -> bool:
    """Join the cluster or start Ray here; says whether it was started, and is to be stopped again.

    Raises:
        ModuleNotFoundError: Ray is not installed.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    import ray

    if ray.is_initialized():
        return False
    cluster = os.environ.get("RAY_ADDRESS")
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    if cluster:
        ray.init(address=cluster, **quiet)
    else:
        ray.init(num_cpus=processes or None, include_dashboard=False, **quiet)
    return True


def _stop() -> None:
    import ray

    ray.shutdown()
