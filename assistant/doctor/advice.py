"""What to change where a probe fails, by the program that serves."""

from __future__ import annotations

from pathlib import Path

import model.dialects

TEMPLATE = Path(model.dialects.__file__).with_name("kat.jinja")
_ANY = ""
_WEIGHTS = "check that the server loads KAT's own weights, and the adapter that you mean, with its tokenizer"

_ADVICE: dict[str, dict[str, str]] = {
    "template": {
        "vllm": f"start vLLM with --chat-template {TEMPLATE}",
        "sglang": f"start SGLang with --chat-template {TEMPLATE}",
        "llama-server": f"start llama-server with --jinja --chat-template-file {TEMPLATE}",
        "ollama": "write a Modelfile with TEMPLATE {{ .Prompt }}: Ollama puts the template around every prompt",
        "lm-studio": f"paste {TEMPLATE} as the model's prompt template",
        _ANY: f"give the server the chat template {TEMPLATE}; replies over /v1/completions do not use it",
    },
    "think off": {
        "ollama": "write a Modelfile with TEMPLATE {{ .Prompt }}: Ollama puts the template around every prompt",
        _ANY: f"{_WEIGHTS}; the server must continue a prompt as it stands",
    },
    "think on": {
        "ollama": "write a Modelfile with TEMPLATE {{ .Prompt }}: Ollama puts the template around every prompt",
        _ANY: f"{_WEIGHTS}; the server must continue a prompt as it stands, and send special tokens as text",
    },
    "tool round trip": {
        _ANY: f"{_WEIGHTS}; name its language with --dialect kat, qwen3 or qwen3_coder",
    },
    "auto easy": {_ANY: f"{_WEIGHTS}; until then use --think off for what is simple"},
    "auto hard": {_ANY: f"{_WEIGHTS}; until then use --think on for what is hard"},
    "think budget": {_ANY: "use a server with /v1/completions that continues a prompt, such as vLLM or llama-server"},
    "judge budget": {_ANY: "use a server with /v1/completions that continues a prompt, such as vLLM or llama-server"},
    "cancel": {
        "vllm": "put no proxy before vLLM that buffers, and update it: it ends what a client leaves",
        "ollama": "set OLLAMA_NUM_PARALLEL=2, and put no proxy before Ollama that buffers",
        "llama-server": "start llama-server with --parallel 2, and put no proxy before it that buffers",
        _ANY: "put no proxy before the server that buffers; it must stop when the client closes the connection",
    },
    "prefix cache": {
        "vllm": "start vLLM without --no-enable-prefix-caching, and with --enable-prompt-tokens-details",
        "sglang": "start SGLang without --disable-radix-cache, and with --enable-cache-report",
        "llama-server": "start llama-server with --cache-prompt, and a slot for each conversation (--parallel)",
        _ANY: "switch on the server's prefix cache: without it every step reads the whole conversation again",
    },
    "cached": {
        "vllm": "start vLLM with --enable-prompt-tokens-details to see it for each step",
        _ANY: "the server could say so in usage.prompt_tokens_details.cached_tokens",
    },
    "context": {
        "vllm": "set --max-model-len to what the model and the memory can do (kat models size says that)",
        "ollama": "set OLLAMA_CONTEXT_LENGTH (Ollama cuts what is longer without a word)",
        "llama-server": "start llama-server with --ctx-size, and without --context-shift",
        "sglang": "set --context-length, and leave out --allow-auto-truncate",
        "lm-studio": "load the model with a longer context, and set its overflow policy to stop",
        _ANY: "set the server's context to what it can really take",
    },
    "context unknown": {
        "ollama": "set OLLAMA_CONTEXT_LENGTH to 32768 or more: its default is short",
        _ANY: "look up the server's context: conversations are shortened only once it is known or was hit",
    },
    "metrics": {
        "sglang": "start SGLang with --enable-metrics",
        "llama-server": "start llama-server with --metrics",
        _ANY: "none is needed; vLLM, SGLang and llama-server have them",
    },
    "1 stream": {_ANY: "look at the server's log: it may still be loading or compiling; then try again"},
    "8 streams": {
        "llama-server": "start llama-server with --parallel 8 and a --ctx-size that is eight times as large",
        "ollama": "set OLLAMA_NUM_PARALLEL=8",
        "vllm": "raise --max-num-seqs",
        "embedded": "run a server that batches: kat serve nano, or a larger model",
        _ANY: "let the server answer several requests at once, if others use it too",
    },
    "slow": {_ANY: "look at the server's log and load; a model this slow is no fun, choose a smaller one or more GPU"},
}


def advice(name: str, kind: str) -> str | None:
    """What to change, or None where nothing is known that would help."""
    found = _ADVICE.get(name, {})
    return found.get(kind, found.get(_ANY))
