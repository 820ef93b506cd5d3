"""A module for multi-token prediction: one block, applied several times with shared weights.

FastMTP (arXiv 2509.18362):

    h_k[t] = Block(W · [h_{k-1}[t]; Emb(x_{t+k})]),    logits_k[t] = Head(h_k[t]),   which predicts x_{t+k+1}

Two layouts, as vLLM serves them. ``eagle``: W takes [embedding; hidden], h_0 is behind the model's final norm, the
block is Llama's without its first norm, and nothing is normed before the head. ``mimo``: W takes [hidden; embedding],
both normed, h_0 is before the final norm, the block is Qwen2's, with a norm behind it; the embedding at position 0 is
zero.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import LlamaConfig, Qwen2Config
from transformers.masking_utils import create_causal_mask
from transformers.models.llama.modeling_llama import LlamaDecoderLayer, LlamaRMSNorm, LlamaRotaryEmbedding
from transformers.models.qwen2.modeling_qwen2 import Qwen2DecoderLayer

from assistant.errors import UserError
from training.modules import ABOUT
from training.settings import Layout

_WEIGHTS = "mtp.safetensors"
_SHAPE = (
    "hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads", "vocab_size", "hidden_act",
    "max_position_embeddings", "rms_norm_eps", "rope_parameters",
)  # fmt: skip


class MtpModule(nn.Module):  # type: ignore[misc]
    """The module for a model of this configuration; embeddings and head are the model's, and not in it.

    Raises UserError where vLLM could not serve the layout beside such a model.
    """

    def __init__(self, config: Any, layout: Layout = "eagle") -> None:
        super().__init__()
        self.layout, self.config = layout, block_config(config, layout)
        hidden, eps = self.config.hidden_size, self.config.rms_norm_eps
        self.project = nn.Linear(2 * hidden, hidden, bias=False)
        self._rotary = [LlamaRotaryEmbedding(self.config)]  # in a list: a change of dtype must not reach its angles
        if layout == "eagle":
            self.block: nn.Module = LlamaDecoderLayer(self.config, 0)
            self.block.input_layernorm = nn.Identity()
            return
        self.block = Qwen2DecoderLayer(self.config, 0)
        self.hidden_norm, self.token_norm, self.final_norm = (LlamaRMSNorm(hidden, eps) for _ in range(3))

    @classmethod
    @torch.no_grad()  # type: ignore[untyped-decorator]
    def of(cls, model: Any, layout: Layout = "eagle") -> MtpModule:
        """A module for this model, in float32, that begins by passing its state on: the block adds nothing yet.

        The model's last block is no place to begin from: it adds at the scale of states that were not normed.
        """
        module = cls(model.config.get_text_config(), layout).float()
        size = module.config.hidden_size
        hidden = slice(size, None) if layout == "eagle" else slice(size)
        for name, weight in module.named_parameters():
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                weight.zero_()
        module.project.weight.normal_(std=0.1 * size**-0.5)
        module.project.weight[:, hidden].add_(torch.eye(size))
        if layout == "mimo":
            module.final_norm.weight.copy_(model.get_decoder().norm.weight)
        placed: MtpModule = module.to(model.device)
        return placed

    def forward(self, hidden: Tensor, embeddings: Tensor, positions: Tensor, mask: Any = None) -> Tensor:
        """One application.

        Args:
            hidden: (B, T, H), of the model or of the application before.
            embeddings: (B, T, H), of the token that follows: x_{t+k} at t.
            positions: (B, T), restarting where a packed document begins.
            mask: what `mask` made for these positions; without it, it is made.

        Returns:
            (B, T, H), for the model's head, and for the next application.
        """
        joined = self._joined(hidden, embeddings, positions)
        turned = self._rotary[0].to(device=joined.device)(joined, positions)
        if mask is None:
            mask = self.mask(joined, positions)
        out: Tensor = self.block(joined, attention_mask=mask, position_embeddings=turned, position_ids=positions)
        return out if self.layout == "eagle" else self.final_norm(out)

    def unrolled(self, hidden: Tensor, embeddings: Tensor, positions: Tensor, depth: int) -> Iterator[Tensor]:
        """`depth` applications to whole rows: the k-th gives (B, T-k, H), of which t predicts x_{t+k+1}.

        `hidden` (B, T, H) is the model's, `embeddings` (B, T, H) are those of the row's own tokens. Where t+k lies in
        the next packed document the row is meaningless, and so must not count; no meaningful one sees it.
        """
        for k in range(1, min(depth, hidden.shape[1] - 1) + 1):
            left = embeddings.shape[1] - k
            hidden = self(hidden[:, :left], embeddings[:, k:], positions[:, :left] + (k - 1))
            yield hidden

    def mask(self, like: Tensor, positions: Tensor) -> Any:
        """The causal mask for packed rows, as transformers' models make theirs."""
        return create_causal_mask(self.config, like, None, None, positions)

    def save(self, folder: Path, state: Mapping[str, Tensor] | None = None) -> None:
        """Write it into `folder`; `state` is its own by default, and whole where processes hold shards of it."""
        folder.mkdir(parents=True, exist_ok=True)
        about = {"layout": self.layout, "config": self.config.to_dict(), "type": type(self.config).__name__}
        whole = self.state_dict() if state is None else state
        save_file({name: tensor.contiguous() for name, tensor in whole.items()}, folder / _WEIGHTS)
        (folder / ABOUT).write_text(json.dumps(about, indent=1, default=str) + "\n", "utf-8")

    @classmethod
    def load(cls, folder: Path, dtype: torch.dtype | None = None) -> MtpModule:
        """What `save` wrote. Raises UserError where there is none."""
        try:
            about = json.loads((folder / ABOUT).read_text("utf-8"))
            weights = load_file(folder / _WEIGHTS)
        except (OSError, ValueError) as error:
            raise UserError(f"there is no MTP module in {folder} ({error}); train one with [model.mtp]") from None
        kind = Qwen2Config if about["type"] == "Qwen2Config" else LlamaConfig
        module = cls(kind(**about["config"]), about["layout"])
        module.load_state_dict(weights)
        module.to(dtype or next(iter(weights.values())).dtype)
        return module

    def _joined(self, hidden: Tensor, embeddings: Tensor, positions: Tensor) -> Tensor:
        if self.layout == "eagle":
            joined: Tensor = self.project(torch.cat([embeddings, hidden], -1))
            return joined
        known = embeddings.masked_fill(positions[..., None] == 0, 0)
        normed: Tensor = self.project(torch.cat([self.hidden_norm(hidden), self.token_norm(known)], -1))
        return normed


def block_config(config: Any, layout: Layout) -> Any:
    """The configuration of the module's one block, for a model of `config`.

    Raises:
        UserError: the layout is ``mimo``, and Qwen2's block is not of the model's shape.
    """
    shape = {name: getattr(config, name) for name in _SHAPE if getattr(config, name, None) is not None}
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    common = {"num_hidden_layers": 1, "tie_word_embeddings": bool(config.tie_word_embeddings)}
    if layout == "eagle":
        made: Any = LlamaConfig(**shape, **common, head_dim=head, attention_bias=False, mlp_bias=False)
    else:
        expect_mimo(config, head)
        made = Qwen2Config(**shape, **common, use_sliding_window=False)
    made._attn_implementation = getattr(config, "_attn_implementation", None) or "sdpa"  # noqa: SLF001 - read by masks
    return made


def expect_mimo(config: Any, head: int) -> None:
    """Raises UserError if vLLM's MiMo, a Qwen2 with MTP, cannot hold a model of this configuration."""
    plain = config.model_type in ("llama", "qwen2") and not getattr(config, "mlp_bias", False)
    biased = config.model_type == "llama" and getattr(config, "attention_bias", False)
    if not plain or biased or head * config.num_attention_heads != config.hidden_size:
        raise UserError(f"a {config.model_type} model of this shape cannot have the layout mimo; set it to eagle")


@contextmanager
def before_norm(model: Any) -> Iterator[list[Tensor]]:
    """Keeps what enters the model's final norm, (B, T, H) a forward pass: the state that ``mimo`` begins with."""
    kept: list[Tensor] = []
    hook = model.get_decoder().norm.register_forward_pre_hook(lambda _, given: kept.append(given[0]))
    try:
        yield kept
    finally:
        hook.remove()
