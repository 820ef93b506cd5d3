"""The command that starts vLLM for a model, with the reason for each choice."""

from __future__ import annotations

import json
import math
import os
import shlex
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from model.serving.plan import Endpoint, Launch, Plan, Runner
from model.serving.starting.endpoints import is_loopback
from model.serving.starting.lora import slots_for
from model.serving.starting.versions import TYPICAL, Installed

TEMPLATE = Path(__file__).parents[2] / "dialects" / "kat.jinja"
FEW_USERS = 8
"""Up to how many users at once drafts are written (our choice): beyond, the GPU has no arithmetic to spare for them."""
DRAFT = {"method": "ngram", "num_speculative_tokens": 8, "prompt_lookup_min": 3, "prompt_lookup_max": 6}
"""How far ahead text that the prompt holds already is guessed: our choice, for edits, which repeat whole lines."""
CPU_SHARE = 0.2
"""The share of the main memory that vLLM's CPU engine asks about before it starts (our choice: always free).

What its KV cache takes is set by VLLM_CPU_KVCACHE_SPACE; at the default of 0.92 it would refuse to start.
"""
CPU_BLOCK = 32
"""Tokens in a block of the KV cache; the least that vLLM's CPU kernels take."""
PARSERS_SINCE = (0, 26)
"""The first vLLM with the classes that KAT's parsers are written for."""
GATE = "model.serving.starting.gate.Gate"
OPEN_WITH_KEY = ("/metrics", "/tokenize", "/detokenize", "/invocations", "/health", "/version")
"""Paths of vLLM that answer without a key: it guards only /v1, /v2, /inference and /cohere."""
UNTRAINED = frozenset({"nano"})
"""Models that speak KAT's dialect only if a grammar holds them; vLLM would apply it behind the thought alone."""
_SECRET_FLAGS = ("--api-key", "--hf-token")

_PARSERS = {"kat": ("kat", "kat"), "qwen3_coder": (None, "qwen3_coder"), "qwen3": ("qwen3", "hermes")}
"""By dialect: the parsers of reasoning and of tool calls. KAT's are KAT Pilot's plugin, the others vLLM's own."""


class BadOption(ValueError):
    """An option cannot be used; the message is one sentence."""


class Speculation(StrEnum):
    """Whether to guess ahead."""

    AUTO = "auto"
    NGRAM = "ngram"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class Options:
    """What a launch takes besides the plan.

    `weights` is a hub id or a folder (empty: the model's name), `served` the names that clients may use. `users` may
    come at once. `extra` are arguments of vLLM that the user added; they come last and so win. `quick` is for tests:
    vLLM on the CPU then compiles nothing. `plugin_path` is what `lent_plugin` made, for an environment where KAT Pilot
    is not installed; `python_path` is the user's own PYTHONPATH, which stays behind it. `gate` asks for the key on
    every path, which vLLM itself does not.
    """

    installed: Installed = TYPICAL
    weights: str = ""
    served: tuple[str, ...] = ()
    users: int = 1
    speculation: Speculation = Speculation.AUTO
    extra: tuple[str, ...] = ()
    quick: bool = False
    plugin_path: Path | None = None
    python_path: str = ""
    gate: bool = False


@dataclass(slots=True)
class _Draft:
    """A launch while it is put together."""

    argv: list[str]
    environ: dict[str, str] = field(default_factory=dict)
    why: list[str] = field(default_factory=list)

    def add(self, *words: object, why: str = "") -> None:
        self.argv += map(str, words)
        self.say(why)

    def say(self, why: str) -> None:
        if why:
            self.why.append(why)


def vllm_launch(plan: Plan, endpoint: Endpoint, options: Options | None = None) -> Launch:
    """How to start vLLM, on GPUs or on the CPU.

    Raises:
        BadOption: an extra argument would show a secret to others.
    """
    options = options or Options()
    _refuse_secrets(options.extra)
    draft = _Draft([*options.installed.command])
    model = options.weights or plan.model.name
    # `vllm serve` takes the model by position, the module of vllm-cpu by name; both take the name.
    draft.add("--model", model) if options.installed.cpu else draft.add(model)
    draft.add("--served-model-name", *(options.served or (plan.model.name,)))
    secrets = _listening(draft, endpoint, gate=options.gate)
    _sizes(draft, plan)
    _talking(draft, plan.model.name, plan.model.dialect, options)
    draft.add(
        "--enable-prefix-caching", "--enable-prompt-tokens-details", why="prefix cache: a step reads only new text"
    )
    _speculating(draft, plan, options)
    _adapting(draft, plan, endpoint, options.users)
    draft.add("--disable-uvicorn-access-log")
    draft.environ["VLLM_NO_USAGE_STATS"] = "1"
    if Path(model).is_dir():
        draft.environ["HF_HUB_OFFLINE"] = "1"
    if plan.runner is Runner.VLLM_CPU:
        _on_cpu(draft, plan, options.quick)
    draft.add(*options.extra, why="as you asked: " + shlex.join(options.extra) if options.extra else "")
    return Launch(tuple(draft.argv), draft.environ, endpoint, tuple(draft.why), secrets)


def shown(launch: Launch) -> str:
    """The command as one could type it, secrets as variables, one option a line."""
    variables = [
        f'{name}="${name}"' if name in launch.secrets else f"{name}={shlex.quote(value)}"
        for name, value in launch.environ.items()
    ]
    lines = [*_by_option(launch.argv)]
    return textwrap.indent(" \\\n".join([*variables, *lines]), "  ").strip()


def key_note(launch: Launch) -> str:
    """What to know of a server that other machines can reach; empty for one that they cannot."""
    endpoint = launch.endpoint
    if endpoint.socket or is_loopback(endpoint.host):
        return ""
    guarded = GATE in launch.argv or "VLLM_API_KEY" not in launch.secrets
    paths = "/health" if guarded else ", ".join(OPEN_WITH_KEY)
    return (
        f"{endpoint.host} can be reached from other machines, by plain HTTP, and without the key {paths} can be read; "
        "let only machines that you trust reach the port"
    )


def _by_option(argv: Sequence[str]) -> Iterator[str]:
    """Words quoted for a shell, an option and its values together."""
    line: list[str] = []
    for word in argv:
        if word.startswith("--") and line:
            yield shlex.join(line)
            line = []
        line.append(word)
    yield shlex.join(line)


def _refuse_secrets(extra: Sequence[str]) -> None:
    for word in extra:
        if word.partition("=")[0] in _SECRET_FLAGS:
            raise BadOption(f"{word.partition('=')[0]} would be seen in the list of processes; set KAT_API_KEY instead")


def _listening(draft: _Draft, endpoint: Endpoint, *, gate: bool) -> frozenset[str]:
    """Where it listens, and which variables of the environment are secret."""
    if endpoint.socket:
        draft.add("--uds", endpoint.socket, why="Unix socket: only you can reach it, so there is no key")
        return frozenset()
    draft.add("--host", endpoint.host, "--port", endpoint.port)
    if endpoint.key is None:
        return frozenset()
    draft.environ["VLLM_API_KEY"] = endpoint.key
    if gate:
        draft.add("--middleware", GATE, why="a key is asked for on every path but /health; `kat` finds it by itself")
    else:
        draft.say(f"a key is asked for below /v1; {', '.join(OPEN_WITH_KEY)} answer without it")
    return frozenset({"VLLM_API_KEY"})


def _sizes(draft: _Draft, plan: Plan) -> None:
    draft.add("--max-model-len", plan.context, why=f"context: {plan.context:,} tokens, {plan.users:.1f} of them fit")
    if plan.runner is Runner.VLLM:
        draft.add("--gpu-memory-utilization", f"{plan.memory_share:g}")
    parallel = {"tensor": plan.tensor_parallel, "pipeline": plan.pipeline_parallel, "data": plan.data_parallel}
    for kind, size in parallel.items():
        if size > 1:
            draft.add(f"--{kind}-parallel-size", size, why=f"{kind} parallel: {size}")
    # Weights that are packed already say so in their config.json, and vLLM then picks the quickest kernel itself.
    if plan.quantization not in (None, "bf16", plan.model.quantization):
        draft.add("--quantization", plan.quantization, why=f"weights: {plan.quantization}, made of bf16 as they load")
    if plan.kv_dtype.startswith("fp8"):
        draft.add("--kv-cache-dtype", plan.kv_dtype, why="KV cache: fp8, half of bf16")


def _talking(draft: _Draft, model: str, dialect: str, options: Options) -> None:
    """Template and parsers, so that any OpenAI client gets reasoning, content and tool calls as such."""
    if dialect == "kat":
        draft.add("--chat-template", TEMPLATE)
    reasoning, tools = _PARSERS.get(dialect, (None, "hermes"))
    if reasoning:
        draft.add("--reasoning-parser", reasoning)
    draft.add("--enable-auto-tool-choice", "--tool-call-parser", tools)
    if dialect != "kat":
        draft.say(f"dialect {dialect}: vLLM's own parsers")
        return
    if options.installed.numbers < PARSERS_SINCE:
        raise BadOption(
            f"KAT's parsers need vLLM {'.'.join(map(str, PARSERS_SINCE))} or newer, and this is "
            f"{options.installed.version}; run: {options.installed.python} -m pip install --upgrade vllm"
        )
    draft.say("dialect kat: KAT's template and KAT Pilot's parsers, so any OpenAI client sees reasoning and calls")
    if model in UNTRAINED:
        draft.add("--structured-outputs-config", '{"enable_in_reasoning":true}')
        draft.say(
            "the model never learned KAT's format: a grammar may hold it from the first word (hold_format = true)"
        )
    if options.plugin_path:
        draft.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(options.plugin_path), options.python_path)))
        draft.say("the parsers are lent, as KAT Pilot is not installed beside that vLLM")


def _speculating(draft: _Draft, plan: Plan, options: Options) -> None:
    """Guess text that stands in the prompt already: an edit repeats lines of the file."""
    if options.speculation is Speculation.OFF:
        draft.say("speculation: off, as you asked")
        return
    if options.speculation is Speculation.AUTO and (reason := _no_speculation(plan, options.users)):
        draft.say(f"speculation: off, {reason}")
        return
    draft.add("--speculative-config", json.dumps(DRAFT, separators=(",", ":")))
    draft.say("speculation: ngram, since an edit repeats lines that stand in the prompt; KAT has no MTP head")


def _no_speculation(plan: Plan, users: int) -> str | None:
    """Why not to guess ahead: checking guesses is free only where arithmetic is left over."""
    if plan.runner is not Runner.VLLM:
        return "a CPU has no arithmetic left over to check guesses with"
    if users > FEW_USERS:
        return f"with {users} users the GPU has no arithmetic left over to check guesses with"
    if plan.pipeline_parallel > 1:
        return "it is of no use across a pipeline"
    return None


def _adapting(draft: _Draft, plan: Plan, endpoint: Endpoint, users: int) -> None:
    """LoRA, to be changed at run time only where nobody else can reach the server: a load names a path to read."""
    slots = slots_for(plan, users)
    if slots is None:
        draft.say("adapters: off, they would take memory that the context needs; ask for one with --adapter")
        return
    draft.add(
        "--enable-lora", "--max-loras", slots.number, "--max-cpu-loras", slots.kept, "--max-lora-rank", slots.rank
    )
    if plan.adapters:
        draft.add("--lora-modules", *plan.adapters)
    changes = bool(endpoint.socket) or is_loopback(endpoint.host)
    if changes:
        draft.environ["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] = "1"
    when = "can be loaded while it runs" if changes else "only those of the start, as others can reach the server"
    draft.say(f"adapters: up to rank {slots.rank}, {when}")


def _on_cpu(draft: _Draft, plan: Plan, quick: bool) -> None:
    space = max(1, math.ceil(plan.kv))
    draft.add("--block-size", CPU_BLOCK, "--gpu-memory-utilization", CPU_SHARE)
    draft.environ["VLLM_CPU_KVCACHE_SPACE"] = str(space)
    draft.say(f"KV cache: {space} GiB of main memory, in blocks of {CPU_BLOCK} tokens")
    if plan.machine.bits == 32:
        draft.add("--dtype", "float32", why="fp32: these cores have no units for bf16, which takes many times as long")
    if quick:
        draft.add("--enforce-eager")
        draft.environ["VLLM_CPU_CI_ENV"] = "1"
