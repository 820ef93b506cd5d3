"""Whether two processes that share a model by FSDP2 on gloo compute what one computes: for any loss module.

Each is named as ``module:function``: a function that builds, without arguments and always the same, a loss module
(`training.runtime.fitting.LossModel`) and the micro-batches of one update, an even number. `same_as_one` fits it for a
few updates here, and in two processes of which each has every other micro-batch; it compares figures and weights.
`test_fsdp.py` names them all, so that two processes are started once.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from training.runtime.world import World

UPDATES = 3
ROOT = Path(__file__).resolve().parents[2]


def same_as_one(
    builds: Sequence[str], folder: Path, *, then: str = "", tolerance: float = 1e-4, updates: int = UPDATES
) -> None:
    """Fit each in one process and in two; every figure and every weight may differ by `tolerance`.

    `then` names a function of a world and `folder` that both processes call at their end.
    """
    import torch

    torch.set_num_threads(1)
    ones = [fitted(build, World(), updates) for build in builds]
    twos = _in_two(builds, folder / "two.json", updates, then)
    for build, one, two in zip(builds, ones, twos, strict=True):
        assert two["sharded"] == two["parameters"], f"{build}: all weights must be shards"
        first, last = one["figures"][0], one["figures"][-1]
        assert any(abs(first[name] - last[name]) > 10 * tolerance for name in first), f"{build}: nothing was learned"
        for here, there in zip(one["figures"], two["figures"], strict=True):
            _same(here, there, tolerance, build)
        _same(one["weights"], two["weights"], tolerance, build)


def fitted(build: str, world: World, updates: int) -> dict[str, Any]:
    """The figures of each update of a loss, and the norm of each trained weight behind them."""
    from training.runtime.loop import update
    from training.runtime.optimizer import Optimizer
    from training.runtime.sharding import shard
    from training.settings import Fit

    loss, batches = _named(build)()
    loss = shard(loss, world, "float32")
    optimizer = Optimizer(loss, Fit())
    mine = batches[world.rank :: world.size]
    figures = [update(loss, mine, optimizer, 1e-3, world) for _ in range(updates)]
    return {
        "figures": [_lasting(each) for each in figures],
        "weights": {name: float(_whole(weight.detach()).double().norm()) for name, weight in optimizer.weights.items()},
        "sharded": sum(hasattr(each, "full_tensor") for each in loss.parameters()),
        "parameters": len(list(loss.parameters())),
    }


def _same(one: Mapping[str, float], two: Mapping[str, float], tolerance: float, build: str) -> None:
    assert one.keys() == two.keys()
    for name, value in one.items():
        assert abs(value - two[name]) <= tolerance, f"{build}: {name} is {value} in one process, {two[name]} in two"


def _in_two(builds: Sequence[str], out: Path, updates: int, then: str) -> list[dict[str, Any]]:
    words = [sys.executable, "-m", "tests.training.two_processes", str(out), str(updates), then, *builds]
    shared = {"OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port()), "WORLD_SIZE": "2"}
    processes = [
        subprocess.Popen(words, env={**os.environ, **shared, "RANK": str(rank)}, cwd=ROOT, stderr=subprocess.PIPE)
        for rank in range(2)
    ]
    try:
        for process in processes:
            _, errors = process.communicate(timeout=300)
            assert process.returncode == 0, errors.decode()
    finally:
        for process in processes:
            process.kill()
    found: list[dict[str, Any]] = json.loads(out.read_text())
    return found


def main(out: str, updates: str, then: str, *builds: str) -> None:
    """One of the two processes."""
    import torch

    torch.set_num_threads(1)
    world = World.here("cpu")
    found = [fitted(build, world, int(updates)) for build in builds]
    if world.main:
        Path(out).write_text(json.dumps(found))
    if then:
        _named(then)(world, Path(out).parent)
    world.leave()


def _named(name: str) -> Any:
    module, function = name.split(":")
    return getattr(importlib.import_module(module), function)


def _whole(weight: Any) -> Any:
    return weight.full_tensor() if hasattr(weight, "full_tensor") else weight


def _lasting(figures: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in figures.items() if name not in ("seconds", "tokens_per_second")}


def _free_port() -> int:
    import socket

    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


if __name__ == "__main__":
    main(*sys.argv[1:])
