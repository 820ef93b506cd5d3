"""What vLLM on a CPU makes of the exported drafters: for `drafter.py`.

Beginnings of held-out Python files are written on greedily, without a drafter and with each. Texts must be the same;
vLLM's own counters say how many drafts there were, and how many were accepted at each place.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

DEPTH = 3
NEW = 128
PROMPT = 128


def measure(folder: Path, weights: str, layouts: Sequence[str], count: int, dtype: str = "bfloat16") -> None:
    """Export, serve, compare and print; figures go into measured.json."""
    prompts = np.load(folder / "source.npz")["held"][:count, :PROMPT].tolist()
    (folder / "prompts.json").write_text(json.dumps(prompts))
    plain = asked(folder, "plain", weights, "", dtype)
    found = {"prompts": count, "dtype": dtype, "plain_tokens_a_second": plain["tokens_a_second"]}
    for layout in layouts:
        target, speculative = exported(folder, weights, layout)
        alone = plain if target == weights else asked(folder, f"{layout}-alone", target, "", dtype)
        found[layout] = compared(alone, asked(folder, layout, target, speculative, dtype))
        print(f"{layout}: {json.dumps(found[layout])}", flush=True)
    (folder / "measured.json").write_text(json.dumps(found, indent=1) + "\n")


def exported(folder: Path, weights: str, layout: str) -> tuple[str, str]:
    """The model that is served with the drafter, and vLLM's --speculative-config."""
    from training.exporting.drafter import eagle, mimo, speculation
    from training.models.loading import load
    from training.models.mtp import MtpModule
    from training.settings import ModelTable

    module, out = MtpModule.load(folder / layout), folder / f"vllm-{layout}"
    if layout == "eagle":
        written = eagle(module, out)
    else:
        written = mimo(module, load(ModelTable(source=weights), train=False), out)
    return weights if layout == "eagle" else str(written), speculation(layout, written, DEPTH)


def asked(folder: Path, name: str, model: str, speculative: str, dtype: str) -> dict[str, Any]:
    """What a vLLM of its own writes."""
    out = folder / f"{name}.json"
    quiet = {"VLLM_LOGGING_LEVEL": "WARNING", "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1"}
    here = {
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "OMP_NUM_THREADS": "1",
    }
    python = os.environ.get("KAT_VLLM_PYTHON", sys.executable)
    command = [python, __file__, str(folder / "prompts.json"), str(out), model, speculative, dtype]
    subprocess.run(command, check=True, env={**os.environ, **quiet, **here})
    found: dict[str, Any] = json.loads(out.read_text())
    return found


def compared(plain: dict[str, Any], drafted: dict[str, Any]) -> dict[str, Any]:
    """How many texts are the same, and what was accepted: at place n, of all drafts."""
    same = sum(one == other for one, other in zip(plain["texts"], drafted["texts"], strict=True))
    drafts = drafted["drafts"]
    return {
        "same_texts": f"{same} of {len(plain['texts'])}",
        "drafts": drafts,
        "accepted_by_position": [round(count / max(drafts, 1), 4) for count in drafted["accepted"]],
        "tokens_a_step": round(1 + sum(drafted["accepted"]) / max(drafts, 1), 3),
        "tokens_a_second": drafted["tokens_a_second"],
    }


def serve(prompts: Path, out: Path, model: str, speculative: str, dtype: str) -> None:
    """Write on each prompt greedily with vLLM in this process."""
    from vllm import LLM, SamplingParams, TokensPrompt

    engine = LLM(
        model, dtype=dtype, max_model_len=1024, max_num_seqs=8, enforce_eager=True, disable_log_stats=False,
        speculative_config=json.loads(speculative) if speculative else None, enable_prefix_caching=False,
    )  # fmt: skip
    greedy = SamplingParams(temperature=0.0, max_tokens=NEW, ignore_eos=True)
    began = time.perf_counter()
    texts = engine.generate([TokensPrompt(prompt_token_ids=ids) for ids in json.loads(prompts.read_text())], greedy)
    seconds = time.perf_counter() - began
    counted = {metric.name: metric for metric in engine.get_metrics()}
    drafts: Any = counted.get("vllm:spec_decode_num_drafts")
    accepted: Any = counted.get("vllm:spec_decode_num_accepted_tokens_per_pos")
    written = [list(text.outputs[0].token_ids) for text in texts]
    found = {
        "texts": written,
        "drafts": drafts.value if drafts else 0,
        "accepted": accepted.values if accepted else [],
        "tokens_a_second": round(sum(map(len, written)) / seconds, 1),
    }
    out.write_text(json.dumps(found))


if __name__ == "__main__":
    serve(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:6])
