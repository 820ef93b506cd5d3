"""TRL, imported without what it brings along: telemetry, notices, and all of vLLM where that is installed, which takes
nearly as long as TRL itself; rollouts never go through TRL's own."""

from __future__ import annotations

import os
from importlib import import_module

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # both are read when TRL is imported
os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
import_module("trl.import_utils").is_vllm_available = lambda min_version=None: False  # type: ignore[attr-defined]

GRPOConfig, GRPOTrainer = (getattr(import_module("trl"), name) for name in ("GRPOConfig", "GRPOTrainer"))
