"""LoRA adapters of a server that runs: vLLM loads and unloads them by name while it serves.

vLLM keys its prefix cache by the adapter's name (since 0.32 also by its path), so other weights under a name that was
used before would be served stale blocks. Every name therefore carries a version, `NAME@VERSION`, made from the
adapter's bytes; whoever asks for `NAME` gets its newest version.
"""

from __future__ import annotations

import asyncio
import importlib.util
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model.engine import EngineError, EngineRefused
from model.engines.transport import NotServed, Patience, Transport
from model.serving.adapter_files import (
    SEPARATOR,
    AdapterError,
    AdapterFiles,
    expect_fits,
    read_adapter,
    served_name,
    too_high,
)
from model.serving.logprobs import Agreement, Scorer, ServerScorer, agreement

if TYPE_CHECKING:
    from model.engines.torch import TorchEngine

PROBE = (
    "def limit(values, most):\n    return [min(value, most) for value in values]\n\n"
    "The function keeps every value under the limit, and the order of the list stays the same. "
)
"""What engines are compared on: code and prose, some forty tokens; our choice."""
REFERENCE_BYTES = 2 << 30
"""The largest weights that are loaded a second time to compare with; our choice, some seconds on a CPU."""
_RANKS = re.compile(r"LoRA rank (\d+) is greater than max_lora_rank (\d+)")
_LOADING = 600.0
"""Seconds that a server may take to read an adapter; our choice."""


@dataclass(frozen=True, slots=True)
class Adapter:
    """An adapter that a server has: `name` as the user knows it, `served` as requests name it.

    `path` is where the server reads it, `base` what the server calls the base model.
    """

    name: str
    served: str
    path: str
    base: str

    @property
    def version(self) -> str:
        """What tells it from others of the same name; empty where it was loaded by somebody else."""
        return self.served.partition(SEPARATOR)[2]


async def list_adapters(address: str, api_key: str | None) -> tuple[Adapter, ...]:
    """The adapters of a server, in the order of their loading. Raises `EngineError`."""
    async with _server(address, api_key) as server:
        return await server.adapters()


async def load(address: str, api_key: str | None, name: str, path: Path, *, max_rank: int | None = None) -> Adapter:
    """Load the adapter in the folder `path`, which the server reads itself; at once if it has it already.

    `max_rank` is the server's largest rank where it is known. Raises `AdapterError`, `EngineError`.
    """
    files = await asyncio.to_thread(read_adapter, path)
    async with _server(address, api_key) as server:
        return await server.load(name, files, max_rank)


async def unload(address: str, api_key: str | None, name: str) -> tuple[Adapter, ...]:
    """Unload all versions of `NAME`, or the one of `NAME@VERSION`, and return them. Raises `EngineError`."""
    async with _server(address, api_key) as server:
        there = await server.adapters()
        found = _called(there, name)
        if not found:
            have = ", ".join(adapter.served for adapter in there) or "none"
            raise AdapterError(f"{address} has no adapter {name!r}; it has {have}")
        for adapter in found:
            await server.unload(adapter)
        return found


async def replace(address: str, api_key: str | None, name: str, path: Path, *, max_rank: int | None = None) -> Adapter:
    """Load the adapter in `path`, then unload all other versions of `name`, so that there is always one.

    Raises as `load` does; the old versions are then still there.
    """
    new = await load(address, api_key, name, path, max_rank=max_rank)
    async with _server(address, api_key) as server:
        for adapter in _called(await server.adapters(), name):
            if adapter.served != new.served:
                await server.unload(adapter)
    return new


async def compare(
    address: str, api_key: str | None, adapter: Adapter, *, reference: Scorer | None = None, text: str = PROBE
) -> Agreement:
    """Whether the server really uses the adapter, by the log-probabilities of `text`.

    They must differ from those of its own base model, which proves that the adapter is active; and they must agree with
    those of a `reference` that has the same base model and adapter, where there is one. Raises `EngineError`.
    """
    async with _server(address, api_key) as server:
        here = ServerScorer(server.transport, adapter.served)
        ids = await here.encode(text)
        found, base = await here.logprobs(ids), ServerScorer(server.transport, adapter.base)
        moved = agreement(found, await base.logprobs(ids), "base")
        if reference is None or not moved.ok:
            return moved
        return agreement(found, await reference.logprobs(ids))


async def prove(address: str, api_key: str | None, adapter: Adapter) -> Agreement:
    """`compare`, with a reference in this process where torch is installed and the weights lie here and are small.

    For adapters that only the server can read there is no reference. To load it takes seconds.
    Raises `EngineError`.
    """
    async with _server(address, api_key) as server:
        root = await server.root()
    reference = _reference(root, adapter)
    try:
        return await compare(address, api_key, adapter, reference=reference)
    finally:
        if reference:
            await reference.aclose()


def _reference(root: str, adapter: Adapter) -> TorchEngine | None:
    from model.engines.torch import TorchEngine

    weights = sum(file.stat().st_size for file in Path(root).glob("*.safetensors")) if root else 0
    there = all(map(importlib.util.find_spec, ("torch", "transformers", "peft"))) and Path(adapter.path).is_dir()
    if not there or not 0 < weights <= REFERENCE_BYTES:
        return None
    return TorchEngine(root, adapter=Path(adapter.path), device_map="cpu")  # the server has the GPUs' memory


@asynccontextmanager
async def _server(address: str, api_key: str | None) -> AsyncIterator[_Server]:
    transport = Transport(address, api_key, Patience(silence=_LOADING, retries=0))
    try:
        yield _Server(transport)
    finally:
        await transport.aclose()


@dataclass(frozen=True, slots=True)
class _Server:
    """The requests that adapters take."""

    transport: Transport

    async def adapters(self) -> tuple[Adapter, ...]:
        return tuple(_adapter(model) for model in await self._models() if model.get("parent"))

    async def load(self, name: str, files: AdapterFiles, max_rank: int | None) -> Adapter:
        base = await self._base()
        expect_fits(files, base.get("root"), max_rank)
        made = Adapter(name, served_name(name, files.version), str(files.folder), str(base["id"]))
        if made.served not in [adapter.served for adapter in await self.adapters()]:
            await self._ask("/v1/load_lora_adapter", {"lora_name": made.served, "lora_path": made.path})
        return made

    async def root(self) -> str:
        """Where the base model is: a folder of the server's machine, or a hub id; empty where it does not say."""
        return str((await self._base()).get("root") or "")

    async def unload(self, adapter: Adapter) -> None:
        await self._ask("/v1/unload_lora_adapter", {"lora_name": adapter.served})

    async def _base(self) -> Mapping[str, Any]:
        found = next((model for model in await self._models() if not model.get("parent")), None)
        if found is None:
            raise EngineRefused(f"{self.transport.name} serves no model; look at the server's log")
        return found

    async def _models(self) -> list[Mapping[str, Any]]:
        listed = (await self.transport.get_json("/v1/models")).get("data")
        models = listed if isinstance(listed, list) else []
        return [model for model in models if isinstance(model, dict) and model.get("id")]

    async def _ask(self, path: str, body: Mapping[str, Any]) -> None:
        try:
            await self.transport.post_text(path, body)
        except NotServed as error:
            if str(body["lora_name"]) in str(error):  # it knows the path, and not the adapter
                raise _failed(str(body["lora_name"]), str(error)) from error
            raise AdapterError(
                f"{self.transport.name} loads no adapters while it runs; "
                "start it with kat serve, or with --enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=1"
            ) from None
        except EngineError as error:
            raise _failed(str(body["lora_name"]), str(error)) from error


def _failed(name: str, said: str) -> AdapterError:
    """What a server says, in our words where it is known."""
    if found := _RANKS.search(said):
        return too_high(int(found[1]), int(found[2]))
    if "No adapter found" in said:
        return AdapterError(f"the server does not find {name}; name a folder that the server's machine has, too")
    return AdapterError(f"{name} could not be changed: {said}")


def _adapter(model: Mapping[str, Any]) -> Adapter:
    served = str(model["id"])
    return Adapter(served.partition(SEPARATOR)[0], served, str(model.get("root", "")), str(model["parent"]))


def _called(adapters: tuple[Adapter, ...], name: str) -> tuple[Adapter, ...]:
    return tuple(adapter for adapter in adapters if name in (adapter.name, adapter.served))
