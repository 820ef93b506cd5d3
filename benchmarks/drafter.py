"""A drafter for the small model: trained on Python source, exported as vLLM takes it, and what vLLM then accepts.

    python benchmarks/drafter.py                   all of it, on a CPU: for minutes, a drafter that knows little
    python benchmarks/drafter.py collect FOLDER    Python source of this machine as tokens; packages are held out
    python benchmarks/drafter.py train FOLDER      fits both layouts; on a GPU where there is one
    python benchmarks/drafter.py measure FOLDER    served by vLLM: is the text the same, what is accepted where?

FOLDER holds source.npz, then LAYOUT/mtp.safetensors and train.jsonl, then measured.json. The model is the pinned one
(`kat models pull nano`), or that of --weights.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(1, str(Path(__file__).parent.parent))

os.environ.setdefault("HF_HUB_OFFLINE", "1")

if TYPE_CHECKING:
    import torch

    from training.drafting import Drafting

LAYOUTS = ("eagle", "mimo")
ROW = 512
PROMPT = 128
"""Tokens of a text that the model goes on from, when it writes its own."""
RATE = 1.5e-3
BETAS = (0.9, 0.95)
WARM = 0.03
"""Share of the time in which the rate rises; it then falls to a twentieth by a cosine."""
OWN = 0.5
"""Share of rows that the model wrote itself, half of those greedily: a drafter sees its model's texts in use."""
HEAT = 0.8
"""Temperature of the other half."""
SEED = 8


@dataclass(frozen=True, slots=True)
class Scale:
    """How much a machine can: rows of an update, positions projected at once, rows written at once, rows judged."""

    rows: int
    chunk: int
    written: int
    judged: int


GPU, CPU = Scale(32, 8192, 1024, 512), Scale(4, 1024, 8, 8)
DEPTH = 3


def model_of(weights: str, device: str) -> Any:
    """The frozen model, in bf16."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(weights, dtype=torch.bfloat16)
    return model.to(device).eval().requires_grad_(False)


def written(model: Any, prompts: torch.Tensor, new: int) -> torch.Tensor:
    """Prompts (N, P) and what the model writes behind them, (N, P + new): every second row greedily."""
    import torch
    from transformers import DynamicCache

    texts, cache, step = [prompts], DynamicCache(config=model.config), prompts
    with torch.inference_mode():
        for _ in range(new):
            out = model(input_ids=step, past_key_values=cache, use_cache=True, logits_to_keep=1)
            logits = out.logits[:, -1].float()
            step = logits.argmax(-1, keepdim=True)
            step[1::2] = torch.multinomial((logits[1::2] / HEAT).softmax(-1), 1)
            texts.append(step)
    return torch.cat(texts, 1).clone()


class Feed:
    """Rows for updates: windows of the source, and texts that the model wrote behind beginnings of such windows."""

    def __init__(self, source: np.ndarray, scale: Scale, device: str) -> None:
        import torch

        self._source, self._scale, self._device = torch.from_numpy(source.astype(np.int32)), scale, device
        self._chance = torch.Generator().manual_seed(SEED)
        self.own: Any = None

    def windows(self, count: int, length: int = ROW) -> torch.Tensor:
        """So many windows of the source."""
        import torch

        starts = torch.randint(len(self._source) - length, (count, 1), generator=self._chance)
        return self._source[starts + torch.arange(length)].long().to(self._device)

    def write(self, model: Any, rounds: int) -> None:
        """Let the model write its own texts."""
        import torch

        for _ in range(rounds):
            new = written(model, self.windows(self._scale.written, PROMPT), ROW - PROMPT)
            self.own = new if self.own is None else torch.cat([self.own, new])

    def __next__(self) -> torch.Tensor:
        """The rows of an update."""
        import torch

        if self.own is None:
            return self.windows(self._scale.rows)
        mine = round(self._scale.rows * OWN)
        chosen = torch.randint(len(self.own), (mine,), generator=self._chance).to(self.own.device)
        return torch.cat([self.own[chosen], self.windows(self._scale.rows - mine)])


def train(folder: Path, weights: str, seconds: float, rounds: int, layouts: tuple[str, ...] = LAYOUTS) -> None:
    """Fit modules of both layouts for so many seconds, and keep them in bf16."""
    import torch

    from training.drafting import Drafting
    from training.models.mtp import MtpModule

    torch.manual_seed(SEED)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    scale = GPU if device == "cuda" else CPU
    source, model = np.load(folder / "source.npz"), model_of(weights, device)
    modules: Any = {layout: MtpModule.of(model, layout) for layout in layouts}
    drafting = Drafting(model, modules, depth=DEPTH, chunk=scale.chunk)
    feed, began = Feed(source["train"], scale, device), time.perf_counter()
    feed.write(model, rounds)
    held = torch.from_numpy(source["held"].astype(np.int64)).to(device)[: scale.judged]
    held_own = written(model, held[:, :PROMPT], ROW - PROMPT)[::2]  # those it wrote greedily
    say(folder, wrote=0 if feed.own is None else feed.own.numel(), seconds=time.perf_counter() - began)
    for step, rate, figures in fitted(drafting, feed, seconds):
        say(folder, step=step, rate=rate, **figures)
    say(folder, held_source=judged(drafting, held, scale), held_own=judged(drafting, held_own, scale))
    for layout, module in modules.items():
        module.to(torch.bfloat16).save(folder / layout)


def fitted(drafting: Drafting, feed: Feed, seconds: float) -> Iterator[tuple[int, float, dict[str, float]]]:
    """Updates until the time is over; now and then the step, the rate and the figures."""
    import torch

    optimizer = torch.optim.AdamW(drafting.parameters(), lr=RATE, betas=BETAS, weight_decay=0.01)
    began, told, step, tokens = time.perf_counter(), 0.0, 0, 0
    while (gone := (time.perf_counter() - began) / seconds) < 1:
        for group in optimizer.param_groups:
            group["lr"] = rate = RATE * scheduled(gone)
        ids = next(feed)
        with torch.autocast(ids.device.type, torch.bfloat16):
            found = drafting(ids)
        total = drafting.total(found)
        total.backward()
        torch.nn.utils.clip_grad_norm_(drafting.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        step, tokens = step + 1, tokens + ids.numel()
        if gone - told > 1 / 40 or step == 1:
            told = gone
            speed = tokens / (time.perf_counter() - began)
            yield step, rate, {"loss": total.item(), "tokens_a_second": speed, **shares(found)}


def scheduled(gone: float) -> float:
    """The share of the rate when so much of the time is gone."""
    return min(1.0, gone / WARM) * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * gone)))


def shares(found: Any) -> dict[str, float]:
    """The share of positions at which each step's likeliest token is the model's, by layout and step."""
    return {f"{one.layout}_{one.ahead}": round(one.agreed, 4) for one in found}


def judged(drafting: Drafting, rows: torch.Tensor, scale: Scale) -> dict[str, float]:
    """Those shares over rows that were not trained on."""
    import torch

    sums: dict[str, float] = {}
    parts = rows.split(scale.rows)
    for part in parts:
        with torch.inference_mode(), torch.autocast(rows.device.type, torch.bfloat16):
            for name, share in shares(drafting(part)).items():
                sums[name] = sums.get(name, 0.0) + share * len(part) / len(rows)
    return {name: round(share, 4) for name, share in sums.items()}


def collect(folder: Path, weights: str, tokens: int) -> None:
    """Write source.npz."""
    from drafter_source import collected

    source, held, packages = collected(Path(weights) / "tokenizer.json", tokens, held=512)
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / "source.npz", train=source, held=held)
    print(f"{len(source):,} tokens of source; {len(held)} beginnings of files of {len(packages)} packages held out")


def say(folder: Path, **figures: Any) -> None:
    """Print figures, and keep them in train.jsonl."""
    line = json.dumps({k: round(v, 6) if isinstance(v, float) else v for k, v in figures.items()})
    print(line, flush=True)
    with (folder / "train.jsonl").open("a") as file:
        file.write(line + "\n")


def pinned() -> str:
    """The folder with the pinned model's weights, converted where that was not done."""
    from prefix import vllm_python

    from model.catalog import CATALOG
    from model.pull import pull
    from model.serving.starting.weights import safetensors_of, weights_directory

    return str(safetensors_of(pull(CATALOG["nano"]), weights_directory(), vllm_python() or sys.executable))


def main() -> None:
    """What the arguments say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=("collect", "train", "measure", "all"), default="all")
    parser.add_argument("folder", nargs="?", type=Path, default=Path("build/drafter"))
    parser.add_argument("--weights", default="", help="a folder of the model as safetensors; default: the pinned one")
    parser.add_argument("--tokens", type=int, default=4_000_000, help="of source that are collected")
    parser.add_argument("--seconds", type=float, default=600.0, help="of training")
    parser.add_argument("--own", type=int, default=2, help="rounds in which the model writes texts of its own")
    parser.add_argument("--layouts", nargs="+", choices=LAYOUTS, default=LAYOUTS)
    parser.add_argument("--prompts", type=int, default=32, help="held-out beginnings that are written on in vLLM")
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16", help="what vLLM computes in")
    given = parser.parse_args()
    weights = given.weights or pinned()
    if given.what in ("collect", "all"):
        collect(given.folder, weights, given.tokens)
    if given.what in ("train", "all"):
        train(given.folder, weights, given.seconds, given.own, tuple(given.layouts))
    if given.what in ("measure", "all"):
        from drafted import measure

        measure(given.folder, weights, tuple(given.layouts), given.prompts, given.dtype)


if __name__ == "__main__":
    main()
