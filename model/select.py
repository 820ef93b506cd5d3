"""Which engine to use, and why."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from model.catalog import CATALOG, CatalogEntry, known
from model.engine import SILENCE, Engine, EngineError, EngineRefused, is_engine
from model.engines.transport import Patience, Transport
from model.pull import PullError, is_pulled, model_path, models_directory
from model.serving.adapter_files import newest
from model.serving.supervision.health import models
from model.serving.supervision.running import Running, at, servers, servers_directory


@dataclass(frozen=True, slots=True)
class Candidate:
    """A server that may run on this machine."""

    title: str
    url: str


CANDIDATES = (
    Candidate("vLLM", "http://127.0.0.1:8000"),
    Candidate("SGLang", "http://127.0.0.1:30000"),
    Candidate("llama-server", "http://127.0.0.1:8080"),
    Candidate("Ollama", "http://127.0.0.1:11434"),
    Candidate("LM Studio", "http://127.0.0.1:1234"),
)
NANO = "nano"
_OURS = 2.0
"""Seconds that a server which we know is there may take to say what it serves, at least: a busy one is slow."""


async def open_engine(
    spec: str | None,
    *,
    api_key: str | None = None,
    dialect: str | None = None,
    model: str | None = None,
    adapter: Path | None = None,
    silence: float = SILENCE,
    hold: bool = False,
    environ: Mapping[str, str],
    probe_timeout: float = 0.3,
    candidates: Sequence[Candidate] = CANDIDATES,
) -> Engine:
    """The engine that `spec` names: `embedded`, `http://host:port[/v1]`, `unix:/path`, `torch:MODEL`.

    With None it is what `kat serve` runs here, else the first of `candidates` that answers, else the embedded one.
    `EngineInfo.why` says the reason. A server of ours gets its own key where none is given. `hold` is of servers:
    replies are held to KAT's format by a grammar. `adapter` is for engines in this process, so that with it and without
    a `spec` the embedded one is taken: a GGUF file for that, a folder that peft saved for torch.
    `probe_timeout`, and `silence` within a stream, are in seconds. Raises `EngineUnreachable` or `EngineRefused`.
    """
    server = _Server(api_key, dialect, model, silence, hold)
    match spec:
        case None if adapter:
            return await _reached(_embedded(environ, dialect, "its adapter was named", adapter))
        case None:
            pass
        case "embedded":
            return await _reached(_embedded(environ, dialect, "you asked for it", adapter))
        case _ if spec.startswith("torch:"):
            return await _reached(_torch(spec, environ, dialect, hold, adapter))
        case _ if is_engine(spec) and adapter:
            raise EngineRefused("a server loads its adapters itself: kat serve adapters load NAME=PATH")
        case _ if is_engine(spec):
            return await server.knowing(at(servers_directory(environ), spec)).reached(spec, "you asked for it")
        case _:
            raise EngineRefused(f"{spec!r} is no engine; write embedded, http://host:port, unix:/path or torch:MODEL")
    if ours := await _served(environ, model, probe_timeout):
        return await server.knowing(ours).reached(ours.address, f"`kat serve` runs {ours.name} on this machine")
    found = await _first_that_answers(candidates, api_key, probe_timeout)
    if found:
        return await server.reached(found.url, f"{found.title} answers on this machine")
    return await _reached(_embedded(environ, dialect, _none_answers(environ)))


async def _served(environ: Mapping[str, str], model: str | None, seconds: float) -> Running | None:
    """The server of ours that was started last and answers; with `model`, of those that serve it."""
    for running in servers(servers_directory(environ)):
        if running.is_ready and (names := await models(running.endpoint, max(seconds, _OURS))) and _has(names, model):
            return running
    return None


def _none_answers(environ: Mapping[str, str]) -> str:
    """Why the embedded engine is taken; one who has just started a large model should not wonder."""
    none = "no model server answers on this machine"
    late = next((one for one in servers(servers_directory(environ)) if not one.is_ready), None)
    return f"{none} (`kat serve` has {late.name} at: {late.stage})" if late else none


def _has(names: Sequence[str], model: str | None) -> bool:
    """Whether the model, or a version of the adapter, of that name is among them."""
    return model is None or model in names or newest(names, model) is not None


async def _first_that_answers(candidates: Sequence[Candidate], api_key: str | None, seconds: float) -> Candidate | None:
    answers = await asyncio.gather(*(_answers(candidate.url, api_key, seconds) for candidate in candidates))
    return next((candidate for candidate, yes in zip(candidates, answers, strict=True) if yes), None)


async def _answers(url: str, api_key: str | None, seconds: float) -> bool:
    """Whether a model server that has a model answers there, and accepts the key."""
    transport = Transport(url, api_key, Patience(silence=seconds, retries=0))
    try:
        async with asyncio.timeout(seconds):
            data = (await transport.get_json("/v1/models")).get("data")
    except (EngineError, TimeoutError):
        return False
    finally:
        await transport.aclose()
    return isinstance(data, list) and bool(data)


@dataclass(frozen=True, slots=True)
class _Server:
    """How servers are spoken to, whichever it will be."""

    api_key: str | None
    dialect: str | None
    model: str | None
    silence: float
    hold: bool = False

    def knowing(self, running: Running | None) -> _Server:
        """The same with what is known of a server of ours, where the user said nothing else."""
        if running is None:
            return self
        key, dialect = self.api_key or running.endpoint.key, self.dialect or running.dialect
        return replace(self, api_key=key, dialect=dialect)

    async def reached(self, url: str, why: str) -> Engine:
        """The engine for a server that answers: by its completions, or by chat where it has no other."""
        from model.engines.chat import ChatEngine
        from model.engines.http import HttpEngine

        engine = HttpEngine(url, **asdict(self), why=why)
        try:
            if await engine.has_completions():
                return engine
        except BaseException:
            await engine.aclose()
            raise
        await engine.aclose()
        return await _reached(ChatEngine(url, **asdict(self), why=f"{why}; it only chats"))


def _embedded(environ: Mapping[str, str], dialect: str | None, why: str, adapter: Path | None = None) -> Engine:
    from model.engines.embedded import EmbeddedEngine

    _expect_gguf(adapter)
    entry, folder = CATALOG[NANO], models_directory(environ)
    if not is_pulled(entry, folder):
        raise PullError(f"{why}, but its model is not on this machine yet; fetch it with: kat models pull {NANO}")
    return EmbeddedEngine(
        model_path(entry, folder),
        context=entry.context,
        lora=adapter,
        dialect=dialect or entry.dialect,
        model=entry.title,
        why=why,
    )


def _expect_gguf(adapter: Path | None) -> None:
    """Raises EngineRefused if llama.cpp cannot take it."""
    if adapter is None:
        return
    if adapter.is_dir():
        raise EngineRefused(f"{adapter} is an adapter for torch; name its GGUF file, which kat train export makes")
    if not adapter.is_file():
        raise EngineRefused(f"there is no adapter {adapter}; name a GGUF file, as kat train export makes it")


def _torch(
    spec: str, environ: Mapping[str, str], dialect: str | None, hold: bool, adapter: Path | None = None
) -> Engine:
    """By a name of the catalogue, else a folder, a GGUF file or a hub id."""
    from model.engines.torch import TorchEngine

    name = spec.removeprefix("torch:")
    entry = known(name)
    spoken = dialect or (entry.dialect if entry else None)
    source = _weights(entry, environ) if entry else name
    return TorchEngine(source, adapter=adapter, dialect=spoken, hold=hold or None, why="you asked for it")


def _weights(entry: CatalogEntry, environ: Mapping[str, str]) -> str:
    """What transformers loads: the files that were fetched, else the name on the hub."""
    if not entry.files:
        return entry.source
    folder = models_directory(environ)
    if not is_pulled(entry, folder):
        raise PullError(f"{entry.title} is not on this machine yet; fetch it with: kat models pull {entry.name}")
    return str(model_path(entry, folder))


async def _reached(engine: Engine) -> Engine:
    try:
        await engine.info()
    except BaseException:
        await engine.aclose()
        raise
    return engine
