"""How tokens are drawn: as the user says, else as the model's makers do, else as we do."""

from __future__ import annotations

from assistant.config import Settings
from model.catalog import known
from model.engine import Sampling

TOP_P = 0.95
"""As on HiPO's model card."""


def sampling_of(settings: Settings, model: str, temperature: float, reply_tokens: int) -> Sampling:
    """For a model of that name; `temperature` and `reply_tokens` count where neither user nor makers say anything."""
    entry = known(model, [own.entry() for own in settings.models])
    return Sampling(
        temperature=_first(settings.temperature, entry.temperature if entry else None, temperature),
        top_p=_first(settings.top_p, entry.top_p if entry else None, TOP_P),
        max_tokens=settings.max_tokens or reply_tokens,
        seed=settings.seed,
    )


def _first(asked: float | None, makers: float | None, ours: float) -> float:
    return next(value for value in (asked, makers, ours) if value is not None)
