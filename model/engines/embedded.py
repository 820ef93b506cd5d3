"""The engine inside this process. It needs no server, no GPU and no account."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from model.batch import Samples, reseeded
from model.engine import Delta, EngineInfo, EngineRefused, EngineUnreachable, Sampling, Usage
from model.engines.choices import Choices
from model.engines.llama import Chunk, Llama, LlamaOptions
from model.engines.segments import Part, Turn, written
from model.engines.threads import Streams
from model.prompt import Prompt

BATCH_REPLIES = 16
"""Replies that are written at once. More hardly go faster on a CPU; our choice."""
BATCH_CONTEXT = 4096
"""Tokens that the prompt and all replies of a batch share at most: 94 MB for SmolLM2; our choice."""


class EmbeddedEngine:
    """llama.cpp in this process, one reply at a time; a second waits for the first.

    `context` is in tokens; `lora` is an adapter in GGUF. Closing a stream returns at once, the model itself stops at
    the end of the batch it is in.
    """

    def __init__(
        self,
        model_path: Path,
        *,
        context: int = 8192,
        threads: int | None = None,
        lora: Path | None = None,
        dialect: str = "kat",
        model: str | None = None,
        why: str = "",
    ) -> None:
        self._options = LlamaOptions(Path(model_path), context, threads, lora)
        self._batches = replace(self._options, context=min(context, BATCH_CONTEXT), replies=BATCH_REPLIES)
        self._info = EngineInfo("embedded", model or Path(model_path).stem, dialect, context, why)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="embedded")
        self._loading: dict[LlamaOptions, asyncio.Task[Llama]] = {}
        self._streams = Streams(self._thread)
        self._closed = False

    async def info(self) -> EngineInfo:
        """Load the model, if it is not loaded. Raises `EngineUnreachable` or `EngineRefused`."""
        await self._llama()
        return self._info

    async def count(self, prompt: Prompt) -> int | None:
        """Tokens of the prompt by the model's own tokenizer."""
        return len(await self._ids(prompt))

    async def stream(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[Delta, None]:
        """The reply. Raises `EngineRefused` if the prompt does not fit, `EngineUnreachable` if the engine is closed."""
        llama = await self._llama()
        ids = await self._ids(prompt)
        if len(ids) >= self._options.context:
            raise _too_long(ids, self._options.context)
        turn = Turn(prompt, sampling, ids, held=prompt.dialect == "kat")
        async with aclosing(written(turn, _Writer(llama, self._generate, self._stopped))) as deltas:
            async for delta in deltas:
                yield delta

    async def batch(self, prompt: Prompt, sampling: Sampling, n: int, grammar: str | None) -> Samples:
        """`n` replies, as many at once as have room, held to `grammar` and not to KAT's format.

        A second context is made for it when it is first used, on the same weights. Closing the engine cuts it short.
        """
        llama, ids = await self._llama(self._batches), await self._ids(prompt)
        room = (self._batches.context - len(ids)) // sampling.max_tokens
        if room < 1:
            raise _too_long(ids, self._batches.context - sampling.max_tokens)
        drawn, most = Samples(), min(room, BATCH_REPLIES)
        while len(drawn.replies) < n and not self._closed:
            done = len(drawn.replies)
            asked = min(most, n - done)
            more = await self._drawn(llama, batch_request(ids, reseeded(sampling, done), asked, grammar), len(ids))
            if not more.replies:
                break
            drawn += more
        return drawn

    async def aclose(self) -> None:
        """Stop what runs, which ends as cut, and free the model."""
        self._closed = True
        self._streams.cancel()
        loading = list(self._loading.values())
        self._loading.clear()
        if loading:
            await asyncio.wait(loading)
        for loaded in loading:
            if not loaded.cancelled() and loaded.exception() is None:
                await asyncio.get_running_loop().run_in_executor(self._thread, loaded.result().settle)
            del loaded
        await asyncio.to_thread(self._thread.shutdown, cancel_futures=True)
        del loading  # here the model is freed, and not by the thread, which would wait for itself

    async def _llama(self, options: LlamaOptions | None = None) -> Llama:
        """The model, or a second context of it with other `options`; loaded when it is first asked for."""
        self._expect_open()
        options = options or self._options
        loading = self._loading.get(options)
        if loading is None or (loading.done() and loading.exception()):
            loading = self._loading[options] = asyncio.create_task(self._load(options))
        llama = await asyncio.shield(loading)
        self._expect_open()
        return llama

    def _expect_open(self) -> None:
        if self._closed:
            raise EngineUnreachable("the embedded engine was closed; start a new one")

    async def _load(self, options: LlamaOptions) -> Llama:
        return await asyncio.get_running_loop().run_in_executor(self._thread, Llama, options)

    async def _drawn(self, llama: Llama, request: dict[str, Any], prompt_tokens: int) -> Samples:
        """The replies to one request."""
        choices, cached = Choices(), 0
        async with aclosing(self._generate(llama, request)) as chunks:
            async for chunk in chunks:
                if "error" in chunk:
                    raise EngineRefused(f"the embedded model cannot answer: {said(chunk)}")
                choices.take(chunk)
                cached = max(cached, (chunk.get("timings") or {}).get("cache_n", 0))
        return Samples(choices.samples, Usage(prompt_tokens, cached, choices.tokens))

    async def _ids(self, prompt: Prompt) -> list[int]:
        return await asyncio.to_thread(prompt.token_ids, await self._llama())

    async def _generate(self, llama: Llama, request: dict[str, Any]) -> AsyncGenerator[Chunk, None]:
        """The chunks of one completion; closing the generator cancels it without waiting."""
        if self._closed:
            return
        async with aclosing(self._streams.read(partial(llama.generate, request))) as chunks:
            async for chunk in chunks:
                yield chunk

    def _stopped(self) -> str | None:
        return "the embedded engine was closed; what came is kept" if self._closed else None


@dataclass(slots=True)
class _Writer:
    """Writes the segments of one reply with llama.cpp."""

    llama: Llama
    generate: Callable[[Llama, dict[str, Any]], AsyncGenerator[Chunk, None]]
    stopped: Callable[[], str | None]
    _reads: bool = True

    async def write(self, turn: Turn, part: Part) -> AsyncGenerator[Delta, None]:
        """One segment. Raises `EngineRefused` on the first chunk of a reply only."""
        async with aclosing(self.generate(self.llama, part_request(turn, part))) as chunks:
            async for chunk in chunks:
                if delta := self._take(turn, part, chunk):
                    yield delta
                if turn.over:
                    break

    async def encode(self, text: str) -> list[int]:
        """Token ids of text that holds no control tokens."""
        return await asyncio.to_thread(self.llama.encode, text, specials=False)

    def _take(self, turn: Turn, part: Part, chunk: Chunk) -> Delta | None:
        if "error" in chunk:
            turn.fail("the embedded model", said(chunk))
            return None
        choice = chunk["choices"][0] if chunk.get("choices") else {}
        timings = chunk.get("timings") or {}
        part.finish = choice.get("finish_reason") or part.finish
        if self._reads and "cache_n" in timings:
            self._reads = not timings.get("predicted_n")
            turn.prefilled(int(timings["cache_n"]), timings.get("prompt_ms", 0.0) / 1000)
        new = max(0, int(timings.get("predicted_n", part.tokens)) - part.tokens)
        return turn.add(part, choice.get("text", ""), new)


def part_request(turn: Turn, part: Part) -> dict[str, Any]:
    """What llama.cpp is asked for a segment."""
    sampling = turn.sampling
    request: dict[str, Any] = {
        "prompt": turn.ids,
        "stream": True,
        "return_progress": True,
        "timings_per_token": True,
        "max_tokens": part.limit,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
    }
    if sampling.seed is not None:
        request["seed"] = sampling.seed
    if part.grammar is not None:
        request |= {"grammar": part.grammar, "repeat_penalty": part.penalty}
    return request


def batch_request(ids: list[int], sampling: Sampling, n: int, grammar: str | None) -> dict[str, Any]:
    """What llama.cpp is asked for `n` replies; each next one has a seed that is one further on."""
    request: dict[str, Any] = {
        "prompt": ids,
        "n": n,
        "stream": True,
        "timings_per_token": True,
        "max_tokens": sampling.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "stop": list(sampling.stop),
    }
    request |= {"grammar": grammar} if grammar else {}
    return request | ({"seed": sampling.seed} if sampling.seed is not None else {})


def said(chunk: Chunk) -> str:
    """The message of a chunk that is an error."""
    return str(chunk["error"].get("message", chunk["error"]))


def _too_long(ids: list[int], most: int) -> EngineRefused:
    return EngineRefused(
        f"the prompt has {len(ids)} tokens and the embedded model takes {most}; "
        "start a new session, or use a larger model with --engine"
    )
