"""An engine, probe after probe: each with a limit on its time, none ending the others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass

from assistant.doctor import budgets, flow, speed, switching, template, tools
from assistant.doctor.advice import advice
from assistant.doctor.finding import Finding, Outcome
from assistant.doctor.subject import USUAL, Limits, Subject, subject_of
from model.engine import Engine, EngineError


@dataclass(frozen=True, slots=True)
class Probe:
    """One thing to prove of an engine; a `quick` one costs a reply or two at most."""

    name: str
    run: Callable[[Subject], Awaitable[Outcome]]
    quick: bool = False


PROBES = (
    Probe("template", template.same_bytes, quick=True),
    Probe("think off", switching.forced_off, quick=True),
    Probe("think on", switching.forced_on, quick=True),
    Probe("tool round trip", tools.round_trip, quick=True),
    Probe("auto easy", switching.auto_easy),
    Probe("auto hard", switching.auto_hard),
    Probe("think budget", budgets.think),
    Probe("judge budget", budgets.judge),
    Probe("cancel", flow.cancel),
    Probe("prefix cache", flow.prefix_cache, quick=True),
    Probe("context", flow.context),
    Probe("metrics", speed.metrics, quick=True),
    Probe("1 stream", speed.one_stream),
    Probe("8 streams", speed.eight_streams),
)


async def examine(
    engine: Engine, *, quick: bool = False, limits: Limits = USUAL, probes: Sequence[Probe] = PROBES
) -> AsyncGenerator[Finding, None]:
    """What the probes find, each as soon as it is known. Raises `EngineError` if the engine cannot be reached."""
    subject = await subject_of(engine, limits)
    info = subject.info
    context = f"{info.context} tokens of context" if info.context else "context unknown"
    yield Finding("engine", True, f"{info.name} · {info.model} · {info.dialect} · {context} ({info.why})")
    for probe in probes:
        if probe.quick or not quick:
            yield await _probed(probe, subject)


async def _probed(probe: Probe, subject: Subject) -> Finding:
    try:
        async with asyncio.timeout(subject.limits.probe):
            found = await probe.run(subject)
    except TimeoutError:
        found = Outcome(False, f"it took longer than {subject.limits.probe:g} s", "slow")
    except EngineError as error:
        found = Outcome(False, str(error))
    name = found.advice or (probe.name if found.ok is False else None)
    return Finding(probe.name, found.ok, found.detail, advice(name, subject.kind) if name else None)
