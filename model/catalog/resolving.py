"""From what a user types to a model: a name of the catalogue, a name on a model hub, or files on this machine."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from model.architecture import Architecture, architecture_of, read_config
from model.catalog.entry import CatalogEntry
from model.catalog.gguf import gguf_architecture
from model.catalog.known import CATALOG

UNKNOWN_CONTEXT = 32_768
"""Tokens of context of a model whose own limit is unknown; our choice."""
_SIZE = re.compile(r"(?<![a-z0-9.])(\d{1,5}(?:\.\d{1,3})?)([mb])(?![a-z0-9])", re.IGNORECASE)
_UNITS = {"m": 1_000_000, "b": 1_000_000_000}
"""Sizes in names are written as in 135M, 0.5B or 32b."""
_COMPRESSED = {"int 4": "int4", "int 8": "int8", "float 8": "fp8"}
_BY_NAME = "by its name"
_OURS = "our choice, its own limit is not known"
_HUB = re.compile(r"[\w.-]+/[\w.-]+")


def catalog_entry(name: str) -> CatalogEntry:
    """The model of that name.

    Raises:
        ValueError: no model has the name; the message lists those that exist.
    """
    try:
        return CATALOG[name]
    except KeyError:
        raise ValueError(f"no model {name!r} in the catalogue; there are {', '.join(CATALOG)}") from None


def known(name: str, user_entries: Sequence[CatalogEntry] = ()) -> CatalogEntry | None:
    """The model that has this name in any case, an alias of it or its name on the hub; the user's own come first."""
    wanted = name.casefold()
    entries = (*user_entries, *CATALOG.values())
    return next((entry for entry in entries if wanted in map(str.casefold, (*entry.names, entry.title))), None)


def resolve(name: str, user_entries: Sequence[CatalogEntry] = ()) -> CatalogEntry:
    """The model that a user means: by a name of the catalogue, `ORGANISATION/NAME` on a hub, a folder or a GGUF file.

    Raises:
        ValueError: there is no such model; one sentence that names the nearest.
    """
    if entry := known(name, user_entries):
        return completed(entry)
    if path := _path(name):
        return _local(path)
    if _HUB.fullmatch(name):
        return _on_hub(name)
    names = [each for entry in (*user_entries, *CATALOG.values()) for each in entry.names]
    folded = {each.casefold(): each for each in names}
    near = difflib.get_close_matches(name.casefold(), folded, 1)
    hint = f"did you mean {folded[near[0]]!r}?" if near else f"there are {', '.join(CATALOG)}"
    raise ValueError(f"no model {name!r}; {hint} (a folder, a GGUF file or ORGANISATION/NAME will do too)")


def completed(entry: CatalogEntry) -> CatalogEntry:
    """An entry with what its files say of it, where it has a path and does not say it itself.

    Raises:
        ValueError: the path holds no model.
    """
    if entry.path is None or entry.architecture is not None:
        return entry
    found = _local(entry.path)
    return replace(
        entry,
        architecture=found.architecture,
        parameters=entry.parameters or found.parameters,
        quantization=entry.quantization or found.quantization,
        context=found.context if "context" in entry.assumed else entry.context,
        assumed={**{key: why for key, why in entry.assumed.items() if key != "context"}, **found.assumed},
    )


def parameters_of(model: str) -> int | None:
    """How many parameters a model has: by the catalogue, else by the largest size in its name, else None."""
    entry = known(model)
    named = [round(float(number) * _UNITS[unit.lower()]) for number, unit in _SIZE.findall(model)]
    return (entry.parameters if entry else None) or max(named, default=None)


def _path(name: str) -> Path | None:
    """The place that a name means, if it looks like one or is there."""
    try:
        path = Path(name).expanduser()
        return path if name.startswith((".", "/", "~")) or name.endswith(".gguf") or path.exists() else None
    except (OSError, RuntimeError, ValueError):
        return None


def _on_hub(repository: str) -> CatalogEntry:
    name = repository.partition("/")[2]
    return CatalogEntry(
        name,
        name,
        _dialect(name),
        UNKNOWN_CONTEXT,
        None,
        parameters=parameters_of(name),
        repository=repository,
        quantization=_packed(name),
        assumed=dict.fromkeys(("dialect", "parameters", "quantization"), _BY_NAME) | {"context": _OURS},
    )


def _local(path: Path) -> CatalogEntry:
    if path.is_dir():
        return _folder(path.resolve())
    if not path.is_file():
        raise ValueError(f"there is no {path}; name a folder with config.json, a GGUF file or a model of the catalogue")
    if path.suffix != ".gguf":
        raise ValueError(f"{path} is neither a folder with config.json nor a GGUF file")
    name, shape = path.stem, gguf_architecture(path)
    return CatalogEntry(
        name, name, _dialect(name), shape.context, None, parameters=parameters_of(name) or shape.parameters,
        path=path.resolve(), architecture=shape, quantization="gguf", assumed={"dialect": _BY_NAME},
    )  # fmt: skip


def _folder(path: Path) -> CatalogEntry:
    entry = CatalogEntry(
        path.name, path.name, _dialect(path.name), UNKNOWN_CONTEXT, None, path=path,
        assumed={"dialect": _BY_NAME, "context": _OURS},
    )  # fmt: skip
    try:
        return with_config(entry, read_config(path))
    except ValueError as error:
        raise ValueError(f"{path} cannot be used: {error}") from None


def with_config(entry: CatalogEntry, config: dict[str, Any]) -> CatalogEntry:
    """An entry with what a config.json says of the model.

    Raises:
        ValueError: the config lacks something; one sentence.
    """
    shape = architecture_of(config)
    ours = "context" in entry.assumed
    return replace(
        entry,
        architecture=shape,
        parameters=shape.parameters,
        quantization=_quantization(config) or entry.quantization,
        context=shape.context if ours else entry.context,
        assumed={key: why for key, why in entry.assumed.items() if key == "dialect"} | _estimated(shape),
    )


def _estimated(shape: Architecture) -> dict[str, str]:
    return {} if shape.exact else {"architecture": f"{shape.model_class} is counted like Llama, an estimate"}


def _dialect(name: str) -> str:
    from model.dialects import dialect_of_model

    return dialect_of_model(name)


def _quantization(config: dict[str, Any]) -> str | None:
    """How the files are packed, by the config's own word for it."""
    packed = config.get("quantization_config")
    if not isinstance(packed, dict):
        return None
    method, bits = packed.get("quant_method"), packed.get("bits")
    if method == "compressed-tensors":
        return _compressed(packed.get("config_groups")) or method
    return "int8" if bits == 8 and method in ("awq", "gptq") else str(method) if isinstance(method, str) else None


def _compressed(groups: object) -> str | None:
    """The packing of files in the compressed-tensors format, if all their layers have the same."""
    weights = [group.get("weights") for group in groups.values()] if isinstance(groups, dict) else []
    kinds = {f"{each.get('type')} {each.get('num_bits')}" for each in weights if isinstance(each, dict)}
    return _COMPRESSED.get(kinds.pop()) if len(kinds) == 1 else None


def _packed(name: str) -> str | None:
    """How a model's files are packed, by the words that makers put into names."""
    words = set(re.split(r"[^a-z0-9]+", name.casefold()))
    return next((kind for kind in ("awq", "gptq", "fp8", "gguf", "int8") if kind in words), None)
