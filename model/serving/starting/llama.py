"""llama.cpp's own server, as xllamacpp carries it, for small models and GGUF files without vLLM.

`python -m model.serving.starting.llama` runs it with KAT's chat template. On a Unix socket it opens no port; on a port
it asks for a key. Without the key only /health and /v1/health answer.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.serving.plan import Endpoint, Launch, Plan
from model.serving.starting.launch import TEMPLATE, BadOption

KEY = "KAT_SERVE_KEY"
"""The variable that the key comes in; a key in the command could be read by others."""
BATCH = 128
"""Tokens read between two looks whether the client has gone; our choice, about a second on two cores."""
OPEN_WITHOUT_KEY = frozenset({"/health", "/v1/health"})
_SOCKET = ".sock"


@dataclass(frozen=True, slots=True)
class LlamaOptions:
    """`gguf` is the file, `served` the name that clients use, `users` how many replies are written at once.

    `threads` None is what suits the machine. `extra` is refused: this server takes no arguments of llama-server.
    """

    gguf: Path
    served: str = ""
    users: int = 1
    threads: int | None = None
    python: str = sys.executable
    extra: tuple[str, ...] = ()


def llama_launch(plan: Plan, endpoint: Endpoint, options: LlamaOptions) -> Launch:
    """How to start it.

    Raises:
        BadOption: it cannot listen there, or arguments for vLLM were given.
    """
    if options.extra:
        raise BadOption("arguments behind -- are for vLLM; choose it with --runner vllm")
    if endpoint.socket and endpoint.socket.suffix != _SOCKET:
        raise BadOption(f"llama.cpp knows a socket by its ending; give --socket a path that ends in {_SOCKET}")
    words: list[object] = [options.python, "-m", "model.serving.starting.llama", "--model", options.gguf]
    words += ["--name", options.served or plan.model.name, "--context", plan.context, "--users", options.users]
    words += ["--socket", endpoint.socket] if endpoint.socket else ["--host", endpoint.host, "--port", endpoint.port]
    words += ["--threads", options.threads] if options.threads else []
    words += ["--template", TEMPLATE] if plan.model.dialect == "kat" else []
    for adapter in plan.adapters:
        words += ["--adapter", adapter.partition("=")[2]]
    secret = {KEY: endpoint.key} if endpoint.key else {}
    return Launch(tuple(map(str, words)), secret, endpoint, _why(plan, endpoint, options), frozenset(secret))


def _why(plan: Plan, endpoint: Endpoint, options: LlamaOptions) -> tuple[str, ...]:
    where = "Unix socket: only you can reach it, so there is no key"
    replies = "1 reply" if options.users == 1 else f"{options.users} replies"
    return (
        "llama.cpp: it reads GGUF files and needs neither vLLM nor a GPU",
        where if endpoint.socket else "a key is asked for on every path but /health; `kat` finds it by itself",
        f"context: {plan.context:,} tokens each, {replies} at once",
    )


def main(arguments: Sequence[str] | None = None, environ: Mapping[str, str] = os.environ) -> int:
    """Serve until SIGTERM or SIGINT; what cannot be loaded is one line."""
    # Before the server makes threads, so that they do not take the signals.
    awaited = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
    signal.pthread_sigmask(signal.SIG_BLOCK, awaited)
    asked = _parser().parse_args(arguments)
    if not (asked.socket or environ.get(KEY)):
        return _failed(f"a port without a key is open to every user of this machine; set {KEY}, or give --socket")
    try:
        import xllamacpp
    except ImportError:
        return _failed('xllamacpp is not installed; run: pip install "kat-pilot[local]"')
    _say(f"loading {asked.model}")
    try:
        server = xllamacpp.Server(_parameters(xllamacpp, asked, environ.get(KEY)))
    except Exception as error:  # noqa: BLE001 - the binding raises what C++ threw
        hint = "the file may be cut off, or of a kind that llama.cpp does not know"
        return _failed(f"{asked.model} cannot be loaded ({str(error).rstrip('.')}); {hint}")
    _say(f"listening on {server.listening_address}")
    signal.sigwait(awaited)
    if asked.socket:
        asked.socket.unlink(missing_ok=True)
    os._exit(0)  # its threads need not end one by one; freed while it writes, the server would wait for ever


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m model.serving.starting.llama", description=__doc__)
    parser.add_argument("--model", required=True, help="a GGUF file")
    parser.add_argument("--name", required=True)
    parser.add_argument("--context", type=int, required=True)
    parser.add_argument("--users", type=int, default=1)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--socket", type=Path)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--template", type=Path)
    parser.add_argument("--adapter", action="append", default=[], help="a GGUF adapter")
    return parser


def _parameters(xllamacpp: Any, asked: argparse.Namespace, key: str | None) -> Any:
    parameters = xllamacpp.CommonParams()
    parameters.model.path = asked.model
    parameters.model_alias = {asked.name}
    parameters.n_parallel = asked.users
    parameters.n_ctx = asked.context * asked.users
    parameters.n_batch = parameters.n_ubatch = BATCH
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    # A thread that has to wait for its core stalls all others at every token: leave a core to the rest of the machine.
    parameters.cpuparams.n_threads = asked.threads or max(1, cores - 1)
    parameters.cpuparams_batch.n_threads = asked.threads or cores
    parameters.hostnames = [str(asked.socket)] if asked.socket else [asked.host]
    parameters.port = asked.port
    parameters.api_keys = [key] if key else []
    parameters.use_jinja, parameters.ui = True, False
    parameters.endpoint_metrics, parameters.warmup, parameters.verbosity = True, False, -1
    if asked.template:
        parameters.chat_template = asked.template.read_text("utf-8")
    parameters.lora_adapters = [_adapter(xllamacpp, path) for path in asked.adapter]
    return parameters


def _adapter(xllamacpp: Any, path: str) -> Any:
    adapter = xllamacpp.CommonAdapterLoraInfo()
    adapter.path, adapter.scale = path, 1.0
    return adapter


def _say(line: str) -> None:
    print(f"kat: {line}", file=sys.stderr, flush=True)  # noqa: T201 - the log of the server


def _failed(sentence: str) -> int:
    _say(f"ERROR {sentence}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
