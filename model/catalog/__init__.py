"""The models that are known by name: what they are, and where their files come from."""

from __future__ import annotations

from model.catalog.entry import CatalogEntry, HubSource, ModelFile, Source, WheelSource
from model.catalog.hub import cached_config, described
from model.catalog.known import CATALOG
from model.catalog.resolving import UNKNOWN_CONTEXT, catalog_entry, completed, known, parameters_of, resolve

__all__ = [
    "CATALOG",
    "UNKNOWN_CONTEXT",
    "CatalogEntry",
    "HubSource",
    "ModelFile",
    "Source",
    "WheelSource",
    "cached_config",
    "catalog_entry",
    "completed",
    "described",
    "known",
    "parameters_of",
    "resolve",
]
