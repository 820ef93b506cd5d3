"""Which engine to use, and why."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from model.catalog import CATALOG
from model.engine import SILENCE, Engine, EngineError, EngineRefused, is_engine
from model.engines.transport import Patience, Transport
from model.pull import PullError, is_pulled, model_path, models_directory


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


async def open_engine(
    spec: str | None,
    *,
    api_key: str | None = None,
    dialect: str | None = None,
    model: str | None = None,
    silence: float = SILENCE,
    environ: Mapping[str, str],
    probe_timeout: float = 0.3,
    candidates: Sequence[Candidate] = CANDIDATES,
) -> Engine:
    """The engine that `spec` names: `embedded`, `http://host:port[/v1]`, `unix:/path`.

    With None it is the first of `candidates` that answers, else the embedded one. `EngineInfo.why` says the reason.
    `probe_timeout`, and `silence` within a stream, are in seconds. Raises `EngineUnreachable` or `EngineRefused`.
    """
    server = _Server(api_key, dialect, model, silence)
    match spec:
        case None:
            pass
        case "embedded":
            return await _reached(_embedded(environ, dialect, "you asked for it"))
        case _ if is_engine(spec):
            return await server.reached(spec, "you asked for it")
        case _:
            raise EngineRefused(f"{spec!r} is no engine; write embedded, http://host:port or unix:/path")
    found = await _first_that_answers(candidates, api_key, probe_timeout)
    if found:
        return await server.reached(found.url, f"{found.title} answers on this machine")
    return await _reached(_embedded(environ, dialect, "no model server answers on this machine"))


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


def _embedded(environ: Mapping[str, str], dialect: str | None, why: str) -> Engine:
    from model.engines.embedded import EmbeddedEngine

    entry, folder = CATALOG[NANO], models_directory(environ)
    if not is_pulled(entry, folder):
        raise PullError(f"{why}, but its model is not on this machine yet; fetch it with: kat models pull {NANO}")
    return EmbeddedEngine(
        model_path(entry, folder),
        context=entry.context,
        dialect=dialect or entry.dialect,
        model=entry.title,
        why=why,
    )


async def _reached(engine: Engine) -> Engine:
    try:
        await engine.info()
    except BaseException:
        await engine.aclose()
        raise
    return engine
