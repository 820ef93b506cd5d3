"""A batch script for Slurm: the copies of a model on as many nodes as they need, reached from the first one."""

from __future__ import annotations

from model.serving.clusters.layout import (
    COPY_PORT,
    PORT,
    RENDEZVOUS_PORT,
    ROUTER,
    STARTUP,
    VLLM,
    Layout,
    Server,
    heading,
    router_words,
    server,
)
from model.serving.clusters.shell import PACKAGED_TEMPLATE, array, exports
from model.serving.clusters.yaml_text import comment
from model.serving.plan import Launch, Plan

HOURS = 8
"""Hours that the job may take; our choice, a working day."""
GRACE = 120
"""Seconds before the end at which the job is told to stop (our choice: vLLM finishes what it is writing)."""

_HOW = (
    "The weights are fetched at the first start, into HF_HOME; if nodes have no way out, fetch them on a login node.",
    "The nodes of a copy meet by vLLM's own --nnodes, with nothing else to install (our choice); --for ray is for "
    "where a Ray cluster runs already. What they say to each other is not encrypted: keep it on a private network, "
    "which NCCL_SOCKET_IFNAME and VLLM_HOST_IP choose.",
)
_SETTINGS = """\
set -euo pipefail
umask 077

# A virtual environment on a file system that all nodes see; made once on a login node:
#   python3 -m venv ~/kat-env && ~/kat-env/bin/pip install {packages}
export KAT_ENV="${{KAT_ENV:-$HOME/kat-env}}"
# The key that clients must send. It stands in this file only, never in a command or a log.
export KAT_KEY_FILE="${{KAT_KEY_FILE:-$HOME/.config/kat/serve.key}}"
if [ ! -s "$KAT_KEY_FILE" ]; then
  mkdir -p "$(dirname "$KAT_KEY_FILE")"
  od -An -N32 -tx1 /dev/urandom | tr -d ' \\n' > "$KAT_KEY_FILE"
fi
if [ "$(stat -c %a "$KAT_KEY_FILE")" != 600 ]; then
  echo "others may read $KAT_KEY_FILE; run: chmod 600 $KAT_KEY_FILE" >&2
  exit 2
fi

mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
export KAT_NODES="${{nodes[*]}}"
"""
_TEMPLATE = f"""\
# KAT's chat template lies in the package, wherever that is installed.
command+=(--chat-template {PACKAGED_TEMPLATE})
"""
_ALONE = f"""\
# Only this node reaches the port; users come through ssh.
command+=(--host 127.0.0.1 --port {PORT})
"""
_COPY = f"""\
# The router on the first node must reach it, so it binds the node's own name; not every interface.
command+=(--host "$SLURMD_NODENAME" --port "$(({COPY_PORT} + SLURM_LOCALID))")
"""
_RUN = """\
# Slurm tells this script {grace} s before the end, and it tells vLLM.
{start} &
running=$!
trap 'kill -TERM "$running" 2> /dev/null; wait "$running"' TERM INT
echo "from your machine: ssh -N -J LOGIN-NODE -L {port}:127.0.0.1:{port} ${{nodes[0]}}" >&2
echo "and there: KAT_API_KEY=(what $KAT_KEY_FILE holds on the cluster) kat --engine http://127.0.0.1:{port}" >&2
wait "$running"
"""


def slurm_script(plan: Plan, launch: Launch, shape: Layout, version: str) -> str:
    """The script, to be given to `sbatch`."""
    copy = server(launch, private=not shape.routed)
    how = [
        "Use it: sbatch FILE. The log says how to reach the server. Look at partition, account and time first.",
        *_HOW,
        *(f"Every node needs {path} at the same place." for path in copy.paths),
    ]
    body = [
        _settings(version, shape),
        "\n".join([*_serve(copy, shape), "export -f serve"]),
        *([_router(shape)] if shape.routed else []),
        _run(shape),
    ]
    above = [*_directives(shape), "", *(comment(line) for line in heading("slurm", plan, launch, shape, how))]
    return "\n".join([*above, "", *(f"{part.rstrip()}\n" for part in body)])


def _directives(shape: Layout) -> list[str]:
    options = {
        "job-name": shape.name,
        "nodes": shape.all_nodes,
        "ntasks-per-node": shape.per_node,
        "gpus-per-node": shape.gpus * shape.per_node,
        "time": f"{HOURS:02}:00:00",
        "output": f"{shape.name}-%j.log",
        "signal": f"B:TERM@{GRACE}",
    }
    lines = [f"#SBATCH --{name}={value}" for name, value in options.items()]
    return ["#!/bin/bash", *lines, "#SBATCH --exclusive"]


def _settings(version: str, shape: Layout) -> str:
    packages = [f"vllm=={VLLM}", f"kat-pilot=={version}", *([f"vllm-router=={ROUTER}"] if shape.routed else [])]
    return _SETTINGS.format(packages=" ".join(packages))


def _serve(copy: Server, shape: Layout) -> list[str]:
    """The function that each task runs: one a node, or one a copy where several share a node."""
    inside = [
        "set -euo pipefail",
        "# shellcheck disable=SC1091",
        'source "$KAT_ENV/bin/activate"',
        'VLLM_API_KEY="$(cat "$KAT_KEY_FILE")"',
        "export VLLM_API_KEY",
        *exports(copy.environ),
        *array("local command", copy.words),
        *(_TEMPLATE.splitlines() if copy.template else []),
        *(_ranks(shape) if shape.nodes > 1 else (_COPY if shape.routed else _ALONE).splitlines()),
        'exec "${command[@]}"',
    ]
    # A word may have line breaks of its own, behind which nothing must be put.
    return ["serve() {", *(f"  {line}" for line in inside), "}"]


def _ranks(shape: Layout) -> list[str]:
    """How a task finds its copy, its place in it, and the node at which the copy meets."""
    listens = (_COPY if shape.routed else _ALONE).splitlines()
    return [
        f"local nodes copy=$((SLURM_PROCID / {shape.nodes})) rank=$((SLURM_PROCID % {shape.nodes}))",
        'read -r -a nodes <<< "$KAT_NODES"',
        f'command+=(--distributed-executor-backend mp --nnodes {shape.nodes} --node-rank "$rank")',
        f'command+=(--master-addr "${{nodes[copy * {shape.nodes}]}}" --master-port {RENDEZVOUS_PORT})',
        'if [ "$rank" -eq 0 ]; then',
        *(f"  {line}" for line in listens),
        "else",
        "  command+=(--headless)",
        "fi",
    ]


def _router(shape: Layout) -> str:
    """The router, beside the first copy; it waits for the copies by itself."""
    places = ((at // shape.per_node * shape.nodes, COPY_PORT + at % shape.per_node) for at in range(shape.copies))
    lines = [
        "# The router hands on the key of each client. Its own control paths ask for none: it stays on the loopback.",
        *array("router", router_words("127.0.0.1", ())),
        *(f'router+=("http://${{nodes[{node}]}}:{port}")' for node, port in places),
        f'"$KAT_ENV/bin/${{router[0]}}" "${{router[@]:1}}" --worker-startup-timeout-secs {STARTUP} &',
    ]
    return "\n".join(lines)


def _run(shape: Layout) -> str:
    # A copy that loses a node cannot go on; a router goes on with the copies that are left.
    together = shape.nodes > 1 or not shape.routed
    tasks = shape.copies * shape.nodes
    words = [
        "srun",
        f"--ntasks={tasks}",
        "--distribution=block",
        "--cpu-bind=none",
        f"--kill-on-bad-exit={int(together)}",
    ]
    if shape.per_node > 1:
        words.append(f"--gpus-per-task={shape.gpus}")
    return _RUN.format(start=" ".join([*words, "bash", "-c", "serve"]), grace=GRACE, port=PORT)
