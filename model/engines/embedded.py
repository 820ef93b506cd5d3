"""The engine inside this process. It needs no server, no GPU and no account.

A KAT reply is generated segment by segment, each under its own grammar, so that even a model that never saw KAT's
format writes it: the judge has at most 40 tokens, and a segment that the model leaves open is closed for it. The
prefix cache makes the seams cheap.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from model.batch import Samples, reseeded
from model.engine import Delta, EngineInfo, EngineRefused, EngineUnreachable, Finish, Sampling, Usage
from model.engines.choices import Choices
from model.engines.llama import Chunk, Llama, LlamaOptions
from model.engines.stops import StopWords
from model.format import Segment
from model.grammar import gbnf
from model.prompt import Prompt, ToolSpec

JUDGE_TOKENS = 40
BATCH_REPLIES = 16
"""Replies that are written at once. More hardly go faster on a CPU; our choice."""
BATCH_CONTEXT = 4096
"""Tokens that the prompt and all replies of a batch share at most: 94 MB for SmolLM2; our choice."""
SEGMENT_TOKENS = {Segment.JUDGE: JUDGE_TOKENS, Segment.THINK: 240, Segment.ANSWER: 360}
"""The most tokens a segment may have; our choice, so that a loop of a tiny model ends within seconds."""
_REPEAT_PENALTY = {Segment.THINK: 1.1, Segment.ANSWER: 1.1}


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
        self._cancelled: set[threading.Event] = set()
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
        turn = _Turn(prompt, sampling, ids)
        async with aclosing(self._turn(llama, turn)) as deltas:
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
        for event in self._cancelled:
            event.set()
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

    async def _turn(self, llama: Llama, turn: _Turn) -> AsyncGenerator[Delta, None]:
        segment: Segment | None = turn.segment
        while segment is not None:
            part = turn.part(segment)
            async with aclosing(self._generate(llama, turn.request(part))) as chunks:
                async for chunk in chunks:
                    delta = turn.take(part, chunk)
                    if delta:
                        yield delta
                    if turn.over:
                        break
            if self._closed and part.finish is None:
                turn.cut("the embedded engine was closed; what came is kept")
            if turn.over:
                break
            markup, segment = turn.follow(part)
            if segment is not None:
                turn.ids += await asyncio.to_thread(llama.encode, part.text + markup, specials=False)
            if text := turn.stops.feed(markup):
                yield Delta(text)
        yield turn.last()

    async def _generate(self, llama: Llama, request: dict[str, Any]) -> AsyncGenerator[Chunk, None]:
        """The chunks of one completion; closing the generator cancels it without waiting."""
        if self._closed:
            return
        loop, queue, cancelled = asyncio.get_running_loop(), asyncio.Queue[Chunk | None](), threading.Event()

        def take(chunk: Chunk) -> bool:
            if not cancelled.is_set():
                loop.call_soon_threadsafe(queue.put_nowait, chunk)
            return cancelled.is_set()

        def work() -> None:
            if not cancelled.is_set():
                llama.generate(request, take)

        running = loop.run_in_executor(self._thread, work)
        running.add_done_callback(lambda _: queue.put_nowait(None))
        self._cancelled.add(cancelled)
        try:
            while (chunk := await queue.get()) is not None:
                yield chunk
            if not running.cancelled():
                await running
        finally:
            cancelled.set()
            self._cancelled.discard(cancelled)


@dataclass(slots=True)
class _Part:
    """One segment as it is generated."""

    segment: Segment
    limit: int
    text: str = ""
    tokens: int = 0
    finish: str | None = None


class _Turn:
    """A reply under way, across its segments."""

    def __init__(self, prompt: Prompt, sampling: Sampling, ids: list[int]) -> None:
        self.segment = prompt.opening.segment
        self.ids = ids
        self.stops = StopWords(sampling.stop)
        self.over = False
        self._held_to_kat = prompt.dialect == "kat"
        self._tools: tuple[ToolSpec, ...] = prompt.tools
        self._sampling = sampling
        self._usage = Usage(prompt=len(ids))
        self._first = True
        self._finish = Finish.STOP
        self._error: str | None = None

    def part(self, segment: Segment) -> _Part:
        """The next segment, with what is left of its tokens."""
        left = self._sampling.max_tokens - self._usage.completion
        most = SEGMENT_TOKENS.get(segment, left) if self._held_to_kat else left
        return _Part(segment, min(left, most))

    def request(self, part: _Part) -> dict[str, Any]:
        """What llama.cpp is asked for a segment."""
        sampling = self._sampling
        request: dict[str, Any] = {
            "prompt": self.ids,
            "stream": True,
            "return_progress": True,
            "timings_per_token": True,
            "max_tokens": part.limit,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
        }
        if sampling.seed is not None:
            request["seed"] = sampling.seed
        if self._held_to_kat:
            request["grammar"] = gbnf(part.segment, self._tools)
            request["repeat_penalty"] = _REPEAT_PENALTY.get(part.segment, 1.0)
        return request

    def take(self, part: _Part, chunk: Chunk) -> Delta | None:
        """Note what a chunk says; the delta that it makes, if any. Raises `EngineRefused` on the first one only."""
        if "error" in chunk:
            self._fail(said(chunk))
            return None
        choice = chunk["choices"][0] if chunk.get("choices") else {}
        part.finish = choice.get("finish_reason") or part.finish
        tokens = self._count(part, chunk)
        text = choice.get("text", "")
        part.text += text
        certain = self.stops.feed(text)
        self.over = self.stops.hit
        return Delta(certain, tokens, usage=self._usage) if certain else None

    def follow(self, part: _Part) -> tuple[str, Segment | None]:
        """The markup behind a finished segment, and the segment that comes next."""
        if not self._held_to_kat or self._ran_out(part):
            self._finish = Finish.LENGTH if part.finish == "length" else Finish.STOP
            return "", None
        match part.segment:
            case Segment.JUDGE:
                return _rest(part.text, "\n</judge>\n\n"), Segment.MODE
            case Segment.MODE if part.text.startswith("<think_on>"):
                return "\n<think>\n", Segment.THINK
            case Segment.MODE:
                return "\n<answer>\n", Segment.ANSWER
            case Segment.THINK:
                return _rest(part.text, "\n</think>\n\n<answer>\n"), Segment.ANSWER
            case Segment.ANSWER:
                return _rest(part.text, "\n</answer>"), Segment.TOOL if self._tools else None
            case Segment.TOOL:
                return "", None

    def cut(self, error: str) -> None:
        """End the reply here, unless it had come to its own end."""
        if not self.over:
            self.over, self._finish, self._error = True, Finish.CUT, error

    def last(self) -> Delta:
        """The delta that ends the stream."""
        return Delta(self.stops.flush(), 0, self._finish, self._usage, self._error)

    def _ran_out(self, part: _Part) -> bool:
        """Whether the reply, and not only its segment, has no tokens left."""
        short = part.tokens < part.limit or self._usage.completion >= self._sampling.max_tokens
        return part.finish == "length" and short

    def _count(self, part: _Part, chunk: Chunk) -> int:
        """New tokens of the part; also keeps the usage of the whole reply."""
        timings = chunk.get("timings") or {}
        new = max(0, int(timings.get("predicted_n", part.tokens)) - part.tokens)
        part.tokens += new
        if self._first and "cache_n" in timings:
            self._first = not timings.get("predicted_n")
            prefill = timings.get("prompt_ms", 0.0) / 1000
            self._usage = replace(self._usage, cached=int(timings["cache_n"]), prefill=prefill)
        self._usage = replace(self._usage, completion=self._usage.completion + new)
        return new

    def _fail(self, message: str) -> None:
        if self._usage.completion == 0:
            raise EngineRefused(f"the embedded model cannot answer: {message}")
        self.cut(f"the embedded model stopped: {message}; what came is kept")


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


def _rest(text: str, markup: str) -> str:
    """`markup` without the part of it that `text` already ends with."""
    for size in range(min(len(markup), len(text)), 0, -1):
        if text.endswith(markup[:size]):
            return markup[size:]
    return markup
