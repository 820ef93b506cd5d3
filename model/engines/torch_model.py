"""The blocking side of the torch engine: a model that transformers loaded, and the cache of its last text."""

from __future__ import annotations

import importlib.util
import inspect
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache

from model.engine import EngineRefused
from model.engines.detokenizer import Detokenizer
from model.engines.llama import cores
from model.engines.torch_draw import Draw, Sampler
from model.engines.torch_tokens import Tokens
from model.serving.hardware.memory import free_memory
from model.serving.hardware.processor import cpu_flags, emulates_bf16
from model.serving.logprobs import Scored
from model.serving.plan import GIB

READ_CPU, READ_GPU = 64, 2048
"""Tokens of a prompt that are read between two looks at a cancel, on a CPU and elsewhere; our choice."""
_CONTEXT = 8192
"""Tokens that a model takes where its configuration does not say; our choice."""


@dataclass(frozen=True, slots=True)
class TorchOptions:
    """What to load: a folder, a GGUF file or a hub id; an adapter as peft saves it; how to lay it out on devices.

    `context` is in tokens; `threads` are those that torch uses on a CPU, by default all but one.
    """

    model: str
    adapter: Path | None = None
    device_map: str = "auto"
    context: int | None = None
    threads: int | None = None


@dataclass(frozen=True, slots=True)
class Piece:
    """What came of a stretch: text of `tokens` tokens, its end, and once what the prompt took (`cached`, `prefill`)."""

    text: str = ""
    tokens: int = 0
    finish: str | None = None
    cached: int | None = None
    prefill: float = 0.0


Take = Callable[[Piece], bool]


class TorchModel:
    """A loaded model. Raises `EngineRefused` if it cannot be loaded.

    It keeps the keys and values of the last text, so that a prompt that begins alike is not read again.
    """

    def __init__(self, options: TorchOptions) -> None:
        torch.set_num_threads(options.threads or max(1, cores() - 1))  # one that waits for its core stalls all others
        self._model, tokenizer = _loaded(options)
        config = self._model.config.get_text_config()
        longest = getattr(config, "max_position_embeddings", None) or _CONTEXT
        self.context = min(options.context or longest, longest)
        self.tokens = Tokens(tokenizer, self._model.generation_config, config.vocab_size)
        self.parameters = sum(tensor.numel() for tensor in self._model.parameters())
        self._device = self._model.get_input_embeddings().weight.device
        self._last_only = _last_only(self._model)
        self._known: list[int] = []
        self._cache: Any = None

    def generate(self, ids: list[int], draw: Draw, take: Take) -> None:
        """Write behind `ids`, giving each piece to `take`, which returns True to cancel. Blocks."""
        began = time.perf_counter()
        cached = self._rewound(ids)
        for behind in self._read(ids[cached:]):
            logits = behind
            if take(Piece()):
                return
        take(Piece(cached=cached, prefill=time.perf_counter() - began))
        for piece in self._write(logits, ids, draw):
            if take(piece):
                return

    def logprobs(self, ids: Sequence[int]) -> tuple[Scored, ...]:
        """The log-probability of each of `ids` but the first. Blocks."""
        found: list[Scored] = []
        cache = DynamicCache(config=self._model.config)
        for start in range(0, len(ids) - 1, READ_CPU):
            some = list(ids[start : start + READ_CPU])
            scores = self._forward(some, cache, every=True).float().log_softmax(-1)
            after = ids[start + 1 : start + 1 + len(some)]
            likely = scores.argmax(-1).tolist()
            found += [Scored(t, float(scores[n, t]), likely[n]) for n, t in enumerate(after)]
        return tuple(found)

    def _write(self, logits: Any, ids: list[int], draw: Draw) -> Iterator[Piece]:
        sampler, text = Sampler(draw, self.tokens, ids), Detokenizer(self.tokens.decode, ids)
        finish = "length"
        for left in range(min(draw.limit, self.context - len(ids)), 0, -1):
            token = sampler.pick(logits)
            if token in self.tokens.ends:
                finish = "stop"
                break
            sampler.take(token)
            yield Piece(text.feed(token), 1)
            if sampler.over:
                finish = "stop"
                break
            if left > 1:
                (logits,) = self._read([token])
        yield Piece(text.flush(), finish=finish)

    def _rewound(self, ids: list[int]) -> int:
        """Take the cache back to what it shares with `ids`, but for their last token; how many tokens that leaves."""
        shared = _shared(self._known, ids[:-1])
        if not self._cropped(len(self._known) - shared):
            self._cache, shared = DynamicCache(config=self._model.config), 0
        self._known = self._known[:shared]
        return shared

    def _cropped(self, excess: int) -> bool:
        """Whether the cache could be freed of its last tokens; layers with a window or a state cannot go back."""
        if self._cache is None or (excess and not getattr(self._cache, "is_croppable", True)):
            return False
        try:
            self._cache.crop(-excess) if excess else None
        except RuntimeError:
            return False
        return True

    def _read(self, ids: list[int]) -> Iterator[torch.Tensor]:
        """The logits behind each stretch of `ids`, of shape [vocabulary]; what was read stays in the cache."""
        most = READ_CPU if self._device.type == "cpu" else READ_GPU
        for start in range(0, len(ids), most):
            some = ids[start : start + most]
            cache, self._cache = self._cache, None  # a pass that fails leaves one that cannot be used
            logits = self._forward(some, cache, every=False)[-1]
            self._cache = cache
            self._known += some
            yield logits

    def _forward(self, ids: list[int], cache: Any, *, every: bool) -> torch.Tensor:
        """Logits of shape [tokens, vocabulary], of all tokens or, where the model can leave out the rest, the last."""
        only = {} if every else self._last_only
        with torch.inference_mode():
            tensor = torch.tensor([ids], device=self._device)
            found = self._model(input_ids=tensor, past_key_values=cache, use_cache=True, **only)
        logits: torch.Tensor = found.logits[0]
        return logits


def _shared(one: Sequence[int], two: Sequence[int]) -> int:
    pairs = enumerate(zip(one, two, strict=False))
    return next((n for n, (a, b) in pairs if a != b), min(len(one), len(two)))


def _last_only(model: Any) -> dict[str, int]:
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    return {"logits_to_keep": 1} if "logits_to_keep" in inspect.signature(base.forward).parameters else {}


def _loaded(options: TorchOptions) -> tuple[Any, Any]:
    """The model in evaluation mode, and its tokenizer."""
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    place, extra = _source(options.model)
    try:
        tokenizer = AutoTokenizer.from_pretrained(place, **_only(extra, "gguf_file"))
        layout = _layout(options.device_map)
        model = AutoModelForCausalLM.from_pretrained(place, **extra, **layout)
        if not layout:
            model = model.to(_device(options.device_map))
        if options.adapter:
            model = _adapted(model, options.adapter)
        model = _widened(model)
    except EngineRefused:
        raise
    except Exception as error:  # what a broken file makes of the libraries is of many kinds
        raise EngineRefused(f"{options.model} cannot be loaded: {_line(error)}") from error
    return model.eval(), tokenizer


def _source(model: str) -> tuple[str, dict[str, Any]]:
    """Where transformers finds the model, and what else it must be told."""
    path = Path(model).expanduser()
    if path.suffix == ".gguf" and path.is_file():
        from transformers import GgufConfig

        unpacked = GgufConfig(dequantize=True)
        return str(path.parent), {"gguf_file": path.name, "quantization_config": unpacked, "dtype": torch.bfloat16}
    if path.is_dir():
        return str(path), {"dtype": "auto"}
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", model) or model.startswith((".", "~", "/")):
        raise EngineRefused(f"there is no model at {model}; name a folder with safetensors, a GGUF file or a hub id")
    return model, {"dtype": "auto"}


def _layout(device_map: str) -> dict[str, str]:
    """How to lay out the model; without accelerate it goes to one device."""
    return {"device_map": device_map} if importlib.util.find_spec("accelerate") else {}


def _device(device_map: str) -> str:
    if device_map == "cpu":
        return "cpu"
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _widened(model: Any) -> Any:
    """In fp32 on cores that emulate bf16, if there is room for it."""
    plain = model.dtype == torch.bfloat16 and not getattr(model, "is_quantized", False)
    if model.device.type != "cpu" or not plain or not emulates_bf16(cpu_flags()):
        return model
    free = free_memory()
    return model.float() if free is None or free * GIB > 1.2 * model.get_memory_footprint() else model


def _adapted(model: Any, adapter: Path) -> Any:
    try:
        from peft import PeftModel
    except ImportError:
        raise EngineRefused('adapters need peft; run: pip install "kat-pilot[train]"') from None
    return PeftModel.from_pretrained(model, str(adapter.expanduser()))


def _only(extra: dict[str, Any], name: str) -> dict[str, Any]:
    return {name: extra[name]} if name in extra else {}


def _line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return (text[:297] + "…" if len(text) > 300 else text) or type(error).__name__
