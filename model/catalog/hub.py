"""The config.json of a model on a hub: from the cache that hub clients keep, else from the hub itself."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from model.catalog.entry import CatalogEntry
from model.catalog.resolving import with_config

HUB = "https://huggingface.co"
_SECONDS = 4.0
_MOST = 1 << 20
"""Bytes; no config.json is nearly as large."""


def described(entry: CatalogEntry, environ: Mapping[str, str] = os.environ) -> CatalogEntry:
    """An entry with its shape, if it has only a name on a hub that the cache or the hub knows; else as it is."""
    if entry.architecture is not None or entry.repository is None:
        return entry
    config = cached_config(entry.repository, environ) or _fetched(entry.repository, environ)
    try:
        return with_config(entry, config) if config else entry
    except ValueError:
        return entry


def cached_config(repository: str, environ: Mapping[str, str] = os.environ) -> dict[str, Any] | None:
    """The config.json of the newest copy in the hub's cache."""
    home = environ.get("HF_HOME") or str(Path.home() / ".cache" / "huggingface")
    folder = Path(environ.get("HF_HUB_CACHE") or Path(home) / "hub") / f"models--{repository.replace('/', '--')}"
    try:
        newest = max(folder.glob("snapshots/*/config.json"), key=lambda path: path.stat().st_mtime, default=None)
        return _object(newest.read_bytes()) if newest else None
    except OSError:
        return None


def _fetched(repository: str, environ: Mapping[str, str]) -> dict[str, Any] | None:
    if environ.get("HF_HUB_OFFLINE", "0").lower() in ("1", "true", "yes", "on"):
        return None
    import httpx2

    address = (environ.get("HF_ENDPOINT") or HUB).rstrip("/")
    token = environ.get("HF_TOKEN")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    url = f"{address}/{repository}/resolve/main/config.json"
    try:
        with httpx2.stream("GET", url, headers=headers, timeout=_SECONDS, follow_redirects=True) as answer:
            if answer.status_code != 200:
                return None
            text = b""
            for block in answer.iter_bytes():
                text += block
                if len(text) > _MOST:
                    return None
    except (httpx2.HTTPError, httpx2.InvalidURL, ValueError):
        return None
    return _object(text)


def _object(text: bytes) -> dict[str, Any] | None:
    try:
        return dict(json.loads(text))
    except (TypeError, ValueError, RecursionError):
        return None
