"""A batch script for Slurm: one task a node, each starting the processes of its GPUs; one server for rollouts."""

from __future__ import annotations

import shlex
from pathlib import Path
from urllib.parse import urlsplit

from model.serving.clusters.shell import array
from model.serving.clusters.yaml_text import comment
from training.launch import accelerate
from training.settings import Recipe

FILE = "job.slurm"
GRACE = 600
"""Seconds before its end at which the job is told to save (our choice: an update, and a checkpoint of many GB)."""
_HOW = (
    "Use it: sbatch FILE, on a file system that all nodes see. Look at partition, account and time first.",
    "Slurm tells it {grace} s before its end, and it saves; the same command goes on from there.",
    "Data and weights must be there before: nodes often have no way out.",
)
_SETTINGS = """\
set -euo pipefail
umask 077

# A virtual environment on a file system that all nodes see; made once on a login node:
#   python3 -m venv ~/kat-env && ~/kat-env/bin/pip install {package}
export KAT_ENV="${{KAT_ENV:-$HOME/kat-env}}"
export HF_HUB_DISABLE_TELEMETRY=1
export DO_NOT_TRACK=1
# So long launchers wait for their processes to save before they kill them.
export TORCH_ELASTIC_SHUTDOWN_TIMEOUT={grace}

mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
export KAT_HEAD="${{nodes[0]}}"
"""
_NODE = """\
# shellcheck disable=SC2329
node() {{
  set -euo pipefail
  # shellcheck disable=SC1091
  source "$KAT_ENV/bin/activate"
  {launch}
  command+=(--machine_rank "$SLURM_NODEID" --main_process_ip "$KAT_HEAD")
  exec "${{command[@]}}" --module training.launch.worker {run}
}}
export -f node
"""
_SERVER = """\
# shellcheck disable=SC2329
serve() {{
  set -euo pipefail
  # shellcheck disable=SC1091
  source "$KAT_ENV/bin/activate"
  export CUDA_VISIBLE_DEVICES={gpus}
  exec {command}
}}
export -f serve
# Rollouts are written by the GPUs that do not train; the trainer waits until the server answers.
serve > {log} 2>&1 &
server=$!
"""
_RUN = """\
srun --ntasks={nodes} --ntasks-per-node=1 --cpu-bind=none --kill-on-bad-exit=1 bash -c node &
running=$!
trap 'kill -TERM "$running" 2> /dev/null; wait "$running"' TERM INT
code=0
wait "$running" || code=$?
{end}exit "$code"
"""


def script(recipe: Recipe, run: Path, version: str) -> str:
    """The script, to be given to `sbatch`; `run` is the folder of the run as all nodes see it."""
    above = ["#!/bin/bash", *_directives(recipe, run), ""]
    above += [comment(line.format(grace=GRACE)) for line in (f"Trains {recipe.name}.", *_HOW)]
    settings = _SETTINGS.format(package=f"'kat-pilot[train]=={version}'", grace=GRACE)
    where = recipe.hardware
    end = 'kill -TERM "$server" 2> /dev/null || true\n' if where.serving else ""
    body = [settings, _node(run), *([_server(recipe, run)] if where.serving else [])]
    return "\n".join([*above, "", *body, _RUN.format(nodes=where.nodes, end=end)])


def _directives(recipe: Recipe, run: Path) -> list[str]:
    where = recipe.hardware
    options = {
        "job-name": recipe.name,
        "nodes": where.nodes,
        "ntasks-per-node": 1,
        "gpus-per-node": where.gpus,
        "time": where.time,
        "output": shlex.quote(f"{run}/slurm-%j.log"),
        "signal": f"B:TERM@{GRACE}",
        **({"partition": where.partition} if where.partition else {}),
    }
    return [*(f"#SBATCH --{name}={value}" for name, value in options.items()), "#SBATCH --exclusive"]


def _node(run: Path) -> str:
    words = ["accelerate", "launch", "--config_file", str(run / accelerate.FILE)]
    launch = "\n  ".join(array("command", words))
    return _NODE.format(launch=launch, run=shlex.quote(str(run)))


def _server(recipe: Recipe, run: Path) -> str:
    where, address = recipe.hardware, urlsplit(recipe.rl.engine)
    words = ["kat", "serve", "start", recipe.model.source, "--host", "127.0.0.1", "--port", str(address.port or 8_000)]
    words += ["--dialect", recipe.model.dialect, "--tensor-parallel", str(where.serving)]
    words += ["--", "--max-lora-rank", str(recipe.model.lora.rank)] if recipe.model.lora else []
    gpus = ",".join(map(str, range(where.gpus - where.serving, where.gpus)))
    return _SERVER.format(gpus=gpus, command=shlex.join(words), log=shlex.quote(str(run / "server.log")))
