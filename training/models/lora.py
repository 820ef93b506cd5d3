"""Low-rank adapters by peft, of the kinds that vLLM serves."""

from __future__ import annotations

from typing import Any

from assistant.errors import UserError
from training.settings import Lora

RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""What vLLM takes as --max-lora-rank; an adapter of another rank is served with the next higher one's memory."""
_NEVER = ("lm_head", "embed_tokens")
"""vLLM serves no adapters of these."""


def adapted(model: Any, lora: Lora) -> Any:
    """The model with a fresh adapter on it, which changes nothing yet; only the adapter is trained.

    The adapter has the model's dtype; its fp32 masters are `masters.Masters`'.

    Raises:
        UserError: vLLM would not serve it, or the model has no modules of the names in `lora.targets`.
    """
    from peft import LoraConfig, get_peft_model

    expect_served(lora)
    targets = lora.targets if isinstance(lora.targets, str) else list(lora.targets)
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=targets,
        bias="none",
        task_type="CAUSAL_LM",
    )
    try:
        return get_peft_model(model, config, autocast_adapter_dtype=False)
    except ValueError as error:
        raise UserError(f"the adapter's targets do not suit the model: {' '.join(str(error).split())[:200]}") from None


def expect_served(lora: Lora) -> None:
    """Raises UserError if vLLM would not serve such an adapter."""
    if lora.rank not in RANKS:
        above = next((rank for rank in RANKS if rank > lora.rank), RANKS[-1])
        raise UserError(f"vLLM serves no adapters of rank {lora.rank}; set model.lora.rank = {above}")
    named = (lora.targets,) if isinstance(lora.targets, str) else lora.targets
    if bad := [name for name in named if name.rpartition(".")[2] in _NEVER]:
        raise UserError(f"vLLM serves no adapters of {bad[0]}; leave it out of model.lora.targets")


def is_adapted(model: Any) -> bool:
    """Whether an adapter is on the model."""
    return hasattr(model, "peft_config")
