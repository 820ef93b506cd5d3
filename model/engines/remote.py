"""What all engines behind a server share: which model answers, in which dialect, and how a stream ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Any, ClassVar

from model.dialects import dialect_of_model
from model.engine import (
    SILENCE,
    Delta,
    EngineError,
    EngineInfo,
    EngineRefused,
    EngineUnreachable,
    Finish,
    Sampling,
    Usage,
)
from model.engines.choices import FINISH
from model.engines.transport import NotServed, Patience, StreamBroken, Transport
from model.prompt import Prompt
from model.serving.adapter_files import SEPARATOR, newest
from model.surrogates import replace_surrogates
from model.tokens import FileTokenizer

END_OF_TURN = ("<|im_end|>", "<|endoftext|>")
_BATCHING = frozenset({"vllm", "sglang"})
"""Programs that batch whatever comes at once, by what they call the owner of their models."""


class RemoteEngine:
    """An engine at `http://host:port[/v1]` or `unix:/path`.

    `model` and `dialect` are asked of the server where they are not given. `tokenizer` is a tokenizer.json; with it
    prompts are sent as token ids where the protocol can. `hold` asks a server that can to hold replies to KAT's format
    by a grammar, for models that never learned it. `silence` is in seconds without a byte; the first of `retries`
    attempts comes after `backoff` seconds, each next one after twice as long.
    """

    continues: ClassVar[bool] = True

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str | None = None,
        model: str | None = None,
        dialect: str | None = None,
        tokenizer: Path | None = None,
        hold: bool = False,
        silence: float = SILENCE,
        retries: int = 4,
        backoff: float = 0.5,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        why: str = "",
    ) -> None:
        self._transport = Transport(base_url, api_key, Patience(silence, retries, backoff, sleep))
        self._model, self._dialect, self._why = model, dialect, why
        self._tokenizer = FileTokenizer(tokenizer) if tokenizer else None
        self._info: EngineInfo | None = None
        self._program, self._hold = "", hold
        self._counts = True

    @property
    def transport(self) -> Transport:
        """The way to the server, for what is no reply: metrics, templates."""
        return self._transport

    @property
    def program(self) -> str:
        """What the server says that it is (`vllm`, `sglang`, `llamacpp`, `library` is Ollama); empty before `info`."""
        return self._program

    async def info(self) -> EngineInfo:
        """Ask the server which models it has; the answer is kept."""
        if self._info is None:
            self._info = await self._ask()
        return self._info

    async def target(self) -> str:
        """The model to name in a request; one that was given is taken at its word, so that a reply can be retried."""
        if self._info is None and self._model:
            return self._model
        return (await self.info()).model

    async def renamed(self) -> bool:
        """Ask again which models there are: whether the user's name now means another version of an adapter."""
        known = self._info.model if self._info else self._model
        if known == self._model:
            return False
        self._info = None
        return (await self.info()).model != known

    async def count(self, prompt: Prompt) -> int | None:
        """Tokens by the given tokenizer, else by the server's, else None."""
        if self._tokenizer:
            return len(prompt.token_ids(self._tokenizer))
        if not self._counts:
            return None
        try:
            answer = await self._transport.post_json("/tokenize", _tokenize(await self.target(), prompt.text))
        except EngineUnreachable:
            return None
        except EngineError:
            self._counts = False
            return None
        return _counted(answer)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._transport.aclose()

    async def _ask(self) -> EngineInfo:
        name = self._transport.name
        try:
            listed = (await self._transport.get_json("/v1/models")).get("data")
        except NotServed:
            listed = None
        models = [m for m in listed if isinstance(m, dict) and m.get("id")] if isinstance(listed, list) else []
        found = _pick(models, self._model)
        if found is None and self._model and models:
            there = ", ".join(str(m["id"]) for m in models)
            raise EngineRefused(f"{name} has no model {self._model!r}; it serves {there}")
        model = _named(found, self._model)
        if not model:
            raise EngineRefused(f"{name} lists no model; load one there, or name one with --model")
        self._program = str((found or {}).get("owned_by", ""))
        dialect, batches = self._dialect or dialect_of_model(_base(found, model)), self._program in _BATCHING
        return EngineInfo(name, model, dialect, _context(found or {}), self._why, self.continues, batches)


def _base(found: Mapping[str, Any] | None, model: str) -> str:
    """What speaks the dialect: the model, or the one under an adapter."""
    return str((found or {}).get("parent") or model)


Reader = Callable[[Mapping[str, Any]], str]
Closer = Callable[[bool], str]
"""The text still to come at the end of a stream, told whether the reply is done."""


async def deltas(
    transport: Transport, path: str, body: Mapping[str, Any], read: Reader, close: Closer
) -> AsyncGenerator[Delta, None]:
    """A server's events as deltas, `read` taking the text out of a choice; the last one tells how it ended.

    Raises `EngineError` before the first delta only.
    """
    state = _Progress()
    try:
        async with aclosing(transport.events(path, body)) as events:
            async for delta in _texts(events, state, read):
                yield delta
        rest = replace_surrogates(close(state.finish is Finish.STOP))
        yield Delta(rest, 0, state.finish or Finish.CUT, state.usage, _unfinished(transport.name, state))
    except StreamBroken as error:
        yield Delta(replace_surrogates(close(False)), 0, Finish.CUT, state.usage, str(error), lost=True)


class _Progress:
    """What is known of a stream so far."""

    def __init__(self) -> None:
        self.finish: Finish | None = None
        self.usage: Usage | None = None
        self.reason = ""

    def take(self, event: Mapping[str, Any]) -> int | None:
        """Note usage and finish; the tokens that the event adds, or None where it does not say."""
        before = self.usage.completion if self.usage else 0
        usage = usage_of(event)
        self.usage = usage or self.usage
        return max(0, usage.completion - before) if usage else None

    def end(self, reason: object) -> None:
        """Note the reason that a choice gives for its end."""
        if reason is None:
            return
        self.reason = str(reason)
        self.finish = FINISH.get(self.reason, Finish.CUT)


async def _texts(events: AsyncIterator[dict[str, Any]], state: _Progress, read: Reader) -> AsyncIterator[Delta]:
    tokens = 0
    async for event in events:
        counted = state.take(event)
        choices = event.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices else None
        if not isinstance(choice, dict):
            continue
        text = replace_surrogates(read(choice))
        state.end(choice.get("finish_reason"))
        tokens += counted if counted is not None else int(bool(text))
        if text:
            yield Delta(text, tokens, usage=state.usage if counted is not None else None)
            tokens = 0


def _unfinished(name: str, state: _Progress) -> str | None:
    if state.finish is None:
        return f"{name} ended the reply without saying that it was over; what came is kept"
    if state.finish is Finish.CUT:
        return f"{name} ended the reply early ({state.reason}); what came is kept"
    return None


def sampling_body(sampling: Sampling) -> dict[str, Any]:
    """The part of a request that both protocols share."""
    body: dict[str, Any] = {
        "stream": True,
        "stream_options": {"include_usage": True, "continuous_usage_stats": True},
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "max_tokens": sampling.max_tokens,
    }
    if sampling.seed is not None:
        body["seed"] = sampling.seed
    return body


def usage_of(event: Mapping[str, Any]) -> Usage | None:
    """The tokens that an event tells of; llama-server adds the milliseconds of the prompt, with the last event."""
    data, timings = event.get("usage"), event.get("timings")
    if not isinstance(data, dict):
        return None
    details = data.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else 0
    spent = timings.get("prompt_ms") if isinstance(timings, dict) else None
    prefill = spent / 1000 if isinstance(spent, int | float) else None
    return Usage(_int(data.get("prompt_tokens")), _int(cached), _int(data.get("completion_tokens")), prefill)


def _int(value: object) -> int:
    return value if isinstance(value, int) else 0


def _pick(models: list[dict[str, Any]], wanted: str | None) -> dict[str, Any] | None:
    """The model that is wanted: by its own name, as its newest version, or the first one where none is named."""
    for model in models:
        if wanted in (None, model["id"]) or model["id"] == f"{wanted}:latest":
            return model
    version = newest([str(model["id"]) for model in models], wanted or "")
    return next((model for model in models if model["id"] == version), None)


def _named(found: Mapping[str, Any] | None, wanted: str | None) -> str:
    """How requests name the model: as the user did, but for an adapter, of which only its versions have names."""
    name = str(found["id"]) if found else ""
    return name if not wanted or name.startswith(f"{wanted}{SEPARATOR}") else wanted


def _context(model: Mapping[str, Any]) -> int | None:
    """The context in tokens: vLLM and SGLang call it max_model_len, llama-server keeps it under `meta`."""
    meta = model.get("meta")
    places = [model, meta if isinstance(meta, dict) else {}]
    for key in ("max_model_len", "context_length", "n_ctx", "n_ctx_train"):
        for place in places:
            if isinstance(place.get(key), int):
                return int(place[key])
    return None


def _tokenize(model: str, text: str) -> dict[str, Any]:
    """What vLLM (`prompt`) and llama-server (`content`) take; each skips what it does not know."""
    vllm = {"model": model, "prompt": text, "add_special_tokens": False}
    return {**vllm, "content": text, "add_special": False, "parse_special": True}


def _counted(answer: Mapping[str, Any]) -> int | None:
    if isinstance(answer.get("count"), int):
        return int(answer["count"])
    tokens = answer.get("tokens")
    return len(tokens) if isinstance(tokens, list) else None
