"""How copies of a model lie on nodes, and the command that each runs, free of what belongs to one machine."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from model.serving.plan import Launch, Plan, Runner

PORT = 8000
"""Where clients reach the server; vLLM's own default."""
COPY_PORT = 8001
"""The port of the first copy on a node where a router takes `PORT`; the next copies count up. Our choice."""
RENDEZVOUS_PORT = 29501
"""Where the nodes of a copy meet; vLLM's default for --master-port. Copies on other nodes may use the same."""
STARTUP = 3600
"""Seconds that a server may take until it answers; our choice: the first start fetches the weights."""
VLLM, ROUTER = "0.33.0", "0.1.17"
"""The versions of vLLM and vllm-router that nodes and containers run; they do not move by themselves."""
IMAGE = f"vllm/vllm-openai:v{VLLM}"
"""The image of containers."""
SITE = "/kat/site"
"""Where containers find the package that holds the plugin and the template."""
_ADDRESS = frozenset({"--uds", "--host", "--port", "--api-key"})
_ACROSS = frozenset({"--data-parallel-size", "--distributed-executor-backend", "--nnodes", "--node-rank"})
_MEETING = frozenset({"--master-addr", "--master-port"})
_PLUGIN = frozenset({"--reasoning-parser-plugin", "--tool-parser-plugin"})
"""A plugin that is named by its file; these files install KAT Pilot beside vLLM, which then finds it by itself."""
_DROPPED = _ADDRESS | _ACROSS | _MEETING | _PLUGIN
_OURS = str(Path("dialects", "kat.jinja"))
_WIDTH = 112
_RUNTIME_LORA = "VLLM_ALLOW_RUNTIME_LORA_UPDATING"
_LOCAL_ENVIRON = frozenset({"PYTHONPATH", "CUDA_VISIBLE_DEVICES"})
ROUTER_POLICY = ("--policy", "cache_aware", "--balance-abs-threshold", "4")
"""How vllm-router 0.1.17 chooses a copy: the one that holds the longest prefix, unless another is 4 requests behind.

Its own threshold is 64. With that, 16 sessions that share a system prompt all went to one of two copies; with 4 (our
choice) they split, and 13 to 16 of them stayed on one copy. `consistent_hash` tears sessions apart where clients send
no session header. Measured by benchmarks/routing.py.
"""
_OF_ONE_MACHINE = ("Unix socket", "a key is", "adapters:", "data parallel", "tensor parallel", "pipeline parallel")
"""Beginnings of reasons that hold for a launch on one machine, and not for these files."""
_IDLE = "idle"
"""How the arithmetic's line on GPUs without work begins, which a file gives more copies."""
_LABEL = re.compile(r"[^a-z0-9]+")


_AMD = ("amd", "instinct", "radeon")


class NoFile(ValueError):
    """The file asked for cannot be written for this plan; the message is one sentence."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the copies lie: `copies` of the model, each over `nodes` nodes with `gpus` GPUs in each of them.

    `per_node` copies share a node, which is more than one only where a copy needs one node at most.
    """

    name: str
    copies: int
    nodes: int
    gpus: int
    per_node: int
    tensor: int
    pipeline: int

    @property
    def all_nodes(self) -> int:
        """Nodes in all."""
        return -(-self.copies // self.per_node) * self.nodes

    @property
    def routed(self) -> bool:
        """Whether a router stands before the copies."""
        return self.copies > 1

    @property
    def why(self) -> tuple[str, ...]:
        """The shape in words, and the reason for it."""
        gpus = self.gpus * self.nodes
        one = f"a copy takes {gpus} GPU{'s' * (gpus > 1)} on {self.nodes} node{'s' * (self.nodes > 1)}"
        lines = [f"{one}: tensor parallel {self.tensor} inside a node, pipeline parallel {self.pipeline}"]
        if self.nodes > 1:
            lines.append(
                "tensor parallel talks at every layer, so it stays on a node's own links; a pipeline crosses nodes, "
                "and hands on the activations of a stage only"
            )
        if self.routed:
            lines.append(
                f"{self.copies} copies, {self.per_node} on a node: each has a prefix cache of its own, so a router "
                "sends a session to the copy that holds its prefix"
            )
        return tuple(lines)


@dataclass(frozen=True, slots=True)
class Server:
    """The command of one copy: `vllm serve` and its words, without an address, ranks, and what a local path names.

    `template` says that KAT's chat template goes with it: its path is another one on each machine. `paths` are local
    paths among the words, which the nodes must have too.
    """

    words: tuple[str, ...]
    environ: dict[str, str]
    template: bool
    paths: tuple[str, ...]


def layout(plan: Plan) -> Layout:
    """How the plan lies on its nodes.

    Copies are as many as were asked for, else as many as the nodes hold whole: one for each node or group of nodes.

    Raises:
        NoFile: it is not for GPUs, or does not divide over the nodes.
    """
    here, world = len(plan.machine.gpus), plan.tensor_parallel * plan.pipeline_parallel
    if plan.runner is not Runner.VLLM or not here:
        raise NoFile("such a file is written for vLLM on GPUs; name those of a node, as in --gpu h100:8")
    if any(gpu.name.casefold().startswith(_AMD) for gpu in plan.machine.gpus):
        raise NoFile("such a file names packages and images for NVIDIA's GPUs; on AMD's, run kat serve on the machine")
    nodes = -(-world // here)
    if world % nodes or plan.tensor_parallel > here:
        raise NoFile(
            f"tensor parallel {plan.tensor_parallel} and pipeline parallel {plan.pipeline_parallel} do not divide over "
            f"nodes with {here} GPUs; choose --tensor-parallel so that it divides {here}"
        )
    copies = plan.data_parallel if plan.data_parallel > 1 else max(1, plan.machine.nodes // nodes)
    per_node = min(here // world, -(-copies // plan.machine.nodes)) if nodes == 1 else 1
    return Layout(
        label(plan.model.name), copies, nodes, world // nodes, per_node, plan.tensor_parallel, plan.pipeline_parallel
    )


def server(launch: Launch, *, private: bool) -> Server:
    """The launch's command as any node can run it; `private` says that only its own machine will reach it.

    Adapters may be loaded at run time only where it is, since a load names a path to read. Raises `NoFile`.
    """
    words = _serve_words(launch.argv)
    kept, template = _without_template(_without(words, _DROPPED))
    hidden = launch.secrets | _LOCAL_ENVIRON | (frozenset() if private else {_RUNTIME_LORA})
    environ = {name: value for name, value in launch.environ.items() if name not in hidden}
    return Server(("vllm", "serve", *kept), environ, template, _local_paths(kept))


def label(name: str) -> str:
    """A name as jobs, pods and files may have it: lower-case letters, digits and dashes, 40 at most, a letter first."""
    found = _LABEL.sub("-", name.lower()).strip("-")[:32].rstrip("-")
    return found if found[:1].isalpha() else f"kat-{found}".rstrip("-")


def router_words(host: str, urls: Sequence[str]) -> tuple[str, ...]:
    """The command of the router, without a key: it hands on each client's own, and the copies check it.

    With a key of its own it would let anybody in. Its control paths (/add_worker, /remove_worker, /list_workers) ask
    for no key at all, so only those who may direct traffic should reach it.
    """
    return ("vllm-router", "--host", host, "--port", str(PORT), *ROUTER_POLICY, "--worker-urls", *urls)


def literal(word: str) -> str:
    """A word as compose and Kubernetes leave it: $NAME or $(NAME) would be replaced, and two dollars are one."""
    return word.replace("$", "$$")


def heading(kind: str, plan: Plan, launch: Launch, shape: Layout, how: Sequence[str]) -> list[str]:
    """What stands above a file: the model, the arithmetic, what was chosen and why, and `how` to use the file."""
    name, licence = plan.model.name, plan.model.licence or "unknown"
    title = f"{name} (licence: {licence}); written by: kat serve {name} --dry-run --for {kind}"
    reasons = [why for why in launch.why if not why.startswith(_OF_ONE_MACHINE)]
    lines = [line for line in plan.lines if not (shape.copies > plan.data_parallel and line.startswith(_IDLE))]
    parts = [[title], lines, [*shape.why, *reasons], how]
    return [line for part in parts for line in (*_wrapped(part), "")][:-1]


def _wrapped(lines: Sequence[str]) -> Iterator[str]:
    for line in lines:
        yield from textwrap.wrap(line, _WIDTH, subsequent_indent="  ", break_on_hyphens=False) or [""]


def _serve_words(argv: Sequence[str]) -> tuple[str, ...]:
    """What follows `vllm serve`, or the module that does the same."""
    for at, pair in enumerate(pairwise(argv)):
        if Path(pair[0]).name == "vllm" and pair[1] == "serve":
            return tuple(argv[at + 2 :])
        if pair[0] == "-m" and pair[1].startswith("vllm."):
            return tuple(argv[at + 2 :])
    raise NoFile(f"such a file is written for vLLM, not for {Path(argv[0]).name}; name GPUs, as in --gpu h100:8")


def _without(words: Sequence[str], options: frozenset[str]) -> tuple[str, ...]:
    """The words without these options and the one value that each has."""
    kept: list[str] = []
    values = iter(words)
    for word in values:
        name, equals, _ = word.partition("=")
        if name not in options:
            kept.append(word)
        elif not equals:
            next(values, None)
    return tuple(kept)


def _without_template(words: Sequence[str]) -> tuple[tuple[str, ...], bool]:
    """The words without KAT's own template, and whether it is wanted: another one that the user named wins."""
    ours = [at for at, pair in enumerate(pairwise(words)) if _is_ours(*pair)]
    left = tuple(word for at, word in enumerate(words) if at not in ours and at - 1 not in ours)
    return left, bool(ours) and not any(word.partition("=")[0] == "--chat-template" for word in left)


def _is_ours(option: str, value: str) -> bool:
    return option == "--chat-template" and value.endswith(_OURS)


def _local_paths(words: Sequence[str]) -> tuple[str, ...]:
    """Absolute paths among the words: a model's folder, NAME=PATH of an adapter."""
    values = (word.rpartition("=")[2] for word in words)
    return tuple(dict.fromkeys(value for value in values if value.startswith("/")))
