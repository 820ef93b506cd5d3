"""An attempt by the agent: it works in a view of its own, and what it changed there is the attempt."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from assistant.config import Settings
from assistant.events import Event, RunFinished, RunStatus
from assistant.fix.bench import Bench
from assistant.fix.changes import Changes
from assistant.fix.stages import Attempt
from assistant.fix.views import View
from model.engine import Engine, EngineError
from model.format import ThinkRequest
from model.lent import Lent


@dataclass(frozen=True, slots=True)
class Order:
    """What an agent is to do: the `prompt`, and `words`, the part of it that a person wrote.

    `tokens` and `seconds` are what it may use; `suite` is seconds that it may wait for the tests; `begin` is changed
    already when it starts.
    """

    prompt: str
    words: str = ""
    think: ThinkRequest = ThinkRequest.AUTO
    temperature: float | None = None
    tokens: int | None = None
    seconds: float = 1_800.0
    suite: float = 0.0
    begin: Changes = field(default_factory=Changes)


async def agent_attempt(bench: Bench, engine: Engine, order: Order, watch: Callable[[Event], None]) -> Attempt:
    """Let the agent work until it says that it is done, or has used up what it may.

    Raises:
        EngineError: the engine does not answer.
    """
    with bench.views.view(order.begin) as view:
        return await _attempt(bench, view, engine, order, watch)


async def _attempt(bench: Bench, view: View, engine: Engine, order: Order, watch: Callable[[Event], None]) -> Attempt:
    from assistant.opening import Place, open_pilot

    request = bench.request
    pilot = await open_pilot(
        Place(view.root, named=request.repository, snapshots=view.snapshots),
        Lent(engine),
        _settings(bench, order),
        allow=("edit", "command", *request.allow),
        interactive=False,
        sandbox=view.confined(bench.sandbox),
    )
    end: RunFinished | None = None
    out_of_time = asyncio.get_running_loop().call_later(order.seconds, pilot.stop)
    try:
        async for event in pilot.run(order.prompt, order.think, words=order.words):
            watch(event)
            end = event if isinstance(event, RunFinished) else end
        records = tuple(pilot.records)
    finally:
        out_of_time.cancel()
        await pilot.aclose()
    if end is None or end.status is RunStatus.UNREACHABLE:
        raise EngineError(end.message if end else "the run ended without a result")
    changes = await asyncio.to_thread(view.changes)
    return Attempt("agent", changes, end.message, order.think, order.temperature, records, end.tokens)


def _settings(bench: Bench, order: Order) -> Settings:
    settings = bench.request.settings
    limits = [tokens for tokens in (settings.run_tokens, order.tokens) if tokens is not None]
    return replace(
        settings,
        test_command=bench.command,
        command_timeout=max(settings.command_timeout, order.suite),
        think=order.think,
        run_tokens=min(limits, default=None),
        temperature=settings.temperature if order.temperature is None else order.temperature,
    )
