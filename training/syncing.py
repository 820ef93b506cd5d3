"""Replies from a vLLM server that has the trainer's adapter: loaded by a new name after each update, and proven there.

Whole weights are not sent: vLLM's reload is silently wrong for tied embeddings. An adapter has a name made of its
bytes (`model.serving.adapters`), so that no stale block of the prefix cache is used; and after each sync the
log-probabilities of one text are compared between server and trainer: a server may take an adapter and not use it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from assistant.errors import UserError
from model.engine import EngineError
from model.engines.transport import Patience, Transport
from model.serving import adapters
from model.serving.logprobs import Agreement, Scored, ServerScorer, agreement
from training.decoding import decoding
from training.runtime.weights import gathered
from training.runtime.world import World
from training.sampling import Ask, Drawn, Limits, Watches
from training.seeds import derived

NAME = "kat-rl"
"""What the adapter is called on the server."""
_AT_ONCE = 64
"""Requests that are open at once; vLLM batches them. Our choice."""
_SILENCE = 600.0
_WHOLE: dict[str, float] = {
    "top_p": 1.0,
    "top_k": 0,
    "min_p": 0.0,
    "repetition_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
}
"""Nothing is cut off; said in full, since vLLM takes what is not said from the model's generation_config.json."""


@dataclass(frozen=True, slots=True)
class TrainerScorer:
    """The trainer's own log-probabilities, as `model.serving.logprobs` compares them; all processes must ask."""

    model: Any

    def scored(self, ids: Sequence[int]) -> tuple[Scored, ...]:
        """One for each of `ids` but the first."""
        with decoding(self.model):
            device = self.model.get_input_embeddings().weight.device
            found = self.model(input_ids=torch.tensor([list(ids)], device=device), use_cache=False).logits[0, :-1]
        likely = found.float().log_softmax(-1)
        best = likely.argmax(-1).tolist()
        return tuple(Scored(token, float(likely[n, token]), best[n]) for n, token in enumerate(ids[1:]))


@dataclass(frozen=True, slots=True)
class Given:
    """An adapter as a server has it: its name there, and what the server says of a text that begins with `first`."""

    served: str
    first: int
    scored: tuple[Scored, ...]


@dataclass(slots=True)
class Server:
    """A vLLM server at `address` that takes adapters. `folder` is where they are written; the server must see it."""

    address: str
    folder: Path
    api_key: str | None = None
    served: str = ""

    def sync(self, model: Any, world: World) -> Agreement:
        """Give the server the adapter of a peft model, and prove that it uses it.

        All processes gather the weights and tell what the trainer says; the main one alone deals with the server.

        Raises:
            UserError: the server refuses it, or does not say what the trainer says.
        """
        state = gathered(model, world)
        given = _told(self._given(model, state) if world.main else None, world)
        if isinstance(given, str):
            raise UserError(f"{self.address} does not follow the training: {given}")
        self.served = given.served
        ids = [given.first, *(each.id for each in given.scored)]
        found = agreement(given.scored, TrainerScorer(model).scored(ids))
        if not found.ok:
            raise UserError(f"{self.address} has the adapter {self.served}, but {found.sentence}")
        return found

    def _given(self, model: Any, state: Mapping[str, torch.Tensor]) -> Given | str:
        """The adapter on the server, or what went wrong, as a sentence."""
        try:
            model.save_pretrained(str(self.folder), state_dict=dict(state), save_embedding_layers=False)
            return asyncio.run(self._loaded())
        except (EngineError, OSError) as error:
            return str(error)

    async def _loaded(self) -> Given:
        adapter = await adapters.replace(self.address, self.api_key, NAME, self.folder)
        transport = Transport(self.address, self.api_key, Patience(silence=_SILENCE, retries=0))
        try:
            server = ServerScorer(transport, adapter.served)
            ids = await server.encode(adapters.PROBE)
            return Given(adapter.served, ids[0], await server.logprobs(ids))
        finally:
            await transport.aclose()


@dataclass(frozen=True, slots=True)
class ServerSampler:
    """Draws from a server's adapter as `training.sampling.Sampler` draws from the trainer.

    A budget steps in behind the reply: it is cut where the watch would have, and goes on by another request.
    """

    server: Server
    ends: Collection[int]
    watch: Watches | None = None
    ask: Callable[[Transport, dict[str, Any]], Any] = field(
        default=lambda transport, body: transport.post_json("/v1/completions", body)
    )

    def draw(self, asks: Sequence[Ask], limits: Limits, seed: int = 0) -> list[Drawn]:
        """A reply to each ask, in their order. Raises UserError if the server fails."""
        try:
            return asyncio.run(self._all(asks, limits, seed))
        except EngineError as error:
            raise UserError(f"{self.server.address} draws no replies: {error}") from None

    async def _all(self, asks: Sequence[Ask], limits: Limits, seed: int) -> list[Drawn]:
        transport = Transport(self.server.address, self.server.api_key, Patience(silence=_SILENCE))
        gate = asyncio.Semaphore(_AT_ONCE)

        async def one(index: int, ask: Ask) -> Drawn:
            async with gate:
                return await self._one(transport, ask, limits, derived(seed, "draw", index) % 2**31)

        try:
            return list(await asyncio.gather(*(one(index, ask) for index, ask in enumerate(asks))))
        finally:
            await transport.aclose()

    async def _one(self, transport: Transport, ask: Ask, limits: Limits, seed: int) -> Drawn:
        watch = self.watch() if self.watch else None
        ids, logprobs, own = list(ask.forced), [0.0] * len(ask.forced), [False] * len(ask.forced)
        for token in ask.forced:
            if watch:
                watch.feed(token, own=False)
        while (left := limits.tokens - sum(own)) > 0:
            body = self._body((*ask.prompt, *ids), left, limits, seed + len(ids))
            said = read_completion(await self.ask(transport, body))
            for token, logprob in said:
                ids.append(token)
                logprobs.append(logprob)
                own.append(True)
                if token in self.ends:
                    return Drawn(tuple(ids), tuple(logprobs), tuple(own), "stop")
                if watch and (due := watch.feed(token, own=True)):
                    _force(due, ids, logprobs, own, watch)
                    break
            else:
                break
        return Drawn(tuple(ids), tuple(logprobs), tuple(own), "length")

    def _body(self, prompt: Sequence[int], left: int, limits: Limits, seed: int) -> dict[str, Any]:
        return {
            "model": self.server.served,
            "prompt": list(prompt),
            "max_tokens": left,
            "temperature": limits.temperature,
            **_WHOLE,
            "seed": seed,
            "logprobs": 0,
            "stop_token_ids": sorted(self.ends),
            "return_token_ids": True,
            "skip_special_tokens": False,
            "add_special_tokens": False,
        }


def read_completion(answer: Any) -> list[tuple[int, float]]:
    """Tokens and their log-probabilities in a completion of vLLM. Raises UserError where it does not tell them."""
    match answer:
        case {"choices": [{"token_ids": [*ids], "logprobs": {"token_logprobs": [*values]}}, *_]} if len(values) == len(
            ids
        ):
            return [(int(token), float(value)) for token, value in zip(ids, values, strict=True)]
    raise UserError("the server does not tell the tokens that it drew; rollouts need vLLM 0.22 or newer")


def _told(found: Given | str | None, world: World) -> Given | str:
    """What the main process found, in all of them."""
    box = [found]
    if world.size > 1:
        torch.distributed.broadcast_object_list(box, src=0, device=torch.device("cpu"))
    assert box[0] is not None
    return box[0]


def _force(due: Sequence[int], ids: list[int], logprobs: list[float], own: list[bool], watch: Any) -> None:
    for token in due:
        ids.append(token)
        logprobs.append(0.0)
        own.append(False)
        watch.feed(token, own=False)
