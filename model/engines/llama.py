"""The blocking side of the embedded engine: llama.cpp in this process, through xllamacpp."""

from __future__ import annotations

import http.client
import json
import os
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from model.engine import EngineRefused, EngineUnreachable

Chunk = dict[str, Any]
BATCH = 64
"""Tokens read between two looks at a cancel: about 0.6 s on two cores. 256 would read a sixth faster and wait 2 s."""
_SILENT = -1


@dataclass(frozen=True, slots=True)
class LlamaOptions:
    """A GGUF file, its context in tokens, threads (None: what suits the machine), and a GGUF LoRA adapter.

    `replies` are written at once, from one prompt, and share the context.
    """

    model: Path
    context: int = 8192
    threads: int | None = None
    lora: Path | None = None
    replies: int = 1


class Llama:
    """A loaded model. Construction takes about a second for 100 MB.

    xllamacpp opens a port on the loopback interface whatever one asks, so it gets a random key.
    Raises `EngineUnreachable` if the package is missing, `EngineRefused` if a file cannot be loaded.
    """

    def __init__(self, options: LlamaOptions) -> None:
        key = secrets.token_urlsafe(32)
        self._ran = False
        self._server = _load(options, key)
        address = urlsplit(str(self._server.listening_address)).netloc
        # The cache must not hold `self`: a cycle would keep the server until a collection, which may be off.
        self._encode = lru_cache(maxsize=1024)(partial(_tokenize, address, key))

    def generate(self, request: dict[str, Any], take: Callable[[Chunk], bool]) -> None:
        """Run one completion, giving each chunk to `take`, which returns True to cancel. Blocks."""
        self._server.handle_completions(request, take)
        self._ran = True

    def settle(self) -> None:
        """Have the server's loop run once. Freed before it runs, the server would wait for its end for ever. Blocks."""
        if not self._ran:
            self.generate({"prompt": "a", "max_tokens": 1}, lambda _: False)

    def encode(self, text: str, *, specials: bool) -> list[int]:
        """Token ids; with `specials` false, ``<|im_end|>`` and its kind become ordinary tokens. Blocks."""
        return list(self._encode(text, specials))


def _tokenize(address: str, key: str, text: str, specials: bool) -> tuple[int, ...]:
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    body = json.dumps({"content": text, "add_special": False, "parse_special": specials})
    connection = http.client.HTTPConnection(address, timeout=30)
    try:
        connection.request("POST", "/tokenize", body, headers)
        return tuple(json.loads(connection.getresponse().read())["tokens"])
    finally:
        connection.close()


def _load(options: LlamaOptions, key: str) -> Any:
    try:
        import xllamacpp
    except ImportError:
        raise EngineUnreachable(
            'the embedded engine is not installed; run: pip install "kat-pilot[local]", or name a server with --engine'
        ) from None
    for path in _files(options):
        if not path.is_file():
            raise EngineRefused(f"there is no model file {path}; fetch it with: kat models pull nano")
    try:
        return xllamacpp.Server(_parameters(xllamacpp, options, key))
    except Exception as error:  # the binding raises what C++ threw
        raise EngineRefused(_refusal(options, error)) from error


def _refusal(options: LlamaOptions, error: Exception) -> str:
    if options.lora:
        return f"{options.model} cannot be loaded with {options.lora}; name an adapter that was trained on this model"
    return f"{options.model} cannot be loaded ({error}); fetch it again with: kat models pull"


def _files(options: LlamaOptions) -> Iterator[Path]:
    yield options.model
    if options.lora:
        yield options.lora


def _parameters(xllamacpp: Any, options: LlamaOptions, key: str) -> Any:
    there = cores()
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(options.model)
    parameters.n_ctx = options.context
    parameters.n_parallel = options.replies
    parameters.kv_unified = options.replies > 1
    parameters.n_batch = parameters.n_ubatch = BATCH
    # A thread that has to wait for its core stalls all others at every token: leave a core to the rest of the machine.
    parameters.cpuparams.n_threads = options.threads or max(1, there - 1)
    parameters.cpuparams_batch.n_threads = options.threads or (there if options.replies == 1 else max(1, there - 1))
    parameters.warmup = False
    parameters.verbosity = _SILENT
    parameters.api_keys = [key]
    parameters.port = 0
    if options.lora:
        adapter = xllamacpp.CommonAdapterLoraInfo()
        adapter.path, adapter.scale = str(options.lora), 1.0
        parameters.lora_adapters = [adapter]
    return parameters


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
