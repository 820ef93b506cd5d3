"""The dialects by name, and which of them a model speaks."""

from __future__ import annotations

from model.dialects.kat import KatDialect
from model.dialects.qwen3 import Qwen3Dialect
from model.dialects.qwen3_coder import Qwen3CoderDialect
from model.prompt import Dialect

DIALECTS: dict[str, Dialect] = {d.name: d for d in (KatDialect(), Qwen3CoderDialect(), Qwen3Dialect())}


def dialect(name: str) -> Dialect:
    """The dialect of that name.

    Raises:
        ValueError: no dialect has the name; the message lists those that exist.
    """
    try:
        return DIALECTS[name]
    except KeyError:
        raise ValueError(f"no dialect {name!r}; there are {', '.join(DIALECTS)}") from None


def dialect_of_model(model: str) -> str:
    """The dialect that a model of this name most likely speaks (our choice, by the names in use)."""
    name = model.lower()
    if any(word in name for word in ("kat-dev", "kat_dev", "kat-coder", "qwen3-coder", "qwen3_coder")):
        return "qwen3_coder"
    if any(word in name for word in ("kat-v1", "kat_v1", "hipo", "kat-nano", "scripted-kat")):
        return "kat"
    return "qwen3"
