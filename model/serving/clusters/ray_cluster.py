"""A file for `ray up`: one copy of a model, or several by its data parallel, on a Ray cluster of known machines."""

from __future__ import annotations

from model.serving.clusters.layout import PORT, VLLM, Layout, NoFile, Server, heading, server
from model.serving.clusters.shell import PACKAGED_TEMPLATE, array, exports
from model.serving.clusters.yaml_text import Noted, Value, document
from model.serving.plan import Launch, Plan

RAY = "2.60.0"
"""The Ray that the nodes install; vLLM no longer brings one."""
RAY_PORT = 6379
"""Ray's own default for the head's port."""
_ENV = "$HOME/kat-env"
_KEY = "$HOME/.config/kat/serve.key"
_HOW = (
    "Use it: put the addresses of your machines below, pip install 'ray[default]=={ray}' here, then: ray up FILE",
    "From your machine: ssh -N -L {port}:127.0.0.1:{port} HEAD, then: kat --engine http://127.0.0.1:{port}, with "
    "KAT_API_KEY=$(ray exec FILE 'cat ~/.config/kat/serve.key'). Stop it: ray down FILE",
    "Whoever reaches Ray's ports can run anything on the nodes, and what the nodes say to each other is not encrypted: "
    "use a private network. Without a Ray cluster in use already, --for slurm or k8s needs less: vLLM's own --nnodes.",
)


def cluster_file(plan: Plan, launch: Launch, shape: Layout, version: str) -> str:
    """The YAML that `ray up` takes.

    Raises:
        NoFile: several copies share a node, which Ray would not keep apart.
    """
    if shape.routed and shape.nodes > 1:
        raise NoFile("copies that each need several nodes are started apart; use --for slurm or --for k8s")
    copy = server(launch, private=True)
    how = [line.format(ray=RAY, port=PORT) for line in _HOW]
    how += [f"Every node needs {path} at the same place." for path in copy.paths]
    return document(_cluster(copy, shape, version), heading("ray", plan, launch, shape, how))


def _cluster(copy: Server, shape: Layout, version: str) -> dict[str, Value]:
    workers = [f"ADDRESS-OF-NODE-{number}" for number in range(2, shape.all_nodes + 1)]
    return {
        "cluster_name": shape.name,
        "provider": {"type": "local", "head_ip": "ADDRESS-OF-NODE-1", "worker_ips": workers},
        "auth": Noted({"ssh_user": "YOU"}, "The user on all of them; ray up comes by ssh."),
        "setup_commands": Noted(_setup(version), "On every node, once."),
        "head_setup_commands": Noted(
            [_key_command()], "The key that clients must send: in a file of the head, in no command and no log."
        ),
        "head_start_ray_commands": Noted(
            [_ray("stop"), _ray(*_head(shape)), _serve(copy, shape)],
            "The dashboard is off: its job API runs what it is given.",
        ),
        "worker_start_ray_commands": [_ray("stop"), _ray(*_worker(shape))],
    }


def _setup(version: str) -> list[Value]:
    packages = f"vllm=={VLLM} 'ray[default]=={RAY}' kat-pilot=={version}"
    return [f'test -x "{_ENV}/bin/vllm" || python3 -m venv "{_ENV}"', f'"{_ENV}/bin/pip" install -q {packages}']


def _key_command() -> str:
    make = f"od -An -N32 -tx1 /dev/urandom | tr -d ' \\n' > \"{_KEY}\""
    return f'umask 077; mkdir -p "$(dirname "{_KEY}")"; test -s "{_KEY}" || {make}'


def _ray(*words: str) -> str:
    return " ".join([f'"{_ENV}/bin/ray"', *words])


def _head(shape: Layout) -> list[str]:
    return ["start", "--head", f"--port={RAY_PORT}", "--include-dashboard=false", f"--num-gpus={_gpus(shape)}"]


def _worker(shape: Layout) -> list[str]:
    return ["start", f'--address="$RAY_HEAD_IP:{RAY_PORT}"', f"--num-gpus={_gpus(shape)}"]


def _gpus(shape: Layout) -> int:
    return shape.gpus * shape.per_node


def _serve(copy: Server, shape: Layout) -> str:
    """Serving from the head, in the background; vLLM itself waits until all nodes have joined."""
    spread = ["--distributed-executor-backend", "ray"]
    if shape.routed:
        # One server for all copies: Ray places them, but none of its ways to choose a copy looks at prefixes.
        spread += ["--data-parallel-size", str(shape.copies), "--data-parallel-size-local", str(shape.per_node)]
        spread += ["--data-parallel-backend", "ray"]
    lines = [
        f'. "{_ENV}/bin/activate"',
        f'VLLM_API_KEY="$(cat "{_KEY}")"',
        "export VLLM_API_KEY",
        *exports(copy.environ),
        *array("command", [*copy.words, *spread, "--host", "127.0.0.1", "--port", str(PORT)]),
        *([f"command+=(--chat-template {PACKAGED_TEMPLATE})"] if copy.template else []),
        'nohup setsid "${command[@]}" >> "$HOME/kat-serve.log" 2>&1 < /dev/null &',
    ]
    return "\n".join(lines)
