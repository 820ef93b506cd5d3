"""The engine that is examined, and how a probe asks it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass

from model.budget import Budget, BudgetedReply
from model.catalog import parameters_of
from model.dialects import dialect
from model.engine import Engine, EngineInfo, EngineUnreachable, Finish, Sampling, Usage
from model.engines.remote import RemoteEngine
from model.engines.transport import Transport
from model.format import Reply, Segment, ThinkRequest
from model.prompt import Dialect, Message, Prompt, ToolSpec
from model.serving.metrics import ServerMetrics, of_engine
from model.serving.peers import PEERS, kind_of

SMALL = 3_000_000_000
"""Parameters under which it is no fault of an engine that a model calls no tools and judges badly; our choice."""
REPLY_TOKENS = 512
JUDGE_TOKENS = 200
"""Room for a reply, and for its judge. What we ask here is answered in far less; our choice."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds: of one probe, of a stream that measures speed, of reading a nearly full prompt, and how soon a server
    must be free after a cancel. All are our choice."""

    probe: float = 120.0
    speed: float = 5.0
    prefill: float = 10.0
    cancel: float = 2.0


@dataclass(frozen=True, slots=True)
class Told:
    """A reply, its tokens by segment, what cut it, and the engine's own count."""

    reply: Reply
    tokens: dict[Segment, int]
    cuts: tuple[str, ...]
    usage: Usage | None


@dataclass(frozen=True, slots=True)
class Subject:
    """An engine under examination. `kind` is the program that serves, empty where it does not say."""

    engine: Engine
    info: EngineInfo
    kind: str
    limits: Limits = Limits()

    @property
    def dialect(self) -> Dialect:
        """The language that it is asked in."""
        return dialect(self.info.dialect)

    @property
    def transport(self) -> Transport | None:
        """The way to the server; None for an engine without one."""
        return self.engine.transport if isinstance(self.engine, RemoteEngine) else None

    @property
    def is_small(self) -> bool:
        """Whether the model is so small that some things cannot be expected of it."""
        known = parameters_of(self.info.model)
        return "nano" in self.info.model.lower() or (known is not None and known < SMALL)

    def prompt(self, text: str, think: ThinkRequest, tools: Sequence[ToolSpec] = ()) -> Prompt:
        """One question."""
        return self.dialect.render([Message("user", text)], tools, think, "A test of the switch.")

    async def metrics(self, before: ServerMetrics | None = None) -> ServerMetrics | None:
        """What the server counts, or None."""
        return await of_engine(self.engine, before)

    async def ask(self, prompt: Prompt, budget: Budget | None = None, tokens: int = REPLY_TOKENS) -> Told:
        """The whole reply, always with the likeliest tokens. Raises `EngineError` where it broke off.

        It has `tokens` at most. Without a `budget` a thought is cut early enough for an answer. A small model, which
        never knows when to stop, is given a quarter of the room, our choice.
        """
        room = tokens // 4 if self.is_small else tokens
        budget = budget or Budget(judge=JUDGE_TOKENS, think=room // 2)
        sampling = Sampling(temperature=0.0, max_tokens=room, seed=1)
        said = BudgetedReply(self.engine, self.dialect, prompt, sampling, budget)
        async with aclosing(said.deltas()) as deltas:
            async for _ in deltas:
                pass
        if said.finish is Finish.CUT:
            raise EngineUnreachable(said.error or f"{self.info.name} broke off in the middle of a reply")
        return Told(said.reply, dict(said.weights), tuple(step.reason for step in said.stepped), said.usage)


USUAL = Limits()


async def subject_of(engine: Engine, limits: Limits = USUAL) -> Subject:
    """Reach the engine. Raises `EngineError`."""
    info = await engine.info()
    return Subject(engine, info, await _kind(engine, info), limits)


async def _kind(engine: Engine, info: EngineInfo) -> str:
    """By what the server calls the owner of its models, else by the paths that it knows without a key."""
    if not isinstance(engine, RemoteEngine):
        return info.name
    owned = (peer.kind for peer in PEERS.values() if peer.owner and peer.owner == engine.program)
    found = next(owned, None) or ((peer := await kind_of(info.name)) and peer.kind)
    return found or ""
