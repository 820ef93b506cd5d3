"""transformers in this process: for weights without a server, and as the reference that servers are compared with."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from model.dialects import dialect_of_model
from model.engine import Delta, EngineInfo, EngineRefused, EngineUnreachable, Sampling
from model.engines.segments import Part, Turn, written
from model.engines.threads import Streams
from model.prompt import Prompt
from model.serving.logprobs import Scored

if TYPE_CHECKING:
    from model.engines.torch_model import Piece, TorchModel

PREFIX = "torch:"
"""What an engine's name begins with; behind it a folder, a GGUF file or a hub id."""
SMALL = 1_000_000_000
"""Parameters below which a model is taken for one that needs to be held to a format it never saw; our choice."""
_FAILURES = (RuntimeError, ValueError, IndexError)
"""What torch raises in the middle of its work, out of memory among them."""


class TorchEngine:
    """A model in this process by torch, one reply at a time; a second waits for the first.

    `model` is a folder with safetensors, a GGUF file or a hub id; `adapter` a folder that peft saved; `device_map` is
    accelerate's; `context` is in tokens and at most the model's own; `threads` are torch's on a CPU. `hold` keeps the
    reply to KAT's format, in segments of limited length, by llguidance where it is installed; by default it does so for
    models under `SMALL` that do not have KAT's name and yet are asked in its dialect. Closing a stream returns at once,
    the model stops behind the token, or the stretch of the prompt, that it is at.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        adapter: Path | None = None,
        device_map: str = "auto",
        context: int | None = None,
        dialect: str | None = None,
        why: str = "",
        threads: int | None = None,
        hold: bool | None = None,
    ) -> None:
        self._source, self._adapter, self._threads = str(model), adapter, threads
        self._device_map, self._context, self._why = device_map, context, why
        self._name = _name(self._source)
        self._by_name = dialect_of_model(self._name)
        self._dialect, self._hold = dialect or self._by_name, hold
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="torch")
        self._streams = Streams(self._thread)
        self._turns = asyncio.Lock()
        self._loading: asyncio.Task[TorchModel] | None = None
        self._closed = False

    async def info(self) -> EngineInfo:
        """Load the model, if it is not loaded. Raises `EngineUnreachable` or `EngineRefused`."""
        context = (await self._model()).context
        return EngineInfo(f"{PREFIX}{self._source}", self._name, self._dialect, context, self._why)

    async def count(self, prompt: Prompt) -> int | None:
        """Tokens of the prompt by the model's own tokenizer."""
        return len(await asyncio.to_thread(prompt.token_ids, (await self._model()).tokens))

    async def encode(self, text: str) -> list[int]:
        """Token ids of a text that holds no control tokens."""
        tokens = (await self._model()).tokens
        return await asyncio.to_thread(tokens.encode, text, specials=False)

    async def logprobs(self, ids: Sequence[int]) -> tuple[Scored, ...]:
        """The log-probability of each of `ids` but the first. Raises `EngineError`."""
        model = await self._model()
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, model.logprobs, ids)
        except _FAILURES as error:
            raise EngineRefused(f"the model cannot read the text: {_line(error)}") from error

    async def stream(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[Delta, None]:
        """The reply. Raises `EngineRefused` if the prompt does not fit, `EngineUnreachable` if the engine is closed."""
        model = await self._model()
        ids = await asyncio.to_thread(prompt.token_ids, model.tokens)
        if len(ids) >= model.context:
            raise EngineRefused(
                f"the prompt has {len(ids)} tokens and the model takes {model.context}; "
                "start a new session, or use a larger model with --engine"
            )
        turn = Turn(prompt, sampling, ids, held=prompt.dialect == "kat" and self._holds(model))
        async with self._turns, aclosing(written(turn, _Writer(model, self._streams, self._stopped))) as deltas:
            async for delta in deltas:
                yield delta

    async def aclose(self) -> None:
        """Stop what runs, which ends as cut, and free the model."""
        self._closed = True
        self._streams.cancel()
        loading, self._loading = self._loading, None
        if loading is not None:
            await asyncio.wait([loading])
        await asyncio.to_thread(self._thread.shutdown, cancel_futures=True)

    def _holds(self, model: TorchModel) -> bool:
        hold = self._by_name != "kat" and model.parameters < SMALL if self._hold is None else self._hold
        return hold and importlib.util.find_spec("llguidance") is not None

    def _stopped(self) -> str | None:
        return "the torch engine was closed; what came is kept" if self._closed else None

    async def _model(self) -> TorchModel:
        """The model, loaded when it is first asked for."""
        self._expect_open()
        if self._loading is None or (self._loading.done() and self._loading.exception()):
            self._loading = asyncio.create_task(self._load())
        model = await asyncio.shield(self._loading)
        self._expect_open()
        return model

    def _expect_open(self) -> None:
        if self._closed:
            raise EngineUnreachable("the torch engine was closed; start a new one")

    async def _load(self) -> TorchModel:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._loaded)

    def _loaded(self) -> TorchModel:
        try:
            from model.engines.torch_model import TorchModel, TorchOptions
        except ImportError:
            raise EngineUnreachable(
                'the torch engine is not installed; run: pip install "kat-pilot[train]", or name a server with --engine'
            ) from None
        return TorchModel(TorchOptions(self._source, self._adapter, self._device_map, self._context, self._threads))


def _name(source: str) -> str:
    """The folder's or the file's name, or the hub id."""
    path = Path(source).expanduser().resolve()
    if path.is_file():
        return path.stem
    return path.name if path.is_dir() else source


@dataclass(frozen=True, slots=True)
class _Writer:
    """Writes the segments of one reply with torch."""

    model: TorchModel
    streams: Streams
    stopped: Callable[[], str | None]

    async def write(self, turn: Turn, part: Part) -> AsyncGenerator[Delta, None]:
        """One segment. Raises `EngineRefused` at the beginning of a reply only."""
        if self.stopped():
            return
        try:
            async with aclosing(self.streams.read(self._work(turn, part))) as pieces:
                async for piece in pieces:
                    if delta := _taken(turn, part, piece):
                        yield delta
                    if turn.over:
                        break
        except _FAILURES as error:
            turn.fail("the model", _line(error))

    async def encode(self, text: str) -> list[int]:
        """Token ids of text that holds no control tokens."""
        return await asyncio.to_thread(self.model.tokens.encode, text, specials=False)

    def _work(self, turn: Turn, part: Part) -> Callable[[Callable[[Piece], bool]], None]:
        from model.engines.torch_draw import Draw

        asked = turn.sampling
        draw = Draw(part.limit, asked.temperature, asked.top_p, asked.seed, part.grammar, part.penalty)
        return partial(self.model.generate, list(turn.ids), draw)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def _taken(turn: Turn, part: Part, piece: Piece) -> Delta | None:
    if piece.cached is not None and turn.written == 0:
        turn.prefilled(piece.cached, piece.prefill)
    part.finish = piece.finish or part.finish
    return turn.add(part, piece.text, piece.tokens)
