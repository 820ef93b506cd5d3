"""Lengths in tokens where no tokenizer is at hand."""

from __future__ import annotations

PER_TOKEN = 4
"""Characters a token takes, roughly, in English and code; our choice, to be read as a size and not as a count."""
